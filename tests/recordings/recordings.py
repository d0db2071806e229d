"""Recordings for the tests of disk, and what makes two of them equal."""

from typing import Any

import numpy as np
import torch

import regard
from regard import biases, masks
from regard.recordings import Grid, Recording, Texts
from regard.recordings._rules import tensors_of
from regard.weights import AttentionWeights, from_dense, summarise
from tests.weights.cases import answers


def attend(queries: int = 70, keys: int = 70, dtype: torch.dtype = torch.float32, **call: Any) -> AttentionWeights:
    """Weights of a call with 4 heads over 2 key heads and 2 sequences."""
    q, k, v = (torch.randn(2, heads, n, 8).to(dtype) for heads, n in ((4, queries), (2, keys), (2, keys)))
    weights: AttentionWeights = regard.attention(q, k, v, **call, need_weights=True)[1]
    return weights.detach()


def _flat(shape: tuple[int, ...]) -> AttentionWeights:
    q = torch.randn(shape)
    weights: AttentionWeights = regard.attention(q, q, q, need_weights=True)[1]
    return weights


EXACT = {
    "plain": lambda: attend(),
    "causal": lambda: attend(70, 90, causal=True),
    "window": lambda: attend(causal=True, window=(9, 0), softcap=3.0, scale=0.7),
    "padding": lambda: attend(mask=masks.padding([70, 12])),
    "nothing seen": lambda: attend(mask=masks.padding([70, 0])),
    "dense mask": lambda: attend(mask=torch.rand(2, 1, 70, 70) > 0.5),
    "one mask row": lambda: attend(mask=torch.rand(1, 4, 1, 70) > 0.5, causal=True),
    "alibi": lambda: attend(bias=biases.ALiBi(4), causal=True),
    "bias": lambda: attend(bias=torch.randn(1, 4, 70, 70)),
    "float64": lambda: attend(dtype=torch.float64, causal=True),
    "bfloat16": lambda: attend(dtype=torch.bfloat16, causal=True),
    "float16": lambda: attend(dtype=torch.float16),
    "one row": lambda: attend(1, 300),
    "two dimensions": lambda: _flat((20, 8)),
    "three dimensions": lambda: _flat((3, 20, 8)),
    "no sequence": lambda: _flat((0, 2, 20, 8)),
    "sinks": lambda: attend(causal=True, sinks=torch.randn(4)),
    "dense": lambda: from_dense(torch.rand(2, 3, 17, 19).softmax(-1), torch.ones(17, 19).tril().bool()),
    "value-weighted": lambda: attend(causal=True).value_weighted(),
}


def recording_of(**weights: AttentionWeights) -> Recording:
    """A recording of these calls."""
    recording = Recording()
    for name, one in weights.items():
        recording.add(name, "a door", one)
    return recording


def small() -> Recording:
    """Two calls: summaries, and an exact one with a mask and a bias; one missed and two left out."""
    exact = attend(9, 11, mask=masks.padding([11, 4]), bias=torch.randn(1, 1, 9, 11))
    recording = recording_of(summary=AttentionWeights.of_summary(summarise(attend(21, 21))), exact=exact)
    recording.missed["a module (ItsAttention)"] = 1
    recording.left_out = 2
    return recording.describe(TEXTS)


TEXTS = Texts(
    tokens=[["The", " cät", b"\xff", "\ud800"], ["", "a"]],
    key_tokens=["one", "two"],
    labels={"pos": ["DET", None, "X", "X"], "ner": ["O", "B-ANIMAL", "O", "O"]},
    words=[[0, 1, None, 2], [None, 0]],
    key_grid=Grid(2, 3, 1, np.arange(54, dtype=np.uint8).reshape(6, 3, 3)),
)


def alike(found: AttentionWeights, expected: AttentionWeights) -> str:
    """Name what differs: summaries are held to the bit, what follows from query and key to rounding."""
    if (found.shape, found.dtype, found.sums_to_one) != (expected.shape, expected.dtype, expected.sums_to_one):
        return "shape"
    if found.kept_cell != expected.kept_cell:
        return "kind"
    for (name, one), (_, other) in zip(*(tensors_of(summarise(each)) for each in (found, expected)), strict=True):
        if not torch.equal(one.nan_to_num(7.5), other.nan_to_num(7.5)):
            return name
    as_kept = AttentionWeights.of_summary(summarise(expected), expected.ndim, sums_to_one=expected.sums_to_one)
    bits = dict(answers(as_kept))
    for (name, one), (_, other) in zip(answers(found), answers(expected), strict=True):
        if not torch.equal(one, bits.get(name, one)) and not one.isnan().any():
            return f"bits of {name}"
        if not torch.allclose(one.double(), other.double(), rtol=1e-5, atol=1e-7, equal_nan=True):
            return name
    return ""


def same(found: Recording, expected: Recording) -> bool:
    """Whether two recordings say and answer the same."""
    if (list(found), repr(found), found.texts) != (list(expected), repr(expected), expected.texts):
        return False
    said = ("module", "number", "door", "heads", "backend", "passes")
    return all(
        all(getattr(one, name) == getattr(other, name) for name in said) and not alike(one.weights, other.weights)
        for one, other in zip(found.calls, expected.calls, strict=True)
    )
