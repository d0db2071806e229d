"""What the mask hides, at any resolution: which cells hold no visible pair, how many keys a query may see."""

from __future__ import annotations

import torch
from torch import Tensor

from ..backends import all_finite, visible
from ._source import WeightSource

__all__ = ["masked_cells", "uniform_cells", "visible_keys"]

# Entries of a mask that are looked at together, where it is no span.
_ENTRIES = 1 << 22


def masked_cells(source: WeightSource, rows: slice, columns: slice, cell: tuple[int, int]) -> Tensor:
    """Return bool `(B, H, ⌈r/cell⌉, ⌈c/cell⌉)`: True where no query of a cell may see any of its keys."""
    batch, heads, _, _ = source.shape
    x = source.inputs
    down = -(-(rows.stop - rows.start) // cell[0])
    across = -(-(columns.stop - columns.start) // cell[1])
    if down * across == 0:
        seen = torch.zeros(1, 1, down, across, dtype=torch.bool, device=source.device)
    elif _only_spans(source):
        if x.spans is None:
            return torch.zeros(batch, heads, down, across, dtype=torch.bool, device=source.device)
        seen = _seen_by_spans(x.spans.start[..., rows], x.spans.stop[..., rows], columns, cell, (down, across))
    else:
        step = max(1, _ENTRIES // max(1, (columns.stop - columns.start) * cell[0])) * cell[0]
        parts = [
            _seen(source, slice(a, min(a + step, rows.stop)), columns, cell) for a in range(rows.start, rows.stop, step)
        ]
        seen = torch.cat(parts, 2)
    return (~seen).expand(batch, heads, down, across)


def visible_keys(source: WeightSource) -> Tensor:
    """Return how many keys each query may see by the mask: int64 `(B, H, L)`."""
    batch, heads, queries, keys = source.shape
    x = source.inputs
    if not _only_spans(source):
        step = max(1, _ENTRIES // max(1, keys))
        whole = slice(0, keys)
        parts = []
        for a in range(0, queries, step):
            rows = slice(a, min(a + step, queries))
            seen = visible(x, rows, whole)
            parts.append(_wide(seen, source, rows, whole).sum(-1))
        counts = torch.cat(parts, 2) if parts else torch.zeros(1, 1, 0, dtype=torch.long, device=source.device)
    elif x.spans is None:
        counts = torch.full((1, 1, queries), keys, dtype=torch.long, device=source.device)
    else:
        counts = (x.spans.stop.long() - x.spans.start.long()).clamp(min=0)
    return counts.expand(batch, heads, queries)


def uniform_cells(source: WeightSource, rows: slice, columns: slice, cell: tuple[int, int]) -> Tensor:
    """Return float32 `(B, H, …)` cells of the weights that look at all visible keys alike: sums over keys, means over
    queries."""
    batch, heads, _, keys = source.shape
    x = source.inputs
    counts = visible_keys(source)[..., rows]
    share = torch.where(counts > 0, 1.0 / counts.double(), 0.0)
    down = -(-(rows.stop - rows.start) // cell[0])
    across = -(-(columns.stop - columns.start) // cell[1])
    if _only_spans(source):
        whole = torch.zeros(1, 1, 1, dtype=torch.long, device=source.device)
        ends = (whole, whole + keys) if x.spans is None else (x.spans.start[..., rows], x.spans.stop[..., rows])
        start, stop = (end.long().expand_as(share) for end in ends)
        sums = _uniform_by_spans(start, stop, share, columns, cell, (down, across))
    else:
        sums = torch.zeros(batch, heads, down, across, dtype=torch.float64, device=source.device)
        step = max(1, _ENTRIES // max(1, (columns.stop - columns.start) * cell[0]))
        for row in range(0, down, step):
            part = slice(rows.start + row * cell[0], min(rows.start + (row + step) * cell[0], rows.stop))
            seen = _wide(visible(x, part, columns), source, part, columns)
            even = seen * share[..., part.start - rows.start : part.stop - rows.start, None]
            even = torch.nn.functional.pad(even, (0, -even.shape[3] % cell[1], 0, -even.shape[2] % cell[0]))
            folded = even.unflatten(3, (-1, cell[1])).sum(4).unflatten(2, (-1, cell[0])).sum(3)
            sums[:, :, row : row + folded.shape[2]] = folded
    edges = torch.arange(0, rows.stop - rows.start + cell[0], cell[0], device=source.device)
    queries = edges[: down + 1].clamp(max=rows.stop - rows.start).diff()
    return (sums / queries[:, None]).float().expand(batch, heads, down, across)


def _uniform_by_spans(
    start: Tensor, stop: Tensor, share: Tensor, columns: slice, cell: tuple[int, int], sizes: tuple[int, int]
) -> Tensor:
    # A row fills the cells between its ends wholly, by a running sum, and the two at its ends in part.
    down, across = sizes
    first = start.clamp(columns.start, columns.stop) - columns.start
    last = torch.maximum(stop.clamp(columns.start, columns.stop) - columns.start, first)
    width = across + 2
    row = torch.arange(start.shape[-1], device=start.device) // cell[0] * width
    left, right = first // cell[1], last // cell[1]
    full = share.new_zeros(*start.shape[:2], down * width)
    full.scatter_add_(2, row + left + 1, share * cell[1]).scatter_add_(2, row + right, -share * cell[1])
    found = full.view(*start.shape[:2], down, width).cumsum(-1)
    ends = share.new_zeros(full.shape)
    ends.scatter_add_(2, row + left, share * ((left + 1) * cell[1] - first))
    ends.scatter_add_(2, row + right, share * (last - right * cell[1]))
    whole: Tensor = found + ends.view(found.shape)
    return whole[..., :across]


def _only_spans(source: WeightSource) -> bool:
    x = source.inputs
    given = [bias for bias in (x.position_bias, x.bias) if bias is not None]
    return x.dense_mask is None and (not given or all_finite(*given))


def _seen_by_spans(
    start: Tensor, stop: Tensor, columns: slice, cell: tuple[int, int], sizes: tuple[int, int]
) -> Tensor:
    # Each row marks where its run of cells begins and ends; the running sum says which cells it covers.
    down, across = sizes
    first = start.long().clamp(columns.start, columns.stop) - columns.start
    last = stop.long().clamp(columns.start, columns.stop) - columns.start
    filled = first < last
    place = torch.arange(start.shape[-1], device=start.device) // cell[0] * (across + 1)
    change = torch.zeros(*start.shape[:2], down * (across + 1), dtype=torch.int32, device=start.device)
    ones = filled.to(torch.int32)
    change.scatter_add_(2, torch.where(filled, first // cell[1], 0) + place, ones)
    change.scatter_add_(2, torch.where(filled, (last - 1) // cell[1] + 1, 0) + place, -ones)
    return change.view(*start.shape[:2], down, across + 1).cumsum(-1)[..., :across] > 0


def _seen(source: WeightSource, rows: slice, columns: slice, cell: tuple[int, int]) -> Tensor:
    seen = _wide(visible(source.inputs, rows, columns), source, rows, columns)
    pads = (0, -seen.shape[3] % cell[1], 0, -seen.shape[2] % cell[0])
    padded: Tensor = torch.nn.functional.pad(seen, pads)
    found: Tensor = padded.unflatten(3, (-1, cell[1])).any(4).unflatten(2, (-1, cell[0])).any(3)
    return found


def _wide(seen: Tensor | None, source: WeightSource, rows: slice, columns: slice) -> Tensor:
    sizes = (rows.stop - rows.start, columns.stop - columns.start)
    if seen is None:
        seen = torch.ones(1, 1, 1, 1, dtype=torch.bool, device=source.device)
    return seen.expand(*seen.shape[:2], *sizes)
