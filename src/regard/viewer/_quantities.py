"""The numbers of a tile: each quantity over a rectangle of one head, in cells of 2^n tokens a side."""

from __future__ import annotations

from collections.abc import Sequence
from threading import Lock
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..weights import AttentionWeights
from ._cells import MASKED
from ._maps import Map
from ._patches import Patches

TILE = 256
"""Cells per side of a tile."""

# A tile without a stored map is computed from each of its weights: 200 ms for 2¹⁴ tokens a side, 50 for 2¹³.
_MOST_COMPUTED = 1 << 14
_MOST_LOOKED_THROUGH = 1 << 13
# Normalising value-weighted rows takes a pass over the whole head: half a second at this size.
_MOST_NORMALISED = 1 << 15
_MOST_EXPECTED = 1 << 12
# If the call stored no map, one with this many cells a side is computed for a head when a coarse tile of it is
# requested: one pass over all its weights, whatever the size of cells; 16 MiB at most.
_MAP_CELLS = 2048
_MAPS_KEPT = 16
_HEADS_KEPT = 64
_MATRICES_KEPT = 4096

_Head = tuple[int, int]


class _Place(NamedTuple):
    cell: int
    rows: slice
    columns: slice


def coarsest_zoom(sizes: tuple[int, int], cells: int = TILE) -> int:
    """Return the lowest zoom at which a matrix has at most this many cells a side."""
    return max(0, (-(-max(sizes) // cells) - 1).bit_length())


def zooms_of(sizes: tuple[int, int], cells: int = TILE) -> dict[str, tuple[int, int]]:
    """Return the lowest and highest available zoom of each quantity, up to `cells` cells a side."""
    top = coarsest_zoom(sizes, cells)
    computed = min(top, (_MOST_LOOKED_THROUGH // TILE).bit_length() - 1)
    found = {"mass": (0, top), "peak": (0, computed), "uniform": (0, top)}
    if max(sizes) <= _MOST_NORMALISED:
        found["value"] = (0, computed)
    if max(sizes) <= _MOST_EXPECTED:
        found["expected"] = (0, top)
    return found


class Heads:
    """Computes tiles, and caches what several tiles of one head share."""

    def __init__(self, maps: Sequence[Map], patches: Sequence[Patches | None]) -> None:
        self._shown = maps
        self._patches = patches
        self._lock = Lock()  # guards the matrices against concurrent requests
        self._matrices: dict[_Head, AttentionWeights] = {}
        self._weighted: dict[_Head, AttentionWeights] = {}
        self._maps: dict[_Head, tuple[int, Tensor]] = {}
        self._by_distance: dict[_Head, Tensor] = {}

    def matrix(self, number: int, head: int) -> AttentionWeights:
        """Return the matrix of one head, always the same object, since it caches what it computed."""
        key = number, head
        found = self._matrices.get(key)
        if found is None:
            with self._lock:
                _drop_oldest(self._matrices, _MATRICES_KEPT)
                found = self._matrices.setdefault(key, self._shown[number].head(head))
        return found

    def cells(
        self, number: int, number_of_head: int, quantity: str, cell: int, parts: tuple[slice, slice]
    ) -> NDArray[np.float32]:
        """Return the cells of a rectangle aligned to the cells; masked ones have the code."""
        head, weights = (number, number_of_head), self.matrix(number, number_of_head)
        rows, columns = parts
        place = _Place(cell, rows, columns)
        if quantity == "peak":
            found = weights.pooled(cell, "peak", rows=rows, columns=columns)
        elif quantity == "value":
            if head not in self._weighted:
                _drop_oldest(self._weighted, _HEADS_KEPT)
                self._weighted[head] = weights.value_weighted(normalise=True)
            found = self._weighted[head].pooled(cell, rows=rows, columns=columns)
        elif quantity == "uniform":
            found = weights.uniform(cell, rows=rows, columns=columns)
        elif quantity == "expected":
            found = self._expected(head, weights, place)
        else:
            found = self._mass(head, weights, place)
        hidden = weights.masked(cell, rows=rows, columns=columns)
        coded: NDArray[np.float32] = torch.where(hidden, MASKED, found.float()).cpu().numpy()
        return coded

    def _mass(self, head: _Head, weights: AttentionWeights, place: _Place) -> Tensor:
        cell, rows, columns = place
        kept = weights.map_cell
        free = kept > 0 and cell % kept == 0
        covered = head in self._maps and cell >= self._maps[head][0]
        if free or (not covered and min(cell * TILE, max(weights.shape)) <= _MOST_COMPUTED):
            return weights.pooled(cell, rows=rows, columns=columns)
        if head not in self._maps:
            _drop_oldest(self._maps, _MAPS_KEPT)
            finest = 1 << coarsest_zoom((weights.shape[0], weights.shape[1]), _MAP_CELLS)
            self._maps[head] = finest, weights.pooled(finest)
        finest, made = self._maps[head]
        if cell < finest:
            return weights.pooled(cell, rows=rows, columns=columns)
        return _joined(made, finest, weights.shape[0], place)

    def _expected(self, head: _Head, weights: AttentionWeights, place: _Place) -> Tensor:
        queries, keys = weights.shape
        cell, rows, columns = place
        patches = self._patches[head[0]]
        if head not in self._by_distance and patches is not None:
            _drop_oldest(self._by_distance, _HEADS_KEPT)
            self._by_distance[head] = patches.mean_by_class(weights)
        elif head not in self._by_distance:
            _drop_oldest(self._by_distance, _HEADS_KEPT)
            seen = ~weights.masked()
            total = weights.distance_profile(binned=False).mass * max(1, int(seen.any(-1).sum()))
            # Entry d counts the visible pairs whose key minus query, from the first corner on, is d.
            apart = torch.arange(keys)[None, :] - torch.arange(queries)[:, None] + queries - 1
            counts = torch.bincount(apart[seen.cpu()], minlength=queries + keys - 1).to(total)
            self._by_distance[head] = torch.where(counts > 0, total / counts.clamp(min=1), 0.0)
        mean = self._by_distance[head]
        if patches is None:
            row = torch.arange(rows.start, rows.stop, device=mean.device)
            column = torch.arange(columns.start, columns.stop, device=mean.device)
            even = mean[column[None, :] - row[:, None] + queries - 1]
        else:
            even = mean[patches.class_of(rows, columns)]
        even = even.masked_fill(weights.masked(rows=rows, columns=columns).to(even.device), 0.0)
        sums = _folded(even, cell)
        return sums / _sizes(rows.stop - rows.start, cell, sums)[:, None]


def _drop_oldest(kept: dict[_Head, Any], most: int) -> None:
    if len(kept) >= most:
        del kept[next(iter(kept))]


def _joined(made: Tensor, finest: int, queries: int, place: _Place) -> Tensor:
    # Sums over keys are added; means over queries are weighted by the number of queries.
    cell, rows, columns = place
    together = cell // finest
    part = made[rows.start // finest : -(-rows.stop // finest), columns.start // finest : -(-columns.stop // finest)]
    down = _sizes(min(rows.stop, queries) - rows.start, finest, part)
    sums = part * down[:, None]
    sums = _folded(sums, together)
    return sums / _sizes(rows.stop - rows.start, cell, sums)[:, None]


def _folded(numbers: Tensor, together: int) -> Tensor:
    padded = torch.nn.functional.pad(numbers, (0, -numbers.shape[1] % together, 0, -numbers.shape[0] % together))
    sums: Tensor = padded.unflatten(1, (-1, together)).sum(2).unflatten(0, (-1, together)).sum(1)
    return sums


def _sizes(length: int, cell: int, like: Tensor) -> Tensor:
    # The number of tokens of each cell; the last may have fewer.
    edges = torch.arange(0, length + cell, cell, device=like.device).clamp(max=length)
    return edges.diff().to(like.dtype)[: -(-length // cell)]
