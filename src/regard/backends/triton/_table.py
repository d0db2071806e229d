"""Tiles, warps and stages: one row for each pass, compute capability, width and size of a number.

Registers of a thread and bytes that spill are those of the pass's greediest kernel, causal with weights asked for, as
Triton 3.9 compiles it ahead of time; a test compiles rows anew and compares. The interpreter's and AMD's
have none. They were not chosen by time: no device was at hand (2026-11-30).
"""

from __future__ import annotations

from typing import NamedTuple

WIDEST = 256
"""The widest heads and values."""
FEW_QUERIES = 4
"""Up to so many queries a call is a step of a generation."""
MAP_ROWS = 64
"""Queries of a row of cells that are summed at a time; a cell is a multiple of it."""
# A map of the weights has at most this many cells a side, as that of the native kernel.
_MOST_CELLS = 2048
# Devices with less shared memory for a program than the one whose number is next below: they take the tiles of 8.0.
_SMALL = (86, 87, 89, 120, 121)


class Tile(NamedTuple):
    """How a pass is cut."""

    rows: int
    """Queries; in the backward pass that of the gradients of keys, turned for that of queries."""
    keys: int
    warps: int
    stages: int


class Row(NamedTuple):
    """One line of the table."""

    work: str
    """"forward", "backward", "bias" (square tiles), "decode" (whose rows are what the call has), "inspection" (of
    cells and keys) or "by row" (inspection that keeps numbers for each row)."""
    capability: int
    """Ten times the compute capability, and for later ones until the next; 0: the interpreter, 1: AMD."""
    width: int
    """Heads and values up to this width."""
    itemsize: int
    """Bytes of a number."""
    tile: Tile
    registers: int = 0
    spilled: int = 0


ROWS = (
    Row("forward", 0, 256, 4, Tile(64, 64, 1, 1)),
    Row("backward", 0, 256, 4, Tile(64, 64, 1, 1)),
    Row("bias", 0, 256, 4, Tile(64, 64, 1, 1)),
    Row("decode", 0, 256, 4, Tile(16, 64, 1, 1)),
    Row("inspection", 0, 256, 4, Tile(64, 64, 1, 1)),
    Row("by row", 0, 256, 4, Tile(64, 64, 1, 1)),
    Row("forward", 1, 128, 2, Tile(128, 64, 4, 1)),
    Row("forward", 1, 256, 2, Tile(64, 32, 4, 1)),
    Row("forward", 1, 256, 4, Tile(32, 32, 4, 1)),
    Row("backward", 1, 128, 2, Tile(64, 64, 4, 1)),
    Row("backward", 1, 256, 4, Tile(32, 32, 4, 1)),
    Row("bias", 1, 128, 2, Tile(64, 64, 4, 1)),
    Row("bias", 1, 256, 4, Tile(32, 32, 4, 1)),
    Row("decode", 1, 128, 2, Tile(16, 64, 4, 1)),
    Row("decode", 1, 256, 4, Tile(16, 32, 4, 1)),
    Row("inspection", 1, 128, 2, Tile(64, 64, 4, 1)),
    Row("inspection", 1, 256, 4, Tile(32, 16, 4, 1)),
    Row("by row", 1, 128, 2, Tile(64, 32, 4, 1)),
    Row("by row", 1, 256, 4, Tile(32, 16, 4, 1)),
    Row("forward", 80, 64, 2, Tile(128, 64, 8, 3), 255, 48),
    Row("forward", 80, 128, 2, Tile(64, 64, 8, 2), 255, 16),
    Row("forward", 80, 256, 2, Tile(64, 32, 8, 2), 255, 0),
    Row("forward", 80, 64, 4, Tile(32, 32, 4, 2), 168, 0),
    Row("forward", 80, 128, 4, Tile(32, 32, 4, 2), 255, 8),
    Row("forward", 80, 256, 4, Tile(16, 16, 8, 1), 255, 200),
    Row("backward", 80, 64, 2, Tile(64, 64, 8, 2), 255, 88),
    Row("backward", 80, 128, 2, Tile(64, 64, 8, 1), 255, 88),
    Row("backward", 80, 256, 2, Tile(32, 32, 8, 1), 255, 56),
    Row("backward", 80, 64, 4, Tile(32, 32, 8, 1), 172, 8),
    Row("backward", 80, 128, 4, Tile(32, 32, 8, 1), 255, 152),
    Row("backward", 80, 256, 4, Tile(16, 16, 8, 1), 255, 104),
    Row("bias", 80, 128, 2, Tile(32, 32, 4, 1), 226, 0),
    Row("bias", 80, 256, 4, Tile(32, 32, 8, 1), 108, 0),
    Row("decode", 80, 128, 2, Tile(16, 64, 4, 2), 126, 0),
    Row("decode", 80, 256, 4, Tile(16, 32, 8, 1), 170, 0),
    Row("inspection", 80, 128, 2, Tile(64, 64, 4, 2), 218, 0),
    Row("inspection", 80, 256, 2, Tile(64, 32, 4, 2), 255, 8),
    Row("inspection", 80, 64, 4, Tile(32, 32, 4, 2), 168, 16),
    Row("inspection", 80, 256, 4, Tile(32, 16, 4, 1), 128, 8),
    Row("by row", 80, 128, 2, Tile(64, 32, 4, 2), 254, 0),
    Row("by row", 80, 256, 2, Tile(64, 32, 4, 2), 255, 8),
    Row("by row", 80, 64, 4, Tile(32, 32, 4, 2), 168, 16),
    Row("by row", 80, 256, 4, Tile(32, 16, 4, 1), 128, 8),
    Row("forward", 90, 64, 2, Tile(128, 64, 8, 3), 184, 0),
    Row("forward", 90, 128, 2, Tile(128, 64, 8, 2), 251, 0),
    Row("forward", 90, 256, 2, Tile(64, 32, 8, 2), 255, 24),
    Row("backward", 90, 64, 2, Tile(64, 64, 8, 2), 255, 112),
    Row("backward", 90, 128, 2, Tile(32, 128, 8, 2), 255, 240),
    Row("backward", 90, 256, 2, Tile(32, 32, 8, 1), 255, 72),
    Row("forward", 100, 64, 2, Tile(128, 64, 8, 3), 245, 0),
    Row("forward", 100, 128, 2, Tile(128, 32, 8, 2), 240, 0),
    Row("forward", 100, 256, 2, Tile(64, 64, 8, 2), 255, 72),
    Row("backward", 100, 64, 2, Tile(64, 64, 8, 2), 255, 48),
    Row("backward", 100, 128, 2, Tile(64, 64, 8, 1), 255, 32),
    Row("backward", 100, 256, 2, Tile(32, 32, 8, 1), 255, 72),
)  # fmt: skip


def row_of(work: str, capability: int, width: int, itemsize: int) -> Row:
    """Return the row that speaks for a pass on a device: of the nearest capability at or below, the narrowest."""
    known = 80 if capability in _SMALL else capability
    alike = [row for row in ROWS if row.capability == known or min(row.capability, known) > 1]
    able = [
        row for row in alike
        if row.work == work and row.capability <= known and row.width >= width and row.itemsize >= itemsize
    ]  # fmt: skip
    return min(able, key=lambda row: (row.itemsize, -row.capability, row.width))


def tile_of(work: str, capability: int, width: int, itemsize: int) -> Tile:
    """Return the tile of a pass on a device of this compute capability."""
    return row_of(work, capability, width, itemsize).tile


def map_cell(queries: int, keys: int, tile: Tile) -> int:
    """Return the tokens per side of a cell of the map that a call keeps: whole blocks of keys."""
    cell = max(MAP_ROWS, tile.keys)
    while cell * _MOST_CELLS < max(queries, keys):
        cell *= 2
    return cell
