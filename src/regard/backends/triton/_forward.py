"""The forward pass of one call: room for the results, and the kernels that fill them."""

from __future__ import annotations

import torch
from torch import Tensor

from ..._inputs import AttentionInputs
from .._compiled import empty_output
from ._call import Call, describe, strides_of, widths
from ._device import processors, tile_for
from ._launch import launch
from ._table import FEW_QUERIES, MAP_ROWS, Tile
from .kernels.decode import join, split
from .kernels.forward import forward as kernel
from .kernels.map import cells

_FEWEST_KEYS = 256
"""Of a program, where keys are shared among several."""
_MOST_SPLITS = 64
_MOST_ROWS = 64
# Blocks of keys whose sums are read at a time for the map.
_BLOCKS = 32


def forward(x: AttentionInputs, cell: int, rest: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor | None]:
    """Return output, `lse`, and the map with cells of `cell` tokens, or None if that is 0; fills `rest`."""
    call = describe(x)
    batch, heads, queries, keys = x.shape
    output = empty_output(x.query, x.value)
    lse = x.query.new_empty((batch, heads, queries), dtype=torch.float32)
    few = not cell and queries <= FEW_QUERIES and keys >= 2 * _FEWEST_KEYS and queries * call.shared <= _MOST_ROWS
    tile = tile_for("decode" if few else "forward", x)
    parts = lse.new_empty((batch * heads, -(-keys // tile.keys), queries)) if cell else None
    if few:
        _decode(x, call, tile, output, rest, lse)
    else:
        launch(
            kernel, batch * heads * -(-queries // tile.rows), call, output, strides_of(output), rest, lse, parts,
            tile=tile, **widths(x), BM=tile.rows, BN=tile.keys,
        )  # fmt: skip
    if parts is None:
        return output, lse, None
    found = lse.new_empty((batch, heads, -(-queries // cell), -(-keys // cell)))
    launch(
        cells, batch * heads * found.shape[2], call, parts, lse, found,
        tile=tile, CELL=cell, BN=tile.keys, BLOCKS=max(_BLOCKS, cell // tile.keys), BM=MAP_ROWS,
    )  # fmt: skip
    return output, lse, found


def _decode(x: AttentionInputs, call: Call, tile: Tile, output: Tensor, rest: Tensor | None, lse: Tensor) -> None:
    batch, heads, queries, keys = x.shape
    groups = heads // call.shared
    splits = min(_MOST_SPLITS, -(-2 * processors(x.query.device) // (batch * groups)), -(-keys // _FEWEST_KEYS))
    length = -(-keys // (splits * tile.keys)) * tile.keys
    splits = -(-keys // length)
    shape = batch * heads, splits, queries
    tops, totals = lse.new_empty(shape), lse.new_empty(shape)
    outputs = lse.new_empty((*shape, output.shape[3]))
    sizes = widths(x)
    rows = max(16, 1 << (call.shared * queries - 1).bit_length())
    launch(
        split, batch * groups * splits, call, tops, totals, outputs, splits, length,
        tile=tile, **sizes, BM=rows, BN=tile.keys,
    )  # fmt: skip
    launch(
        join, batch * heads * queries, call, tops, totals, outputs, splits, output, strides_of(output), rest, lse,
        tile=tile, EV=sizes["EV"], BEV=sizes["BEV"], SPLITS=1 << (splits - 1).bit_length(),
    )  # fmt: skip
