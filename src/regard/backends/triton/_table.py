"""Tiles, warps and stages: one row for each pass, compute capability, width and size of a number."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["FEW_QUERIES", "MAP_ROWS", "Tile", "map_cell", "tile_of"]

FEW_QUERIES = 4
"""Up to so many queries a call is a step of a generation."""
MAP_ROWS = 64
"""Queries of a row of cells that are summed at a time; a cell is a multiple of it."""
# A map of the weights has at most this many cells a side, as that of the native kernel.
_MOST_CELLS = 2048


class Tile(NamedTuple):
    """How a pass is cut."""

    rows: int
    keys: int
    warps: int
    stages: int


def tile_of(work: str, capability: int, width: int, itemsize: int) -> Tile:
    """Return the tile of a pass on a device of this compute capability (0: the interpreter)."""
    return Tile(64, 64, 4, 2)


def map_cell(queries: int, keys: int, tile: Tile) -> int:
    """Return the tokens per side of a cell of the map that a call keeps: whole blocks of keys."""
    cell = max(MAP_ROWS, tile.keys)
    while cell * _MOST_CELLS < max(queries, keys):
        cell *= 2
    return cell
