"""The number of threads changes no bit of what the weights answer in float32 and the half dtypes."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

import regard
from regard import AttentionWeights, biases


def _softmax(dtype: torch.dtype, **arguments: object) -> AttentionWeights:
    query, key, value = torch.randn(3, 1, 2, 233, 16, generator=torch.Generator().manual_seed(0)).to(dtype)
    _, weights = regard.attention(query, key, value, causal=True, need_weights=True, **arguments)
    return weights


def _linear(dtype: torch.dtype) -> AttentionWeights:
    query, key, value = torch.randn(3, 1, 2, 233, 16, generator=torch.Generator().manual_seed(0)).to(dtype)
    _, weights = regard.linear_attention(query, key, value, causal=True, need_weights=True)
    return weights


MADE: dict[str, Callable[[torch.dtype], AttentionWeights]] = {
    "native": lambda dtype: _softmax(dtype, backend="native"),
    "math": lambda dtype: _softmax(dtype, backend="math"),
    "a bias": lambda dtype: _softmax(dtype, bias=torch.linspace(-2, 2, 233).to(dtype).expand(233, 233)),
    "a position bias": lambda dtype: _softmax(dtype, bias=biases.ALiBi(2)),
    "far from zero": lambda dtype: _softmax(dtype, bias=torch.full((233, 1), -1e4).to(dtype)),
    "weighted by values": lambda dtype: _softmax(dtype, bias=torch.ones(233, 233).to(dtype)).value_weighted(),
    "linear": _linear,
}
QUESTIONS: dict[str, Callable[[AttentionWeights], Tensor]] = {
    "dense": lambda w: w.dense(),
    "rectangle": lambda w: w[..., 3:, 1:233:2],
    "lse": lambda w: w.lse,
    "entropy": lambda w: w.entropy(),
    "received": lambda w: w.received(),
    "pooled": lambda w: w.pooled((7, 5)),
    "one cell": lambda w: w.pooled(233),
    "peak of cells": lambda w: w.pooled((7, 5), "peak"),
    "peak": lambda w: w.peak().values,
    "top": lambda w: w.top(4).values,
    "mean_distance": lambda w: w.mean_distance(),
    "distance_profile": lambda w: w.distance_profile().mass,
    "share": lambda w: w.share(-1),
    "product": lambda w: w @ torch.linspace(-1, 1, 233 * 2 * 8).view(1, 2, 233, 8),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("made", MADE)
def test_questions(made: str, dtype: torch.dtype) -> None:
    """Each question, of each kind of weights, with 1 to 4 threads."""
    answers = []
    for threads in (1, 2, 3, 4):
        torch.set_num_threads(threads)
        weights = MADE[made](dtype)
        answers.append({name: ask(weights) for name, ask in QUESTIONS.items()})
    for name in QUESTIONS:
        for other in answers[1:]:
            torch.testing.assert_close(other[name], answers[0][name], rtol=0, atol=0, msg=f"{name} depends on threads")
