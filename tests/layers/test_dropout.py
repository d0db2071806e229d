"""Dropout of features: the share that is dropped, the scale, gradients, and where PyTorch's own is used."""

from __future__ import annotations

import pytest
import torch

from regard.layers import Dropout


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_shares_and_scale(p: float, dtype: torch.dtype) -> None:
    """A share `p` is dropped, independently of neighbours; the others are scaled; the gradient is the scaled mask."""
    x = torch.ones(401, 503, dtype=dtype, requires_grad=True)
    out = Dropout(p)(x)
    assert out.dtype == dtype
    fallen = out == 0
    assert fallen.double().mean().item() == pytest.approx(p, abs=0.006)
    for step in range(1, 6):
        pairs = (fallen[:, step:] & fallen[:, :-step]).double().mean().item()
        assert pairs == pytest.approx(p * p, abs=0.01)
    assert fallen.double().mean(0).sub(p).abs().max() < 0.15
    torch.testing.assert_close(out[~fallen].mean().item(), 1 / (1 - p), rtol=4e-3, atol=0)
    out.sum().backward()
    assert torch.equal(x.grad, out.detach())


def test_repeatable_and_off() -> None:
    """The seed decides; strides do not matter; evaluation and `p = 0` leave all, `p = 1` leaves nothing."""
    x = torch.randn(7, 9)
    torch.manual_seed(1)
    first = Dropout(0.3)(x)
    torch.manual_seed(1)
    assert torch.equal(Dropout(0.3)(x.t().contiguous().t()), first)
    assert not torch.equal(Dropout(0.3)(x), first)
    assert Dropout(0.3).eval()(x) is x
    assert torch.equal(Dropout(0.0)(x), x)
    assert not Dropout(1.0)(x).any()
    assert Dropout(0.3)(torch.empty(0, 3)).shape == (0, 3)
    assert Dropout(0.3)(torch.ones(())).shape == ()


def test_compiled_and_transformed() -> None:
    """Inside `torch.func` and fake tensors PyTorch's own dropout runs."""
    mapped = torch.func.vmap(Dropout(0.5), randomness="different")(torch.ones(50, 40))
    assert mapped.unique().tolist() == [0.0, 2.0]
    with torch._subclasses.FakeTensorMode():
        assert Dropout(0.5)(torch.ones(3, 4)).shape == (3, 4)
