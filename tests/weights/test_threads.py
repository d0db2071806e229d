"""The number of threads changes no bit of what the weights answer in float32 and the half dtypes."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

import regard
from regard import AttentionWeights, biases
from tests.weights.cases import LARGEST, QUESTIONS


def _inputs(dtype: torch.dtype) -> tuple[Tensor, ...]:
    return torch.randn(3, 1, 2, 233, 16, generator=torch.Generator().manual_seed(0)).to(dtype).unbind()


def _softmax(dtype: torch.dtype, **arguments: object) -> AttentionWeights:
    return regard.attention(*_inputs(dtype), causal=True, need_weights=True, **arguments)[1]


def _linear(dtype: torch.dtype) -> AttentionWeights:
    return regard.linear_attention(*_inputs(dtype), causal=True, need_weights=True)[1]


MADE: dict[str, Callable[[torch.dtype], AttentionWeights]] = {
    "native": lambda dtype: _softmax(dtype, backend="native"),
    "math": lambda dtype: _softmax(dtype, backend="math"),
    "a bias": lambda dtype: _softmax(dtype, bias=torch.linspace(-2, 2, 233).to(dtype).expand(233, 233)),
    "a position bias": lambda dtype: _softmax(dtype, bias=biases.ALiBi(2)),
    "far from zero": lambda dtype: _softmax(dtype, bias=torch.full((233, 1), -1e4).to(dtype)),
    "weighted by values": lambda dtype: _softmax(dtype, bias=torch.ones(233, 233).to(dtype)).value_weighted(),
    "linear": _linear,
}
ASKED: dict[str, Callable[[AttentionWeights], Tensor]] = {
    **QUESTIONS,
    **LARGEST,
    "lse": lambda w: w.lse,
    "pooled": lambda w: w.pooled((7, 5)),
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
        answers.append({name: ask(weights) for name, ask in ASKED.items()})
    for other in answers[1:]:
        torch.testing.assert_close(other, answers[0], rtol=0, atol=0)
