"""Positional encodings as plain functions: the sinusoidal table and rotary angles.

Encodings that are added to the scores (ALiBi, T5) are in `biases`.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from ._tracing import sizes, traced
from ._values import described, flag, floating, number, size
from .errors import ArgumentError, DeviceError, DtypeError, ShapeError

__all__ = ["rotary", "rotate", "sinusoidal"]

# Most rows of a cached table; tables of farther positions are computed for each call.
_REMEMBERED = 2**20
Positions = Tensor | NDArray[Any] | Sequence[float] | int


def sinusoidal(positions: Positions, dim: int, *, base: float = 10_000.0) -> Tensor:
    """Sinusoidal encoding: feature `2i` is `sin(p / base^(2i/dim))`, feature `2i + 1` the cosine of the same angle.

    Shapes: `positions` any shape, result `(*positions.shape, dim)`.

    Args:
        positions: integer or floating positions, counted from 0; a number `n` means the positions `0 … n - 1`.
        dim: features, >= 1; for an odd `dim` the last sine has no cosine.
        base: the longest wavelength is `2π · base`.

    Returns:
        float32 (float64 for float64 positions), on the device of `positions`.

    Raises:
        ArgumentError, DtypeError: `dim` or `base` out of range, or positions that are not real numbers.

    The encoding of `p + k` is a rotation of that of `p` that depends on `k` alone. Cost: O(positions · dim).

    Source: Vaswani et al. 2017, arXiv:1706.03762, section 3.5.

    >>> sinusoidal(torch.arange(3), 2).round(decimals=3)
    tensor([[ 0.0000,  1.0000],
            [ 0.8410,  0.5400],
            [ 0.9090, -0.4160]])
    """
    positions, dim = _positions(positions), size("dim", dim)
    angles = _angles(positions, dim, base)
    both = torch.stack((angles.sin(), angles.cos()), -1).flatten(-2)
    return both[..., :dim].to(_result_dtype(positions))


def rotary(positions: Positions, dim: int, *, base: float = 10_000.0) -> tuple[Tensor, Tensor]:
    """Cosine and sine of the angles `p / base^(2i/dim)` by which rotary encoding rotates feature pair `i`.

    Shapes: `positions` any shape, each result `(*positions.shape, dim / 2)`.

    Args:
        positions: integer or floating positions; with a key/value cache they continue those of the cache. A number `n`
            means the positions `0 … n - 1`.
        dim: features to rotate, even; if less than the head width, only the first `dim` of each head are rotated.
        base: 10,000 in the paper; larger ones suit longer contexts.

    Returns:
        Two tensors in float32 (float64 for float64 positions), to be given to `rotate`.

    Raises:
        ArgumentError, DtypeError: `dim` is odd or not positive, `base` out of range, positions not real numbers.

    Cost: O(positions · dim).

    Source: Su et al. 2021, arXiv:2104.09864, section 3.2.

    >>> cos, sin = rotary(torch.arange(4), 6)
    >>> cos.shape, bool(torch.allclose(cos**2 + sin**2, torch.ones(4, 3)))
    (torch.Size([4, 3]), True)
    """
    positions, dim = _positions(positions), size("dim", dim, 2)
    if dim % 2:
        raise ArgumentError(f"dim is {dim}; rotary turns features in pairs, so give an even number.")
    angles = _angles(positions, dim, base)
    dtype = _result_dtype(positions)
    return angles.cos().to(dtype), angles.sin().to(dtype)


def rotate(x: Tensor, cos: Tensor, sin: Tensor, *, interleaved: bool) -> Tensor:
    """Rotate pairs of features of `x` by the angles from `rotary`; features beyond `2 · cos.shape[-1]` stay.

    Shapes: `x` `(..., E)`, `cos` and `sin` `(..., r)` with `2r <= E`, leading dimensions broadcastable.

    Args:
        x: queries or keys, floating.
        cos, sin: what `rotary` returned for the positions of `x`.
        interleaved: which features form pair `i`. True: `2i` and `2i + 1` (the paper, GPT-J, Llama's own release);
            False: `i` and `i + r` (GPT-NeoX, Llama on Hugging Face). Weights trained with one do not fit the other.

    Returns:
        The same shape and dtype as `x`; computed in the wider of the dtypes of `x` and `cos`.

    Raises:
        ShapeError: `x` has fewer features than are to be rotated.

    A query at `p` and a key at `q` then have a product that depends on `p - q` only; norms do not change.
    Cost: O(size of `x`).

    Source: Su et al. 2021, arXiv:2104.09864, section 3.4.2.

    >>> x = torch.ones(4, 6)
    >>> turned = rotate(x, *rotary(torch.arange(4), 6), interleaved=False)
    >>> bool(torch.allclose(turned.norm(dim=-1), x.norm(dim=-1)))
    True
    """
    for name, given in (("x", x), ("cos", cos), ("sin", sin)):
        if floating(name, given).ndim == 0:
            raise ShapeError(f"{name} is a single number; the rule is (..., features).")
    interleaved = flag("interleaved", interleaved)
    if not x.device == cos.device == sin.device:
        raise DeviceError(f"x, cos and sin lie on {x.device}, {cos.device}, {sin.device}. Move them to one device.")
    width, features = 2 * sizes(cos)[-1], sizes(x)[-1]
    if sizes(cos) != sizes(sin):
        raise ShapeError(f"cos has shape {tuple(cos.shape)} and sin {tuple(sin.shape)}; give both as rotary made them.")
    if features < width:
        raise ShapeError(
            f"rotate was given x with {features} features and cos and sin for {width}. "
            "Build the angles with rotary(positions, dim) for dim <= the features of x."
        )
    before, angles = sizes(x)[:-1], sizes(cos)[:-1]
    if any(a != b and 1 not in (a, b) for a, b in zip(reversed(before), reversed(angles), strict=False)):
        raise ShapeError(
            f"x has shape {tuple(x.shape)}, cos and sin {tuple(cos.shape)}; all but the last size must broadcast: one "
            "angle for each position of x."
        )
    turned = x[..., :width].to(torch.promote_types(x.dtype, cos.dtype))
    if interleaved:
        first, second = turned.reshape(*turned.shape[:-1], -1, 2).unbind(-1)
        turned = torch.stack((first * cos - second * sin, second * cos + first * sin), -1).flatten(-2)
    else:
        first, second = turned.chunk(2, -1)
        turned = torch.cat((first * cos - second * sin, second * cos + first * sin), -1)
    turned = turned.to(x.dtype)
    return turned if width == features else torch.cat((turned, x[..., width:]), -1)


def sinusoidal_table(start: int, x: Tensor, dim: int, base: float) -> Tensor:
    """Rows of the sinusoidal table for the tokens of `x` `(..., L, D)` from position `start` on: `(L, dim)`.

    float64 for a float64 `x`, else float32; remembered between calls.
    """
    length, exact = x.shape[-2], x.dtype == torch.float64
    if not _may_remember(start + length):
        return sinusoidal(_range(start, length, x.device, exact), dim, base=base)
    return _sinusoidal_rows(_capacity(start + length), dim, base, x.device, exact)[start : start + length]


def rotary_table(start: int, x: Tensor, dim: int, base: float) -> tuple[Tensor, Tensor]:  # each (L, dim / 2)
    """Cosines and sines for the tokens of `x` `(..., L, E)` from position `start` on.

    float64 for a float64 `x`, else float32; remembered between calls.
    """
    length, exact = x.shape[-2], x.dtype == torch.float64
    if not _may_remember(start + length):
        return rotary(_range(start, length, x.device, exact), dim, base=base)
    cos, sin = _rotary_rows(_capacity(start + length), dim, base, x.device, exact)
    return cos[start : start + length], sin[start : start + length]


def _positions(given: Positions) -> Tensor:
    if getattr(given, "ndim", 0) == 0 and hasattr(given, "__index__") and not isinstance(given, Tensor):
        return torch.arange(size("positions", given, 0))
    try:
        positions = given if isinstance(given, Tensor) else torch.as_tensor(given)
    except (TypeError, ValueError, RuntimeError):
        raise DtypeError(
            f"positions is {described(given)}; give a tensor of positions, or how many there are."
        ) from None
    if positions.is_complex() or positions.dtype == torch.bool:
        raise DtypeError(f"positions is {described(given)}; positions are real numbers.")
    return positions


def _angles(positions: Tensor, dim: int, base: float) -> Tensor:  # (..., ceil(dim / 2))
    base = number("base", base, 0, rule="a finite number > 0, 10000 as a rule", open_low=True)
    # In float32 the angle of position 100,000 would be wrong in its third decimal.
    wide = torch.float32 if positions.device.type == "mps" else torch.float64
    exponent = torch.arange(0, dim, 2, device=positions.device).to(wide) / dim
    return positions.to(wide)[..., None] * torch.pow(base, -exponent)


def _result_dtype(positions: Tensor) -> torch.dtype:
    return torch.float64 if positions.dtype == torch.float64 else torch.float32


def _range(start: int, length: int, device: torch.device, exact: bool) -> Tensor:
    return torch.arange(start, start + length, device=device, dtype=torch.float64 if exact else torch.int64)


def _may_remember(length: int) -> bool:
    # Tensors created while tracing or under a transform of `torch.func` must not be cached.
    return not traced() and length <= _REMEMBERED


def _capacity(length: int) -> int:
    # Sizes are powers of two, so that a growing sequence needs a new table only when it has doubled.
    return max(256, 1 << max(length - 1, 0).bit_length())


@functools.lru_cache(maxsize=8)
def _sinusoidal_rows(length: int, dim: int, base: float, device: torch.device, exact: bool) -> Tensor:
    with torch.inference_mode(False):
        return sinusoidal(_range(0, length, device, exact), dim, base=base)


@functools.lru_cache(maxsize=8)
def _rotary_rows(length: int, dim: int, base: float, device: torch.device, exact: bool) -> tuple[Tensor, Tensor]:
    with torch.inference_mode(False):
        return rotary(_range(0, length, device, exact), dim, base=base)
