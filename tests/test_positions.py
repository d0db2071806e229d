"""Sinusoidal and rotary positions against independent formulas."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from regard import positions, reference
from regard.errors import ArgumentError, ShapeError


@pytest.mark.parametrize("dim", [1, 2, 7, 64])
def test_sinusoidal_is_the_textbooks(dim: int) -> None:
    """The table is the reference's, also for an odd width and in float64."""
    found = positions.sinusoidal(torch.arange(50, dtype=torch.float64), dim)
    assert found.dtype == torch.float64
    np.testing.assert_allclose(found.numpy(), reference.sinusoidal_encoding(50, dim), atol=1e-12)
    single = positions.sinusoidal(torch.arange(50), dim)
    assert single.dtype == torch.float32
    np.testing.assert_allclose(single.numpy(), reference.sinusoidal_encoding(50, dim), atol=1e-6)


def test_far_positions_keep_their_precision() -> None:
    """Angles of a million tokens are right to float32 rounding: they are not computed in float32."""
    found = positions.sinusoidal(torch.tensor([1_000_000]), 8).numpy()
    np.testing.assert_allclose(found[0], reference.sinusoidal_encoding(1_000_001, 8)[-1], atol=1e-6)


@pytest.mark.parametrize("interleaved", [False, True])
@pytest.mark.parametrize("dim", [2, 6, 10])
def test_rotation_is_multiplication_by_complex_numbers(interleaved: bool, dim: int) -> None:
    """Feature pairs are complex numbers, turned by `exp(i · p · base^(-2j/dim))`; features beyond `dim` stay."""
    x = torch.randn(2, 3, 5, 10, dtype=torch.float64)
    where = torch.arange(7, 12, dtype=torch.float64)
    cos, sin = positions.rotary(where, dim, base=100.0)
    found = positions.rotate(x, cos, sin, interleaved=interleaved)
    turned = x[..., :dim]
    pairs = turned.unflatten(-1, (-1, 2)) if interleaved else turned.unflatten(-1, (2, -1)).transpose(-1, -2)
    numbers = torch.view_as_complex(pairs.contiguous())
    speed = 100.0 ** (-torch.arange(0, dim, 2, dtype=torch.float64) / dim)
    expected = torch.view_as_real(numbers * torch.exp(1j * where[:, None] * speed))
    expected = expected.flatten(-2) if interleaved else expected.transpose(-1, -2).flatten(-2)
    torch.testing.assert_close(found, torch.cat((expected, x[..., dim:]), -1))


def test_products_depend_on_distance_only() -> None:
    """Query and key moved by the same number of positions match as before."""
    query, key = torch.randn(2, 1, 8, dtype=torch.float64)

    def product(p: int, r: int) -> torch.Tensor:
        turned = [
            positions.rotate(x, *positions.rotary(torch.tensor([at], dtype=torch.float64), 8), interleaved=False)
            for x, at in ((query, p), (key, r))
        ]
        return (turned[0] * turned[1]).sum()

    torch.testing.assert_close(product(3, 1), product(103, 101))
    assert not torch.isclose(product(3, 1), product(3, 2))


def test_half_precision_keeps_its_dtype() -> None:
    """The rotation of bfloat16 comes back in bfloat16, and a gradient flows through it."""
    x = torch.randn(4, 8, dtype=torch.bfloat16, requires_grad=True)
    found = positions.rotate(x, *positions.rotary(torch.arange(4), 8), interleaved=True)
    assert found.dtype == torch.bfloat16
    found.float().square().sum().backward()
    torch.testing.assert_close(x.grad.float(), 2 * x.detach().float(), atol=0.05, rtol=0.05)


def test_mistakes_are_named() -> None:
    """An odd number of features, no features, or a table of another length."""
    with pytest.raises(ArgumentError, match="in pairs, so give an even number"):
        positions.rotary(torch.arange(3), 5)
    with pytest.raises(ArgumentError, match="dim is 0"):
        positions.sinusoidal(torch.arange(3), 0)
    with pytest.raises(ArgumentError, match="base"):
        positions.sinusoidal(torch.arange(3), 4, base=-1.0)
    cos, sin = positions.rotary(torch.arange(3), 8)
    with pytest.raises(ShapeError, match="rotate"):
        positions.rotate(torch.randn(3, 4), cos, sin, interleaved=False)
