"""Gradients of position bias and dense bias of one call."""

from __future__ import annotations

from torch import Tensor

from ..._inputs import AttentionInputs
from ._call import Call, Strides, widths
from ._device import tile_for
from ._launch import launch
from .kernels.bias_gradients import along, bias_gradients

_CHUNK = 256


def bias_gradient(x: AttentionInputs, call: Call, given: tuple[Tensor, Strides], stats: Tensor) -> Tensor | None:
    """Return the gradient of the dense bias. `given` flows into the output; `stats` is what `prepare` wrote."""
    if x.bias is None:
        return None
    found = stats.new_zeros(x.shape)
    _gradients(x, call, given, stats, found, None)
    return found.sum_to_size(x.bias.shape).to(x.bias.dtype)


def position_gradient(x: AttentionInputs, call: Call, given: tuple[Tensor, Strides], stats: Tensor) -> Tensor | None:
    """Return the gradient of the position bias."""
    if x.position_bias is None:
        return None
    side = tile_for("bias", x).keys
    batch, heads, queries, keys = x.shape
    diagonals = stats.new_zeros((batch * heads, -(-queries // side), keys + 2 * side))
    _gradients(x, call, given, stats, None, diagonals)
    found = stats.new_empty(x.position_bias.shape)
    chunks = -(-found.shape[1] // _CHUNK)
    launch(
        along, found.shape[0] * chunks, call, diagonals, found, batch * heads, found.shape[0],
        tile=tile_for("bias", x), BM=side, CHUNK=_CHUNK,
    )  # fmt: skip
    return found.to(x.position_bias.dtype)


def _gradients(
    x: AttentionInputs,
    call: Call,
    given: tuple[Tensor, Strides],
    stats: Tensor,
    dense: Tensor | None,
    diagonals: Tensor | None,
) -> None:
    tile = tile_for("bias", x)
    programs = stats.shape[0] * -(-x.query.shape[2] // tile.rows)
    launch(
        bias_gradients, programs, call, *given, stats, dense, diagonals,
        tile=tile, **widths(x), BM=tile.rows, BN=tile.keys,
    )  # fmt: skip
