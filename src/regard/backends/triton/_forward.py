"""The forward pass of one call: room for the results, and the kernels that fill them."""

from __future__ import annotations

import torch
from torch import Tensor

from ..._inputs import AttentionInputs
from .._compiled import empty_output
from ._call import describe, widths
from ._device import tile_for
from ._launch import launch
from .kernels.forward import forward as kernel

__all__ = ["forward"]


def forward(x: AttentionInputs, cell: int, rest: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor | None]:
    """Return output, `lse`, and the map with cells of `cell` tokens, or None if that is 0; fills `rest`."""
    call, sizes = describe(x), widths(x)
    batch, heads, queries, _ = x.shape
    output = empty_output(x.query, x.value)
    lse = x.query.new_empty((batch, heads, queries), dtype=torch.float32)
    tile = tile_for("forward", x)
    launch(
        kernel, batch * heads * -(-queries // tile.rows), call, output, output.stride()[:3], rest, lse, None,
        tile=tile, **sizes, BM=tile.rows, BN=tile.keys,
    )  # fmt: skip
    return output, lse, None
