"""Which zooms of each map a page on disk holds, and how their cells are written."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..weights import AttentionWeights
from ._cells import MASKED
from ._maps import Map
from ._packing import binary, size_of
from ._quantities import TILE
from ._rounding import LEVELS, Rounding

# The page makes two zooms out of the one below; coarser ones take a 64th part of its bytes, and are stored.
_MADE = 2
# What all stored zooms take, as a multiple of the finest.
_COARSER = 1.1
# Cells that are looked at in each of these places, each in another head, to tell how well they compress. Places are
# quarters of the way down and across: one in the middle, and as many below the diagonal as above, for causal masks.
_ROWS, _COLUMNS = 32, 1024
_PLACES = ((0, 3), (1, 4), (2, 2), (3, 0), (4, 1))
# Numbers that are computed together.
_TOGETHER = 1 << 24
# Maps of one size that are looked at, and what a tile takes beside its bytes.
_LOOKED_AT, _ELEMENT = 3, 95
# The overview of all maps may take this share of the budget, and more where that is small; below so many cells a side
# it shows nothing.
_OVERVIEW_SHARE, _OVERVIEW_OF_LITTLE, _LITTLE, _FEWEST = 0.4, 0.9, 1 << 20, 8


def derived(finest: int, overview: int) -> list[int]:
    """Return the zooms that have no tiles of their own: the page makes them of the next finer one."""
    return list(range(finest + 1, min(finest + _MADE + 1, overview)))


def stored(finest: int, overview: int) -> list[int]:
    """Return the zooms below the overview that have tiles."""
    made = derived(finest, overview)
    return [zoom for zoom in range(finest, overview) if zoom not in made]


class Levels(NamedTuple):
    """What is held: of each map its finest zoom and that of its overview."""

    rounding: Rounding | None
    """None: float16."""
    finest: list[int]
    overview: list[int]


class _Sample:
    """What the cells of one map take in a file, estimated from some of its rows."""

    def __init__(self, one: Map, entry: dict[str, Any]) -> None:
        self.one, self.lowest, self.overview = one, entry["finest"], entry["overview"]
        self._rows: dict[int, list[Tensor]] = {}
        self._known: dict[tuple[int, Rounding | None], float] = {}

    def size(self, zoom: int, overview: int, rounding: Rounding | None) -> float:
        """Return the bytes of all zooms from this one up, overview included."""
        return sum(self.of_zoom(z, rounding) for z in [*stored(zoom, overview), overview])

    def of_zoom(self, zoom: int, rounding: Rounding | None) -> float:
        """Return the bytes of the cells of one zoom. Time: the coarser, the more weights are looked at."""
        key = zoom, rounding
        if key not in self._known:
            rows = self._sampled(zoom)
            size = sum(size_of(_written(part, rounding), bytewise=rounding is not None) for part in rows)
            cells = self.one.heads * np.prod([-(-size >> zoom) for size in self.one.sizes], dtype=float)
            tiles = self.one.heads * np.prod([-(-size // (TILE << zoom)) for size in self.one.sizes], dtype=float)
            self._known[key] = size / sum(part.numel() for part in rows) * cells + _ELEMENT * tiles
        return self._known[key]

    def _sampled(self, zoom: int) -> list[Tensor]:
        if zoom not in self._rows:
            cell, found = 1 << zoom, list[Tensor]()
            heads = [place * self.one.heads // len(_PLACES) for place in range(len(_PLACES))]
            if all(-(-size // cell) <= most for size, most in zip(self.one.sizes, (_ROWS, _COLUMNS), strict=True)):
                whole = _coded(self.one.part(torch.tensor(heads).unique()), cell)
                self._rows[zoom] = list(whole)
                return self._rows[zoom]
            for head, place in zip(heads, _PLACES, strict=True):
                parts = []
                for size, most, at in zip(self.one.sizes, (_ROWS, _COLUMNS), place, strict=True):
                    start = round(at * max(0, -(-size // cell) - most) / 4) * cell
                    parts.append(slice(start, min(start + most * cell, size)))
                found.append(_coded(self.one.part(slice(head, head + 1)), cell, *parts))
            self._rows[zoom] = found
        return self._rows[zoom]

    @property
    def highest(self) -> float:
        """The largest finite number seen."""
        rows = self._sampled(self.overview)
        return max(float(torch.where(part.isfinite(), part, 0.0).max()) for part in rows)


def _samples(maps: Sequence[Map], entries: Sequence[dict[str, Any]]) -> list[_Sample]:
    """Return what the cells of each map take; of many maps of one size as much as those that are looked at."""
    alike: dict[tuple[object, ...], list[int]] = {}
    for place, one in enumerate(maps):
        alike.setdefault((one.sizes, one.heads, one.kept_cell), []).append(place)
    made: dict[int, _Sample] = {}
    for places in alike.values():
        step = -(-len(places) // _LOOKED_AT)
        for at, place in enumerate(places):
            seen = places[min(at // step * step + step // 2, len(places) - 1)]
            made[seen] = made.get(seen) or _Sample(maps[seen], entries[seen])
            made[place] = made[seen]
    return [made[place] for place in range(len(maps))]


def likely(maps: Sequence[Map], entries: Sequence[dict[str, Any]], limit: float) -> list[int]:
    """Return about the finest zooms that will fit into this many bytes, before any map is looked at as a whole."""
    samples, rounding = _samples(maps, entries), Rounding(LEVELS[-1], 1.0)

    def total() -> float:
        pairs = zip(samples, zooms, strict=True)
        return _COARSER * sum(one.of_zoom(zoom, rounding) for one, zoom in pairs)

    zooms = [one.lowest for one in samples]
    while total() > limit:  # from the finest up: few weights are looked at for those
        finer, zooms = zooms, [min(zoom + 1, one.overview) for one, zoom in zip(samples, zooms, strict=True)]
        if zooms == finer:
            return zooms
        for place, zoom in enumerate(finer if total() < limit else ()):
            coarse, zooms[place] = zooms[place], zoom
            if total() > limit:
                zooms[place] = coarse
                break
    return zooms


def choose(maps: Sequence[Map], entries: Sequence[dict[str, Any]], limit: float) -> Levels:
    """Return the finest zooms that fit into this many bytes: in float16 if that leaves out nothing, else rounded.

    The steps of rounding are as fine as they can be without a loss of cells.
    """
    samples = _samples(maps, entries)
    exact = _finest(samples, None, limit)
    if exact.finest == [one.lowest for one in samples]:
        return exact
    top = 1.0 if all(one.weights.sums_to_one for one in maps) else 1.25 * max(one.highest for one in samples)
    coarsest = _finest(samples, Rounding(LEVELS[-1], top), limit)
    if sum(exact.finest) <= sum(coarsest.finest) and exact.overview == coarsest.overview:
        return exact
    # The more steps, the larger: the first of them that leaves out nothing more.
    place = bisect_left(
        LEVELS, True, key=lambda levels: _as_fine(_finest(samples, Rounding(levels, top), limit), coarsest)
    )
    return coarsest._replace(rounding=Rounding(LEVELS[min(place, len(LEVELS) - 1)], top))


def _as_fine(one: Levels, other: Levels) -> bool:
    return (one.finest, one.overview) == (other.finest, other.overview)


def _finest(samples: Sequence[_Sample], rounding: Rounding | None, limit: float) -> Levels:
    overview = [one.overview for one in samples]

    def total() -> float:
        return sum(one.size(zoom, zoom, rounding) for one, zoom in zip(samples, overview, strict=True))

    share = _OVERVIEW_SHARE if limit > _LITTLE else _OVERVIEW_OF_LITTLE
    while total() > share * limit:
        fewer = [zoom + (max(one.one.sizes) >> zoom > _FEWEST) for one, zoom in zip(samples, overview, strict=True)]
        if fewer == overview:
            break
        overview = fewer
    finest, used = [*overview], total()
    for zoom in range(max(overview) - 1, -1, -1):
        for place, one in enumerate(samples):
            if finest[place] != zoom + 1 or zoom < one.lowest:
                continue
            more = one.size(zoom, overview[place], rounding) - one.size(zoom + 1, overview[place], rounding)
            if used + more <= limit:
                finest[place], used = zoom, used + more
    return Levels(rounding, finest, overview)


class Tiles:
    """Writes the tiles of one map, from its finest zoom up."""

    def __init__(self, number: int, one: Map, rounding: Rounding | None) -> None:
        self.number, self.one, self.rounding = number, one, rounding

    def overview(self, zoom: int) -> bytes:
        """Return the block of the overview."""
        queries, _ = self.one.sizes
        return _written(_coded(self.one.part(slice(None)), 1 << zoom, slice(0, queries)), self.rounding)

    def count(self, finest: int, overview: int) -> int:
        """Return how many tiles `mass` yields."""
        sides = [[-(-size // (TILE << zoom)) for size in self.one.sizes] for zoom in stored(finest, overview)]
        return self.one.heads * sum(rows * columns for rows, columns in sides)

    def mass(self, finest: int, overview: int) -> Iterator[tuple[str, bytes]]:
        """Yield the tiles of all stored zooms below the overview, with their keys."""
        zooms = stored(finest, overview)
        if not zooms:
            return
        cell, (queries, keys) = 1 << finest, self.one.sizes
        together = max(1, _TOGETHER // (TILE * -(-keys // cell)))
        for first in range(0, self.one.heads, together):
            heads = range(first, min(first + together, self.one.heads))
            part = self.one.part(slice(heads.start, heads.stop))
            coarser, whole = list[Tensor](), part.lse.new_zeros(0)
            for row, start in enumerate(range(0, queries, TILE * cell)):
                strip = slice(start, min(start + TILE * cell, queries))
                numbers = _strip(part, cell, strip)
                yield from self._cut(heads, finest, row, numbers)
                if zooms[1:]:
                    coarser.append(_folded(numbers, 1 << zooms[1] - finest, cell, strip.stop - strip.start))
            for place, zoom in enumerate(zooms[1:]):
                whole = torch.cat(coarser, 1) if place == 0 else _folded(whole, 2, 1 << zoom - 1, queries)
                for row, start in enumerate(range(0, whole.shape[1], TILE)):
                    yield from self._cut(heads, zoom, row, whole[:, start : start + TILE])

    def _cut(self, heads: range, zoom: int, row: int, numbers: Tensor) -> Iterator[tuple[str, bytes]]:
        for column, start in enumerate(range(0, numbers.shape[2], TILE)):
            for head, one in zip(heads, numbers[:, :, start : start + TILE], strict=True):
                key = f"tile/{self.number}/{head}/mass/{zoom}/{row}/{column}"
                yield key, _written(one, self.rounding)


def _written(numbers: Tensor, rounding: Rounding | None) -> bytes:
    return binary(numbers.cpu().numpy(), "f2") if rounding is None else rounding.codes(numbers).tobytes()


def _coded(weights: AttentionWeights, cell: int, rows: slice | None = None, columns: slice | None = None) -> Tensor:
    """Return cells of some queries and keys, float32 `(heads, rows, columns)`, masked ones as their code."""
    hidden = weights.masked(cell, rows=rows, columns=columns)
    return torch.where(hidden, MASKED, weights.pooled(cell, rows=rows, columns=columns).float())


def _strip(weights: AttentionWeights, cell: int, rows: slice) -> Tensor:
    """Return `_coded` of all keys, without looking at tiles beside those that some query may see."""
    keys, side = weights.shape[-1], TILE * cell
    if keys <= side:
        return _coded(weights, cell, rows)
    seen = (~weights.masked((rows.stop - rows.start, side), rows=rows)).flatten(0, -2).any(0).nonzero()[:, 0].tolist()
    first, last = (seen[0], seen[-1] + 1) if seen else (0, 1)
    left, right = first * side, min(last * side, keys)
    numbers = _coded(weights, cell, rows, slice(left, right))
    outside = first * TILE, -(-keys // cell) - first * TILE - numbers.shape[2]
    return torch.nn.functional.pad(numbers, outside, value=MASKED)


def _folded(numbers: Tensor, together: int, cell: int, queries: int) -> Tensor:
    """Join cells: means over queries, of which the last cell may have fewer, of sums over keys."""
    down = torch.arange(0, queries, cell, device=numbers.device)
    down = (queries - down).clamp(max=cell).to(numbers.dtype)[:, None]

    def sums(given: Tensor) -> Tensor:
        edges = (0, -given.shape[2] % together, 0, -given.shape[1] % together)
        padded = torch.nn.functional.pad(given, edges)
        joined: Tensor = padded.unflatten(2, (-1, together)).sum(3).unflatten(1, (-1, together)).sum(2)
        return joined

    hidden = numbers == MASKED
    seen = sums((~hidden).float())
    queries_of = sums(down.expand(1, -1, together))[..., :1] / together
    return torch.where(seen == 0, MASKED, sums(numbers.masked_fill(hidden, 0.0) * down) / queries_of)
