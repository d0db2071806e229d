"""From the weights of a call to the summary that is kept of them: one pass over every weight."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn.functional import pad

from .._inputs import KEPT_TOP, Summary, summary_cell
from .._tracing import full_precision
from ..backends import cell_sizes, in_cells, seen_of, steady_exp2_, steady_sum
from ._inspected import looking
from ._matrix import AttentionWeights
from ._question import Question
from ._softmax_source import SoftmaxSource
from ._source import WeightSource
from ._stream import BITS_OF_NOTHING, blocks, largest


def summarise(weights: AttentionWeights, cell: int | None = None) -> Summary:
    """Return the summary of a call, without gradient; memory O(n), and what its map takes.

    Costs next to nothing where it was kept, or made with the output: its map is then as it is. Else the map has cells
    of `cell` tokens, a power of two (at most 64 a side unless given), and it takes less than a forward pass for
    softmax weights on the CPU, and about five forward passes for others.
    """
    with torch.no_grad(), full_precision(weights.device.type):
        source = weights._ready(differentiable=False)
        if source.summary is not None:
            return source.summary
        found = _one_look(source.entries(), cell)
        return found if weights.sums_to_one else replace(found, entropy=weights.entropy().reshape(source.shape[:3]))


def with_summary(weights: AttentionWeights, cell: int | None = None) -> AttentionWeights:
    """Return the same weights, without gradient, with their summary at hand: what that answers costs nothing more.

    Costs `summarise`, which says what `cell` means. What is written to the tensors of the call later is noticed where
    entries are computed.
    """
    if weights.kept_cell:
        return weights
    source = weights._ready(differentiable=False)
    return AttentionWeights.of_summary(
        summarise(weights, cell), weights.ndim, sums_to_one=weights.sums_to_one, fetch=lambda: source.fresh().entries()
    )


def has_summary(weights: AttentionWeights) -> bool:
    """Return whether the summary is at hand, so that what it answers costs nothing."""
    return weights._source.summary is not None


def _one_look(source: WeightSource, cell: int | None) -> Summary:
    """Read every weight of a source that has its `lse` once, by a backend if one can."""
    x, lse = source.inputs, source.lse
    if lse is None:
        raise ValueError("the lse was not computed")
    cell = cell or summary_cell(max(source.shape[2:]))
    backend = looking(source, "summary") if isinstance(source, SoftmaxSource) and source.log_factor is None else None
    return _streamed(source, lse, cell) if backend is None else backend.summarise(x, lse, cell)


def _streamed(source: WeightSource, lse: Tensor, cell: int) -> Summary:
    """The same block by block in PyTorch: any source, any device."""
    batch, heads, queries, keys = source.shape
    everything = Question("pooled", source, slice(0, queries), slice(0, keys), (cell, cell))
    like = {"dtype": source.dtype, "device": source.device}
    entropy, distance = torch.zeros(2, batch, heads, queries, **like)  # type: ignore[call-overload]
    received = torch.zeros(batch, heads, keys, **like)  # type: ignore[call-overload]
    cells = torch.zeros(batch, heads, -(-queries // cell), -(-keys // cell), **like)  # type: ignore[call-overload]
    best = torch.full((batch, heads, queries, KEPT_TOP), -torch.inf, **like)  # type: ignore[call-overload]
    at = torch.full(best.shape, -1, dtype=torch.int32, device=source.device)
    for block in blocks(everything):
        rows = block.batch, block.heads, block.rows
        bits = block.source.bits(block.rows, block.columns)
        found = _merged(best[rows], at[rows], *largest(bits, min(KEPT_TOP, bits.shape[3])), block.columns.start)
        best[rows], at[rows] = found
        weights = steady_exp2_(bits.clone())
        places = torch.arange(block.rows.start, block.rows.stop, device=source.device) + source.shift
        there = torch.arange(block.columns.start, block.columns.stop, device=source.device)
        distance[rows] += steady_sum(weights * (there - places[:, None]).abs_().to(weights.dtype), -1)
        received[block.batch, block.heads, block.columns] += steady_sum(weights, 2)
        down, across = (slice(side.start // cell, -(-side.stop // cell)) for side in (block.rows, block.columns))
        cells[block.batch, block.heads, down, across] += in_cells(weights, (cell, cell), steady_sum)
        entropy[rows] += steady_sum(weights.mul_(bits.clamp_(min=BITS_OF_NOTHING)), -1).mul_(-math.log(2.0))
    entropy.clamp_(min=0.0)  # a weight may round above 1
    rows_of = torch.arange(queries, device=source.device)
    sides = []
    for side in (-1, 0, 1):
        columns = rows_of + source.shift + side
        inside = (columns >= 0) & (columns < keys)
        sides.append(steady_sum(source.pairs(rows_of[inside], columns[inside]), -1))
    cells = cells / cell_sizes(queries, cell, source.device).to(source.dtype)[:, None]
    masked, visible_keys, visible_queries = seen_of(source.inputs, cell)
    return Summary(
        cell, cells, masked, entropy, distance, received, steady_exp2_(best), at, torch.stack(sides, -1), lse,
        visible_keys, visible_queries,
    )  # fmt: skip


def top_of(weights: Tensor) -> tuple[Tensor, Tensor]:
    """Return the largest weights of each row and their keys, int32, `(…, KEPT_TOP)`; 0 and -1 behind the last.

    What is hidden is -inf in `weights`. Among equals the lower key comes first.
    """
    values, keys = largest(weights, min(KEPT_TOP, weights.shape[-1]))
    missing = KEPT_TOP - values.shape[-1]
    values, keys = pad(values, (0, missing), value=-torch.inf), pad(keys, (0, missing), value=-1).to(torch.int32)
    nothing = values == -torch.inf
    return values.masked_fill(nothing, 0.0), keys.masked_fill(nothing, -1)


def _merged(best: Tensor, at: Tensor, values: Tensor, places: Tensor, first: int) -> tuple[Tensor, Tensor]:
    """Return the top weights of rows of which another block was seen; keys to the left come first among equals."""
    places = (places + first).to(torch.int32).masked_fill(values == -torch.inf, -1)
    values, places = torch.cat([best, values], -1), torch.cat([at, places], -1)
    order = values.sort(dim=-1, descending=True, stable=True).indices[..., :KEPT_TOP]
    return values.gather(-1, order), places.gather(-1, order)
