"""What the mask of a call hides: which cells hold no visible pair, how many keys a query sees, and queries a key."""

from __future__ import annotations

from functools import lru_cache
from typing import cast

import torch
from torch import Tensor
from torch.utils.weak import WeakIdKeyDictionary

from .._inputs import AttentionInputs
from ._cells import any_of, cell_sizes, in_cells
from ._scores import visible
from ._values import all_finite, readable

# Entries of a dense mask that are read at a time.
_ENTRIES = 1 << 22
_Seen = tuple[Tensor, Tensor, Tensor]
# All layers of a model see the same spans: what follows from the last ones is kept as long as they live.
_SEEN = WeakIdKeyDictionary()


def masked_cells(x: AttentionInputs, rows: slice, columns: slice, cell: tuple[int, int]) -> Tensor:
    """Return bool `(B, H, ⌈r/cell⌉, ⌈c/cell⌉)`: True where no query of a cell may see any of its keys."""
    batch, heads, _, _ = x.shape
    down = -(-(rows.stop - rows.start) // cell[0])
    across = -(-(columns.stop - columns.start) // cell[1])
    if down * across == 0:
        seen = torch.zeros(1, 1, down, across, dtype=torch.bool, device=x.query.device)
    elif _only_spans(x):
        if x.spans is None:
            return torch.zeros(batch, heads, down, across, dtype=torch.bool, device=x.query.device)
        seen = _seen_by_spans(x.spans.start[..., rows], x.spans.stop[..., rows], columns, cell, (down, across))
    else:
        step = max(1, _ENTRIES // max(1, (columns.stop - columns.start) * cell[0])) * cell[0]
        parts = [
            in_cells(_visible(x, slice(a, min(a + step, rows.stop)), columns), cell, any_of)
            for a in range(rows.start, rows.stop, step)
        ]
        seen = torch.cat(parts, 2)
    return (~seen).expand(batch, heads, down, across)


def visible_keys(x: AttentionInputs) -> Tensor:
    """Return how many keys each query may see by the mask: int64 `(B, H, L)`."""
    batch, heads, queries, keys = x.shape
    if not _only_spans(x):
        step = max(1, _ENTRIES // max(1, keys))
        whole = slice(0, keys)
        parts = [_visible(x, slice(a, min(a + step, queries)), whole).sum(-1) for a in range(0, queries, step)]
        counts = torch.cat(parts, 2) if parts else torch.zeros(1, 1, 0, dtype=torch.long, device=x.query.device)
    elif x.spans is None:
        counts = torch.full((1, 1, queries), keys, dtype=torch.long, device=x.query.device)
    else:
        counts = (x.spans.stop.long() - x.spans.start.long()).clamp(min=0)
    return counts.expand(batch, heads, queries)


def visible_queries(x: AttentionInputs) -> Tensor:
    """Return how many queries may see each key by the mask, without biases: int64 `(b, h, S)`, 1 where all agree."""
    _, _, queries, keys = x.shape
    device = x.query.device
    if x.dense_mask is not None:
        step = max(1, _ENTRIES // max(1, keys))
        parts = [visible(x, slice(a, min(a + step, queries)), slice(0, keys)) for a in range(0, queries, step)]
        seen = [part.sum(2) for part in parts if part is not None]
        # A mask with one row for all queries stands for as many rows as there are queries.
        if x.spans is None and x.dense_mask.shape[2] == 1:
            seen = [x.dense_mask[:, :, 0].long() * queries]
        total = torch.stack(seen).sum(0) if seen else torch.zeros(1, 1, keys, dtype=torch.long, device=device)
        return total.expand(*total.shape[:2], keys)
    if x.spans is None:
        return torch.full((1, 1, keys), queries, dtype=torch.long, device=device)
    start, stop, _ = x.spans
    change = torch.zeros(*start.shape[:2], keys + 1, dtype=torch.long, device=device)
    ones = torch.ones_like(start, dtype=torch.long)
    change.scatter_add_(2, start.long(), ones).scatter_add_(2, stop.long(), -ones)
    return change[..., :keys].cumsum(-1)


def uniform_cells(x: AttentionInputs, rows: slice, columns: slice, cell: tuple[int, int]) -> Tensor:
    """Return float32 `(B, H, …)` cells of uniform weights over the visible keys: sums over keys, means over
    queries."""
    batch, heads, _, keys = x.shape
    device = x.query.device
    counts = _once(visible_keys(x)[..., rows])
    share = torch.where(counts > 0, 1.0 / counts.double(), 0.0)
    height = rows.stop - rows.start
    down = -(-height // cell[0])
    across = -(-(columns.stop - columns.start) // cell[1])
    if _only_spans(x):
        whole = torch.zeros(1, 1, 1, dtype=torch.long, device=device)
        ends = (whole, whole + keys) if x.spans is None else (x.spans.start[..., rows], x.spans.stop[..., rows])
        start, stop = (end.long().expand_as(share) for end in ends)
        sums = _uniform_by_spans(start, stop, share, columns, cell, (down, across))
    else:
        step = max(1, _ENTRIES // max(1, (columns.stop - columns.start) * cell[0]))
        parts = [share.new_zeros(*share.shape[:2], 0, across)]
        for row in range(0, down, step):
            part = slice(rows.start + row * cell[0], min(rows.start + (row + step) * cell[0], rows.stop))
            even = _visible(x, part, columns) * share[..., part.start - rows.start : part.stop - rows.start, None]
            parts.append(in_cells(even, cell, torch.sum))
        sums = torch.cat(parts, 2)
    return (sums / cell_sizes(height, cell[0], device)[:, None]).float().expand(batch, heads, down, across)


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


def _only_spans(x: AttentionInputs) -> bool:
    given = [bias for bias in (x.position_bias, x.bias) if bias is not None]
    return x.dense_mask is None and (not given or (readable(x.query) and all_finite(*given)))


def _seen_by_spans(
    start: Tensor, stop: Tensor, columns: slice, cell: tuple[int, int], sizes: tuple[int, int]
) -> Tensor:
    # Each row marks where its run of cells begins and ends; the running sum says which cells it covers. It counts at
    # most the rows of a cell, and there may be many cells: their count takes as few bytes as it can.
    down, across = sizes
    first = start.long().clamp(columns.start, columns.stop) - columns.start
    last = stop.long().clamp(columns.start, columns.stop) - columns.start
    filled = first < last
    place = torch.arange(start.shape[-1], device=start.device) // cell[0] * (across + 1)
    rows = min(cell[0], start.shape[-1])
    counts = torch.int8 if rows < 1 << 7 else torch.int16 if rows < 1 << 15 else torch.int32
    change = torch.zeros(*start.shape[:2], down * (across + 1), dtype=counts, device=start.device)
    ones = filled.to(counts)
    change.scatter_add_(2, torch.where(filled, first // cell[1], 0) + place, ones)
    change.scatter_add_(2, torch.where(filled, (last - 1) // cell[1] + 1, 0) + place, -ones)
    return change.view(*start.shape[:2], down, across + 1).cumsum_(-1)[..., :across] > 0


def _visible(x: AttentionInputs, rows: slice, columns: slice) -> Tensor:
    """Return which pairs of a rectangle are visible, `(b, h, r, c)`."""
    seen = visible(x, rows, columns)
    if seen is None:
        seen = torch.ones(1, 1, 1, 1, dtype=torch.bool, device=x.query.device)
    return seen.expand(*seen.shape[:2], rows.stop - rows.start, columns.stop - columns.start)


def seen_of(x: AttentionInputs, cell: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return `masked`, `visible_keys` and `visible_queries` of a summary. Shared by layers, so never written to."""
    plain = x.dense_mask is None and x.bias is None and x.position_bias is None
    _, _, queries, keys = x.shape
    key = (cell, queries, keys)
    if plain and x.spans is None:
        return _everything(*key, x.query.device)
    if plain and x.spans is not None and x.spans.start in _SEEN:
        known, stop, seen = _SEEN[x.spans.start]
        if known == key and stop is x.spans.stop:
            return cast(_Seen, seen)
    hidden = masked_cells(x, slice(0, queries), slice(0, keys), (cell, cell))
    seen = _once(hidden), _once(visible_keys(x)), _once(visible_queries(x))
    if plain and x.spans is not None:
        _SEEN[x.spans.start] = (key, x.spans.stop, seen)
    return seen


@lru_cache(maxsize=4)
def _everything(cell: int, queries: int, keys: int, device: torch.device) -> _Seen:
    masked = torch.zeros(1, 1, -(-queries // cell), -(-keys // cell), dtype=torch.bool, device=device)
    one = torch.ones((), dtype=torch.int64, device=device)
    return masked, (one * keys).expand(1, 1, queries), (one * queries).expand(1, 1, keys)


def _once(tensor: Tensor) -> Tensor:
    # What is the same for all inputs or heads is kept once.
    for dim in (0, 1):
        if tensor.shape[dim] > 1 and tensor.stride(dim) == 0:
            tensor = tensor.narrow(dim, 0, 1)
    return tensor
