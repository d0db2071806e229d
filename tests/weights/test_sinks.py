"""Weights beside a key that holds no value: rows sum to less than 1, and every summary is that of the matrix."""

import pytest
import torch
from torch import Tensor

import regard
from regard.errors import ShapeError
from regard.weights import AttentionWeights, with_sinks


def _made(grad: bool = False, rank: int = 4) -> tuple[AttentionWeights, Tensor, Tensor]:
    q = torch.randn(2, 4, 70, 16, requires_grad=grad)
    k = torch.randn(2, 2, 90, 16)
    if rank == 3:
        q, k = q.detach()[0], k[0]
    sinks = torch.tensor([-1.0, 0.5, 2.0, 3.0], requires_grad=grad)
    plain = regard.attention(q, k, k, causal=True, need_weights=True)[1]
    share = torch.sigmoid(plain.lse - sinks[:, None])
    return with_sinks(plain, sinks), plain.dense() * share[..., None], sinks


@pytest.mark.parametrize("rank", [3, 4])
def test_entries_and_summaries(rank: int) -> None:
    """Entries, rows and every summary agree with the scaled matrix."""
    weights, dense, _ = _made(rank=rank)
    assert weights.shape == dense.shape
    assert torch.allclose(weights.dense(), dense, atol=1e-6)
    assert torch.allclose(weights[..., 3:5, :], dense[..., 3:5, :], atol=1e-6)
    assert torch.allclose(weights.peak().values, dense.amax(-1), atol=1e-6)
    assert torch.allclose(weights.top(3).values, dense.topk(3).values, atol=1e-6)
    assert torch.allclose(weights.entropy(), -torch.special.xlogy(dense, dense).sum(-1), atol=1e-5)
    assert torch.allclose(weights.pooled(10), dense.unflatten(-1, (9, 10)).sum(-1).unflatten(-2, (7, 10)).mean(-2))
    values = torch.randn(*dense.shape[:-3], 4, 90, 5)
    assert torch.allclose(weights @ values, dense @ values, atol=1e-5)
    assert float(weights.dense().sum(-1).max()) < 1.0


def test_gradients_reach_queries_and_sinks() -> None:
    """What is asked of the weights has a gradient in the scores of the sinks."""
    weights, dense, sinks = _made(grad=True)
    found = torch.autograd.grad(weights.dense().square().sum(), sinks)[0]
    expected = torch.autograd.grad(dense.square().sum(), sinks)[0]
    assert torch.allclose(found, expected, rtol=1e-4)


def test_one_score_per_head() -> None:
    """Another number of scores is an error."""
    with pytest.raises(ShapeError, match=r"one score per head, \(4,\)"):
        with_sinks(_made()[0], torch.zeros(3))
