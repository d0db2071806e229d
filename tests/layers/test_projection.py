"""The linear map: oneDNN's product and PyTorch's are the same function, with the same derivatives."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from regard.errors import ShapeError
from regard.layers import projection
from regard.layers.projection import Projection, linear


@pytest.fixture(autouse=True, params=[(True, True), (True, False), (False, False)], ids=["Zen 5", "AVX-512", "AVX2"])
def onednn(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Take oneDNN's product, as where there is AVX-512, and PyTorch's own."""
    there, zen_5 = request.param
    monkeypatch.setattr(projection, "_ONEDNN", there)
    monkeypatch.setattr(projection, "_least", lambda: 2**21)
    monkeypatch.setattr(projection, "_on_zen_5", lambda: zen_5)


def tensors(rows: int, *shape: int) -> tuple[Tensor, Tensor, Tensor]:
    """Draw input, weight and bias that record gradients."""
    inner, outer = shape
    sizes = ((2, rows, inner), (outer, inner), (outer,))
    return tuple(torch.randn(size, requires_grad=True) for size in sizes)  # type: ignore[return-value]


@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize("size", [(200, 64, 96), (150, 100, 130), (3, 8, 5)])
def test_agrees_with_torch(size: tuple[int, int, int], biased: bool) -> None:
    """Output and gradients agree with `F.linear` to float32 rounding, large or small."""
    x, weight, bias = tensors(*size)
    arguments = (x, weight, bias) if biased else (x, weight)
    ours, theirs = linear(*arguments), F.linear(*arguments)
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)
    upstream = torch.randn_like(ours)
    pairs = zip(torch.autograd.grad(ours, arguments, upstream), torch.autograd.grad(theirs, arguments, upstream),
                strict=True)  # fmt: skip
    for own, other in pairs:
        torch.testing.assert_close(own, other, atol=1e-3, rtol=1e-4)


def test_large_products_take_the_fast_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """A large float32 product on the CPU goes to oneDNN, forward and backward; a small or other one does not.

    The gradient of the weight does on Zen 5 alone.
    """
    counted = []
    passes = 3 if projection._on_zen_5() else 2
    real = projection._product
    monkeypatch.setattr(projection, "_product", lambda *a: counted.append(a) or real(*a))
    monkeypatch.setattr(projection, "_ONEDNN", True)  # as where there is AVX-512
    x, weight, bias = tensors(200, 64, 96)
    linear(x, weight, bias).sum().backward()
    assert len(counted) == passes
    linear(x[:, :3], weight, bias)
    linear(x.double(), weight.double(), bias.double())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert linear(x, weight, bias).dtype == torch.bfloat16
    assert len(counted) == passes


def test_second_derivatives() -> None:
    """The gradient of a gradient exists and agrees."""
    x, weight, bias = tensors(200, 64, 96)

    def penalty(function: object) -> Tensor:
        out = function(x, weight, bias).square().sum()
        (slope,) = torch.autograd.grad(out, x, create_graph=True)
        return torch.autograd.grad(slope.square().sum(), weight)[0]

    torch.testing.assert_close(penalty(linear), penalty(F.linear), atol=1.0, rtol=1e-3)


def test_transforms_keep_working() -> None:
    """`torch.func` sees an ordinary linear map."""
    x, weight, _ = (t.detach() for t in tensors(200, 64, 96))
    mapped = torch.func.vmap(linear, (0, None))(x, weight)
    torch.testing.assert_close(mapped, F.linear(x, weight), atol=1e-4, rtol=1e-4)


def test_wrong_width_is_named() -> None:
    """A shape that does not fit says what the rule is."""
    with pytest.raises(ShapeError, match=r"input has shape \(500, 63\); the rule is .* in=64"):
        Projection(64, 96)(torch.zeros(500, 63))
