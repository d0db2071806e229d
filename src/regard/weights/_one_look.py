"""Everything that a summary keeps of a matrix, in one look at each weight, in PyTorch: any source, any device."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import pad

from ..backends import steady_exp2_, steady_sum
from ..backends.native import LINKS, CallSummary
from ._questions import Question
from ._source import WeightSource
from ._stream import BITS_OF_NOTHING, blocks, folded, largest

__all__ = ["LINKS", "links_of", "one_look"]


def one_look(source: WeightSource, cell: int) -> CallSummary:
    """Look once at every weight of a source that has its `lse`, block by block; memory O(n)."""
    batch, heads, queries, keys = source.shape
    everything = Question("pooled", source, slice(0, queries), slice(0, keys), (cell, cell))
    like = {"dtype": source.dtype, "device": source.device}
    entropy, distance = torch.zeros(2, batch, heads, queries, **like)  # type: ignore[call-overload]
    received = torch.zeros(batch, heads, keys, **like)  # type: ignore[call-overload]
    cells = torch.zeros(batch, heads, -(-queries // cell), -(-keys // cell), **like)  # type: ignore[call-overload]
    best = torch.full((batch, heads, queries, LINKS), -torch.inf, **like)  # type: ignore[call-overload]
    at = torch.full(best.shape, -1, dtype=torch.int32, device=source.device)
    for block in blocks(everything):
        rows = block.batch, block.heads, block.rows
        bits = block.source.bits(block.rows, block.columns)
        found = _merged(best[rows], at[rows], *largest(bits, min(LINKS, bits.shape[3])), block.columns.start)
        best[rows], at[rows] = found
        weights = steady_exp2_(bits.clone())
        places = torch.arange(block.rows.start, block.rows.stop, device=source.device) + source.shift
        there = torch.arange(block.columns.start, block.columns.stop, device=source.device)
        distance[rows] += steady_sum(weights * (there - places[:, None]).abs_().to(weights.dtype), -1)
        received[block.batch, block.heads, block.columns] += steady_sum(weights, 2)
        down, across = (slice(side.start // cell, -(-side.stop // cell)) for side in (block.rows, block.columns))
        cells[block.batch, block.heads, down, across] += folded(weights, (cell, cell), steady_sum)
        entropy[rows] += steady_sum(weights.mul_(bits.clamp_(min=BITS_OF_NOTHING)), -1).mul_(-math.log(2.0))
    entropy.clamp_(min=0.0)  # a weight may round above 1
    rows_of = torch.arange(queries, device=source.device)
    sides = []
    for side in (-1, 0, 1):
        columns = rows_of + source.shift + side
        inside = (columns >= 0) & (columns < keys)
        sides.append(steady_sum(source.pairs(rows_of[inside], columns[inside]), -1))
    edges = torch.arange(0, queries + cell, cell, device=source.device).clamp(max=queries)[: cells.shape[2] + 1]
    cells = cells / edges.diff().to(source.dtype)[:, None]
    return CallSummary(cells, entropy, distance, steady_exp2_(best), at, received, torch.stack(sides, -1))


def links_of(weights: Tensor) -> tuple[Tensor, Tensor]:
    """Return the largest weights of each row and their keys, int32, `(…, LINKS)`; 0 and -1 behind the last.

    What is hidden is -inf in `weights`. Among equals the lower key comes first.
    """
    values, keys = largest(weights, min(LINKS, weights.shape[-1]))
    missing = LINKS - values.shape[-1]
    values, keys = pad(values, (0, missing), value=-torch.inf), pad(keys, (0, missing), value=-1).to(torch.int32)
    nothing = values == -torch.inf
    return values.masked_fill(nothing, 0.0), keys.masked_fill(nothing, -1)


def _merged(best: Tensor, at: Tensor, values: Tensor, places: Tensor, first: int) -> tuple[Tensor, Tensor]:
    """Return the links of rows of which another block was seen; keys to the left come first among equals."""
    places = (places + first).to(torch.int32).masked_fill(values == -torch.inf, -1)
    values, places = torch.cat([best, values], -1), torch.cat([at, places], -1)
    order = values.sort(dim=-1, descending=True, stable=True).indices[..., :LINKS]
    return values.gather(-1, order), places.gather(-1, order)
