"""Gradients flow from the weights to query, key and bias, once and twice, whoever made the lse."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck

import regard
from regard import AttentionWeights, biases, masks
from regard.weights import _stream
from tests.weights.cases import LARGEST, QUESTIONS

LOOKS: dict[str, Callable[[AttentionWeights], Tensor]] = {
    **QUESTIONS,
    "lse": lambda w: torch.where(w.lse == -torch.inf, 0.0, w.lse),
    "weighted": lambda w: w.value_weighted().pooled(2),
    "weighted entropy": lambda w: w.value_weighted().entropy(),
}


def matrix(q: Tensor, k: Tensor, bias: Tensor, *, lse_has_gradient: bool) -> AttentionWeights:
    """Make a call with one row that sees nothing; its lse carries gradients or not, as backends differ."""
    mask = masks.causal(offset=-1)
    value = torch.linspace(0.5, 2, 40, dtype=q.dtype).view(1, 2, 5, 4)
    _, weights = regard.attention(
        q, k, value, mask=mask, softcap=3.0, bias=biases.RelativeBias(bias), need_weights=True
    )  # fmt: skip
    if not lse_has_gradient:
        source = weights._source
        lse = None if source.lse is None else source.lse.detach()
        weights = AttentionWeights(replace(source, lse=lse, lse_has_gradient=False))
    return weights


def arguments() -> tuple[Tensor, Tensor, Tensor]:
    """Return query, key and bias in float64."""
    make = torch.Generator().manual_seed(5)
    shapes = (1, 2, 4, 3), (1, 2, 5, 3), (2, 8)
    q, k, bias = (torch.randn(s, generator=make, dtype=torch.float64, requires_grad=True) for s in shapes)
    return q, k, bias


@pytest.mark.parametrize(
    ("stripe", "lse_has_gradient"), [(1 << 22, False), (12, False), (1 << 22, True)], ids=["whole", "stripes", "lse"]
)
@pytest.mark.parametrize("name", LOOKS)
def test_gradcheck(name: str, stripe: int, lse_has_gradient: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """First derivatives are those of finite differences, also where stripes are recomputed, or lse has a gradient."""
    monkeypatch.setattr(_stream, "_STRIPE_ENTRIES", stripe)
    assert gradcheck(lambda *given: LOOKS[name](matrix(*given, lse_has_gradient=lse_has_gradient)), arguments())


@pytest.mark.parametrize("name", ["dense", "entropy", "received", "pooled"])
def test_gradgradcheck(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Second derivatives too."""
    monkeypatch.setattr(_stream, "_STRIPE_ENTRIES", 20)
    assert gradgradcheck(lambda *a: LOOKS[name](matrix(*a, lse_has_gradient=False)), arguments(), fast_mode=True)


def test_values_agree_with_and_without_gradient() -> None:
    """The two ways to compute an answer give the same numbers."""
    weights = matrix(*arguments(), lse_has_gradient=False)
    for name, look in LOOKS.items():
        tracked = look(weights)
        assert tracked.requires_grad, name
        with torch.no_grad():
            assert torch.allclose(tracked, look(weights), atol=1e-12), name
        assert not look(weights.detach()).requires_grad, name
    for answer in (*weights.top(2), *weights.peak(), *(look(weights) for look in LARGEST.values())):
        assert not answer.requires_grad
    assert weights.requires_grad
    assert not weights.detach().requires_grad


def test_gradient_of_values_alone() -> None:
    """`weights @ x` is differentiable in x when nothing else is."""
    q = torch.randn(2, 5, 3, dtype=torch.float64)
    x = torch.randn(2, 5, 2, dtype=torch.float64, requires_grad=True)
    _, weights = regard.attention(q, q, q, causal=True, need_weights=True)
    assert gradcheck(lambda x: weights @ x, (x,))


def test_gradient_memory_is_linear(monkeypatch: pytest.MonkeyPatch) -> None:
    """What autograd keeps for a summary is a few tensors of the size of the inputs, however long the rows."""
    monkeypatch.setattr(_stream, "_STRIPE_ENTRIES", 1 << 12)
    n = 512
    q = torch.randn(1, 1, n, 4, requires_grad=True)
    _, weights = regard.attention(q, q, q, causal=True, need_weights=True)
    weights = AttentionWeights(replace(weights._source, lse_has_gradient=False))
    sizes = []

    def pack(tensor: Tensor) -> Tensor:
        sizes.append(tensor.untyped_storage().nbytes())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        total = weights.entropy().sum() + weights.pooled(32).square().sum()
    assert max(sizes) < n * n  # bytes: a quarter of the matrix
    (gradient,) = torch.autograd.grad(total, q)
    assert gradient.isfinite().all()
