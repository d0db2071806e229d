"""Writing one call: its arrays, its map at every coarseness, and the document that says what they are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..weights import AttentionWeights, Parts, RestoredWeights, StoredWeights, Summary, parts_of, summarise
from ._fields import Sizes, numbers_of, rule_of, tensors_of
from ._format import Put, check_of, group_document, stored_dtype, write_array

if TYPE_CHECKING:
    from ._recording import RecordedCall

__all__ = ["cells_of_maps", "sizes_of", "write_call"]

# The coarsest map has at most this many cells a side.
_COARSEST = 8


def write_call(put: Put, call: RecordedCall, position: int) -> int:
    """Write a call through `put(name, data)`, the document that makes it complete last; return its check."""
    weights = call.weights
    summary, parts = _kept(weights)
    sizes = sizes_of(summary, parts)
    written = _Arrays(put, sizes)
    for name, tensor in tensors_of(summary):
        if name == "map":
            maps = _pyramid(tensor, summary.cell, sizes.known["L"])
            for level, one in enumerate(maps):
                written.add(f"map/{level}", name, one)
        else:
            written.add(name, name, tensor)
    if parts is not None:
        for name, tensor in tensors_of(parts):
            written.add(f"exact/{name}", name, tensor)
    ours = {
        "position": position,
        "key": call.key,
        "module": call.module,
        "number": call.number,
        "door": call.door,
        "heads": None if call.heads is None else list(call.heads),
        "passes": call.passes,
        "rank": weights.ndim,
        "sums_to_one": weights.sums_to_one,
        "sizes": {letter: sizes.known[letter] for letter in "BHLSGE"},
        "dtype": stored_dtype(weights.dtype),
        "summary": numbers_of(summary),
        "exact": None if parts is None else numbers_of(parts),
        "map_cells": cells_of_maps(summary.cell, sizes.known["L"], sizes.known["S"]),
        "arrays": written.found,
    }
    for folder in ("map", "exact") if parts is not None else ("map",):
        put(f"{folder}/zarr.json", group_document())
    put("zarr.json", group_document(ours))
    return check_of(ours)


def _kept(weights: AttentionWeights) -> tuple[Summary, Parts | None]:
    if isinstance(weights, StoredWeights):
        return weights.summary, None
    with torch.no_grad():
        summary = weights.summary if isinstance(weights, RestoredWeights) else summarise(weights)
        return summary, parts_of(weights)


def sizes_of(summary: Summary, parts: Parts | None) -> Sizes:
    """Return the sizes of a call by letter."""
    batch, heads, queries = summary.entropy.shape
    keys = summary.received.shape[2]
    groups, width = (0, 0) if parts is None else (parts.key.shape[1], parts.key.shape[3])
    return Sizes.of_call(
        {"B": batch, "H": heads, "L": queries, "S": keys, "G": groups, "E": width},
        summary.cell,
        0 if parts is None else parts.kernel_map_cell,
    )


class _Arrays:
    """Writes arrays and remembers what the call's document says of them."""

    def __init__(self, put: Put, sizes: Sizes) -> None:
        self.found: dict[str, Any] = {}
        self._put, self._sizes = put, sizes

    def add(self, path: str, name: str, tensor: Tensor) -> None:
        """Write an array under `path`, by the rule of `name`."""
        names = self._sizes.names(tuple(tensor.shape), rule_of(name))
        self.found[path] = write_array(self._put, path, tensor, names)


def cells_of_maps(cell: int, queries: int, keys: int) -> list[int]:
    """Return the tokens a side of a cell of each map, coarsest first; the last is `cell`."""
    cells = [cell]
    while -(-max(queries, keys) // cells[0]) > _COARSEST:
        cells.insert(0, cells[0] * 2)
    return cells


def _pyramid(finest: Tensor, cell: int, queries: int) -> list[Tensor]:
    """Return the map in cells of each coarseness, coarsest first: keys add up, queries are averaged."""
    maps = [finest]
    while max(maps[0].shape[2:]) > _COARSEST:
        rows, columns = maps[0].shape[2:]
        counts = torch.arange(rows + 1, device=finest.device).mul(cell).clamp(max=queries).diff().to(finest.dtype)
        padded = torch.nn.functional.pad(maps[0] * counts[:, None], (0, columns % 2, 0, rows % 2))
        sums = padded.unflatten(3, (-1, 2)).sum(4).unflatten(2, (-1, 2)).sum(3)
        weight = torch.nn.functional.pad(counts, (0, rows % 2)).unflatten(0, (-1, 2)).sum(1)
        maps.insert(0, sums / weight[:, None])
        cell *= 2
    return maps
