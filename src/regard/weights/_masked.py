"""What the mask hides, at any resolution: which cells hold no visible pair, how many keys a query may see."""

from __future__ import annotations

import torch
from torch import Tensor

from ..backends import all_finite, visible
from ._source import WeightSource

__all__ = ["masked_cells", "visible_keys"]

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
        if x.start is None or x.stop is None:
            return torch.zeros(batch, heads, down, across, dtype=torch.bool, device=source.device)
        seen = _seen_by_spans(x.start[..., rows], x.stop[..., rows], columns, cell, (down, across))
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
    elif x.start is None or x.stop is None:
        counts = torch.full((1, 1, queries), keys, dtype=torch.long, device=source.device)
    else:
        counts = (x.stop.long() - x.start.long()).clamp(min=0)
    return counts.expand(batch, heads, queries)


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
    return padded.unflatten(3, (-1, cell[1])).any(4).unflatten(2, (-1, cell[0])).any(3)


def _wide(seen: Tensor | None, source: WeightSource, rows: slice, columns: slice) -> Tensor:
    sizes = (rows.stop - rows.start, columns.stop - columns.start)
    if seen is None:
        seen = torch.ones(1, 1, 1, 1, dtype=torch.bool, device=source.device)
    return seen.expand(*seen.shape[:2], *sizes)
