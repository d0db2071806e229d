"""Weights beside a key that holds no value: rows sum to less than 1, and every summary is that of the matrix."""

import copy

import pytest
import torch
from torch import Tensor

import regard
from regard.backends import BACKENDS
from regard.errors import DtypeError, ShapeError
from regard.weights import AttentionWeights, consumed_at_once, summarise

KINDS = ("per head", "per row")


def _made(
    kind: str = "per head", grad: bool = False, rank: int = 4, backend: str | None = None
) -> tuple[AttentionWeights, Tensor, Tensor]:
    """Return weights, the same matrix by hand, and the sinks."""
    q, k = torch.randn(2, 4, 70, 16), torch.randn(2, 2, 90, 16)
    sinks = torch.tensor([-1.0, 0.5, 2.0, 3.0]) if kind == "per head" else torch.randn(2, 4, 70)
    if rank == 3:
        q, k, sinks = q[0], k[0], sinks if kind == "per head" else sinks[0]
    q.requires_grad_(grad)
    sinks.requires_grad_(grad)
    found = regard.attention(q, k, k, causal=True, sinks=sinks, need_weights=True, backend=backend)[1]
    scores = q @ k.repeat_interleave(2, -3).transpose(-2, -1) / 4
    scores = scores.masked_fill(~torch.ones(70, 90).tril(20).bool(), -torch.inf)
    column = sinks[:, None, None].expand(*scores.shape[:-1], 1) if kind == "per head" else sinks[..., None]
    return found, torch.cat([scores, column], -1).softmax(-1)[..., :-1], sinks


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("rank", [3, 4])
def test_entries(rank: int, kind: str) -> None:
    """Entries, rows and single heads are those of a softmax over one more column, which sum to less than 1."""
    weights, dense, _ = _made(kind, rank=rank)
    assert weights.shape == dense.shape
    assert torch.allclose(weights.dense(), dense, atol=1e-6)
    assert torch.allclose(weights[..., 3:5, :], dense[..., 3:5, :], atol=1e-6)
    assert float(weights.dense().sum(-1).max()) < 1.0
    head = (0,) * (rank - 3) + (2,)
    assert torch.allclose(weights.head(*head).dense(), dense[head], atol=1e-6)


@pytest.mark.parametrize("summary", [False, True])
def test_what_is_kept_is_of_the_call_with_sinks(summary: bool) -> None:
    """A map or a summary of the call without sinks is handed on by none."""
    q = torch.randn(1, 2, 150, 16)
    with consumed_at_once(summary=summary):
        weights = regard.attention(q, q, q, sinks=torch.zeros(2), need_weights=True)[1]
    found = summarise(weights)
    assert torch.allclose(found.map.sum(-1), weights.pooled(found.cell).sum(-1), atol=1e-5)
    assert torch.allclose(found.received, weights.dense().sum(-2), atol=1e-4)
    assert float(found.map.sum(-1).max()) < 1.0


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("backend", [None, "fused", "math"])
def test_gradients_reach_queries_and_sinks(backend: str | None, kind: str) -> None:
    """What is asked of the weights has a gradient in the scores of the sinks, and so has `lse`."""
    weights, dense, sinks = _made(kind, grad=True, backend=backend)
    assert weights.requires_grad
    found = torch.autograd.grad(weights.dense().square().sum(), sinks, retain_graph=True)[0]
    expected = torch.autograd.grad(dense.square().sum(), sinks)[0]
    assert torch.allclose(found, expected, rtol=1e-4, atol=1e-6)
    assert torch.allclose(torch.autograd.grad(weights.lse.sum(), sinks)[0].sum(), (1 - dense.detach().sum(-1)).sum())


def test_lse_without_a_gradient_is_made_again_with_the_sinks() -> None:
    """Where a backend's `lse` carries no gradient, that which the weights make counts the sinks in."""
    q, sinks = torch.randn(1, 2, 9, 8, requires_grad=True), torch.randn(2)
    with torch.no_grad():
        weights = regard.attention(q, q, q, sinks=sinks, need_weights=True, backend="reference")[1]
    again = regard.attention(q, q, q, sinks=sinks, need_weights=True, backend="math")[1]
    assert torch.allclose(weights.lse, again.lse, atol=1e-5)
    assert torch.allclose(weights.dense(), again.dense(), atol=1e-6)


def test_a_step_of_the_optimizer_leaves_the_weights() -> None:
    """Sinks are parameters, which are written to between the call and the look."""
    q, sinks = torch.randn(1, 2, 9, 8, requires_grad=True), torch.zeros(2, requires_grad=True)
    weights = regard.attention(q, q, q, sinks=sinks, need_weights=True)[1]
    before = weights.dense().detach()
    with torch.no_grad():
        sinks.add_(1.0)
    assert torch.equal(weights.dense(), before)
    assert torch.allclose(copy.deepcopy(weights.detach()).dense(), before)


@pytest.mark.parametrize("backend", [backend.name for backend in BACKENDS])
def test_no_sink_and_rows_that_see_nothing(backend: str) -> None:
    """A sink of -inf is none; a row that sees nothing is its sink's, and its gradients are finite."""
    q, k, sinks = torch.randn(1, 2, 4, 8), torch.randn(1, 2, 3, 8), torch.tensor([-torch.inf, 1.0])
    trains = backend != "reference"
    leaves = [one.requires_grad_(trains) for one in (q, k, sinks)]
    output, weights = regard.attention(q, k, k, causal=True, sinks=sinks, need_weights=True, backend=backend)
    plain = regard.attention(q.detach(), k.detach(), k.detach(), causal=True)
    assert torch.allclose(output[:, 0], plain[:, 0], atol=1e-6)
    assert not output[:, :, 0].any()
    assert not weights.dense()[:, :, 0].any()
    assert weights.lse[0, :, 0].tolist() == sinks.tolist()
    if trains:
        for gradient in torch.autograd.grad(output.sum() + weights.lse[:, :, 1:].sum(), leaves):
            assert bool(gradient.isfinite().all())


@pytest.mark.parametrize("backend", ["native", "math"])
def test_threads_change_nothing(backend: str) -> None:
    """So many rows that threads share them: the same bits with one thread and with two."""
    q = torch.randn(1, 3, 20_000, 8, requires_grad=True)
    sinks = torch.randn(3, requires_grad=True)
    found = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        output = regard.attention(q, q, q, window=(3, 0), sinks=sinks, backend=backend)
        found.append((output, *torch.autograd.grad(output.square().sum(), (sinks,))))
    torch.testing.assert_close(*found, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("sinks", "error", "words"),
    [
        (torch.zeros(3), ShapeError, r"one score per head, \(4,\)"),
        (torch.zeros(4, 3), ShapeError, r"does not broadcast to \(B, H, L\) = \(2, 4, 6\)"),
        (torch.zeros(2, 4, 6, 1), ShapeError, r"broadcastable to \(B, H, L\)"),
        (torch.zeros(4, dtype=torch.int64), DtypeError, "a floating tensor"),
        ([0.0] * 4, DtypeError, "a floating tensor"),
        (torch.zeros(4, dtype=torch.float64), DtypeError, "float32"),
    ],
)
def test_other_sinks_are_errors(sinks: Tensor, error: type[Exception], words: str) -> None:
    """A wrong number of scores, or no scores, is an error that says the rule."""
    q = torch.zeros(2, 4, 6, 8)
    with pytest.raises(error, match=words):
        regard.attention(q, q, q, sinks=sinks)
