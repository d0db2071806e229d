"""Sums and exponentials that no thread count changes."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

import regard
from regard.backends import steady_exp2_, steady_sum


def _with_threads(make: Callable[[], Tensor]) -> list[Tensor]:
    found = []
    for threads in (1, 2, 3, 4, 7):
        torch.set_num_threads(threads)
        found.append(make())
    return found


def _same(found: list[Tensor]) -> None:
    for other in found[1:]:
        torch.testing.assert_close(found[0], other, rtol=0, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("size", [1, 31, 32_767, 32_768, 32_769, 70_001, 131_072, 250_007])
def test_exponentials(size: int, dtype: torch.dtype) -> None:
    """Every size around the shares of the threads: the same bits as one thread, in the same memory, and right."""
    given = torch.randn(size, dtype=dtype) * 4
    found = _with_threads(lambda: steady_exp2_(given.clone()))
    _same(found)
    torch.testing.assert_close(found[0], given.double().exp2().to(dtype))
    again = given.clone()
    assert steady_exp2_(again).data_ptr() == again.data_ptr()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    ("shape", "dims"),
    [
        ((1, 1, 1, 50_001), (-1,)),
        ((1, 1, 300, 301), (2, 3)),
        ((2, 3, 200, 130), (0, 1, 2, 3)),
        ((1, 1, 70_000, 2), (0, 1, 2, 3)),
        ((2, 3, 40, 30), (0, 2)),
        ((1, 2, 0, 5), (2,)),
    ],
)
def test_sums(shape: tuple[int, ...], dims: tuple[int, ...], dtype: torch.dtype) -> None:
    """Also where one number is left, with and without the summed dimensions."""
    given = torch.randn(shape, dtype=dtype)
    found = _with_threads(lambda: steady_sum(given, *dims))
    _same(found)
    torch.testing.assert_close(found[0], given.double().sum(dims).to(dtype), rtol=1e-5, atol=1e-3)
    assert steady_sum(given, *dims, keepdim=True).shape == given.sum(dims, keepdim=True).shape


@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (1, 1, 1, 300), (1, 1, 300, 1)], ids=str)
def test_gradient_of_a_shared_bias(shape: tuple[int, ...]) -> None:
    """The gradient of a bias that many scores share has the same bits for any number of threads."""
    q, k, v = torch.randn(3, 1, 1, 300, 8)
    bias = torch.randn(shape, requires_grad=True)

    def gradient() -> Tensor:
        out = regard.attention(q, k, v, bias=bias, softcap=3.0, backend="math")
        (found,) = torch.autograd.grad(out, bias, q)
        return found

    _same(_with_threads(gradient))
