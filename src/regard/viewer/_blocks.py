"""The blocks of a page on disk: what its budget holds, the most important first."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from ..weights import KEPT_TOP, AttentionWeights, free_bytes, with_summary
from ._cells import MASKED
from ._levels import Levels, Tiles, choose, derived, likely, stored
from ._maps import Map, Shown
from ._packing import binary, packed
from ._quantities import TILE
from ._tokens import Axis
from .tiles import TileSource

_MIB = 1 << 20
# Optional tracks and largest weights: the share of the budget that each of both may take.
_SHARE = 0.25
# Most cells of even attention of a map, over all heads that are masked alike: they are float32 until compressed.
_MOST_UNIFORM = 1 << 22
# Most cells of all maps that are kept in memory until they are written, and what each takes there while it is made.
_MOST_CELLS, _BYTES = 1 << 28, 12
# The data of the overview comes before the page's script, everything else after it.
_FIRST = ("levels", "tokens/", "offsets/", "overview/", "measures/")
# How much more than estimated a file may turn out to take: it is written again with fewer cells then.
_MARGINS = (1.01, 1.05, 1.15, 1.4, 2.0, 4.0)
# Share of the work before the cells.
_SUMMARIES, _MEASURES = 0.5, 0.7
_EXAMPLES = (0.5, 0.01, 0.001)


class Blocks:
    """Collects blocks of data until the budget is used up."""

    def __init__(self, shown: Shown, budget: int, tell: Callable[[float], None], holder: str = "file") -> None:
        self.tell, self.holder = tell, holder
        self.manifest = TileSource(shown, "f2").manifest()
        self.budget, self.used = budget, 0
        self.shown = replace(shown, maps=tuple(self._summarised(shown.maps)))
        self.source = TileSource(self.shown, "f2")
        self.held: dict[str, str] = {}
        self._keys: dict[bytes, str] = {}

    def fill(self) -> None:
        """Choose the blocks to include, the most important first."""
        entries, maps = self.manifest["maps"], self.shown.maps
        for place, key in enumerate(keys := list(self._always())):
            self._add(key, self.source.block(key))
            self.tell(_SUMMARIES + (_MEASURES - _SUMMARIES) * place / len(keys))
        self._tracks(entries)
        self._top_weights(entries)
        before = self.used, set(self.held)
        for margin in _MARGINS:
            levels = choose(maps, entries, (self.budget - self.used) / margin)
            if self._cells(levels) or margin == _MARGINS[-1]:
                break
            self.used = before[0]
            self.held = {key: text for key, text in self.held.items() if key in before[1]}
            self._keys = {block: key for block, key in self._keys.items() if key in before[1]}
        for entry, finest, overview in zip(entries, levels.finest, levels.overview, strict=True):
            entry.update(finest=finest, coarsest=overview, overview=overview, exact=False)
            entry.update(derived=derived(finest, overview), quantities={"mass": [finest, overview]})
        if levels.rounding is not None:
            self.manifest["number"] = "u1"
            self._add("levels", binary(levels.rounding.table(), "f4"))
        for one, entry in zip(maps, entries, strict=True):
            self._uniform(one, entry)
        self.manifest["holds"] = self._sentence(entries, levels)
        self.tell(1.0)

    def elements(self) -> tuple[list[str], list[str]]:
        """Return the HTML elements with the blocks: those that the first picture needs, and the others."""
        manifest = json.dumps(self.manifest, ensure_ascii=True, allow_nan=False).encode()
        first, later = [_element("manifest", _attributes(manifest))], list[str]()
        for key, text in self.held.items():
            place = first if key.startswith(_FIRST) else later
            place.append(_element(key, text))
        return first, later

    def _summarised(self, maps: tuple[Map, ...]) -> Iterator[Map]:
        """Yield the maps with summaries, in cells as fine as will fit, so that no weight is looked at twice."""
        known: dict[int, AttentionWeights] = {}
        cells = self._likely(maps)
        for place, (one, cell) in enumerate(zip(maps, cells, strict=True)):
            if id(one.weights) not in known:
                known[id(one.weights)] = with_summary(one.weights, cell)
            yield replace(one, weights=known[id(one.weights)])
            self.tell(_SUMMARIES * place / len(maps))

    def _likely(self, maps: tuple[Map, ...]) -> list[int | None]:
        """Return the cells that each map will be written in, as far as can be told; None: too many for the memory."""
        entries = self.manifest["maps"]
        tracks = sum(one["heads"] * one[side]["size"] * 4 for one in entries for side in one["tracks"].values())
        top_weights = sum(one["heads"] * one["queries"]["size"] * KEPT_TOP * 6 for one in entries)
        others = sum(size if size < _SHARE * self.budget else 0 for size in (tracks, top_weights))
        cells = [1 << zoom for zoom in likely(maps, entries, self.budget - others)]
        sides = zip(maps, cells, strict=True)
        total = sum(one.heads * math.prod(-(-size // cell) for size in one.sizes) for one, cell in sides)
        room = min(_MOST_CELLS, free_bytes(maps[0].weights.device) // (2 * _BYTES)) if maps else 0
        return [cell if total < room else None for cell in cells]

    def _always(self) -> Iterator[str]:
        for number, axis in enumerate(self.shown.axes):
            if self._leaves_out(axis, self.manifest["axes"][number]):
                continue
            yield from (f"{name}/{number}" for name in ("tokens", "offsets", "words", "image"))
            yield from (f"labels/{number}/{which}" for which in range(len(axis.labels)))
        yield from (f"measures/{number}" for number in range(len(self.shown.maps)))

    def _leaves_out(self, axis: Axis, entry: dict[str, Any]) -> bool:
        """Return whether the words of an axis are too much for an output, and say so in its description."""
        length = 0 if axis.tokens is None else sum(map(len, axis.tokens)) + 2 * axis.size
        length += 0 if axis.grid is None or axis.grid.image is None else len(axis.grid.image)
        if self.holder == "file" or length < _SHARE * self.budget:
            return False
        entry.update(tokens=False, words=False, labels=[])
        if entry["grid"] is not None:
            entry["grid"]["image"] = None
        return True

    def _tracks(self, entries: list[dict[str, Any]]) -> None:
        limit = self.used + int(self.budget * _SHARE)
        too_large = set[tuple[str, int, int]]()  # what did not fit of one map does not fit of the next of its size
        for entry in entries:
            names, entry["tracks"] = entry["tracks"], {}
            for name, side in names.items():
                like = name, entry["heads"], entry[side]["size"]
                if like in too_large or self.used + entry["heads"] * entry[side]["size"] * 4 / 3 > limit:
                    continue
                tracks = enumerate(self.source.tracks(entry["id"], name))
                made = ((f"track/{entry['id']}/{head}/{name}", binary(one, "f4")) for head, one in tracks)
                if self._add_all(made, limit):
                    entry["tracks"][name] = side
                else:
                    too_large.add(like)

    def _top_weights(self, entries: list[dict[str, Any]]) -> None:
        limit = self.used + int(self.budget * _SHARE)
        for one, entry in zip(self.shown.maps, entries, strict=True):
            entry["top_weights"] = count = min(KEPT_TOP, one.sizes[1])
            if self.used + entry["heads"] * entry["queries"]["size"] * count * 8 / 2 < limit:
                top = one.part(slice(None)).top(count)
                indices, values = (part.flatten(0, -3).cpu().numpy() for part in (top.indices, top.values))
                both = enumerate(zip(indices, values, strict=True))
                made = ((f"top_weights/{entry['id']}/{h}", binary(i, "i4") + binary(v, "f4")) for h, (i, v) in both)
                if self._add_all(made, limit):
                    continue
            entry["top_weights"] = 0

    def _cells(self, levels: Levels) -> bool:
        """Add the cells of all maps; return whether they fitted."""
        bytewise, maps = levels.rounding is not None, self.shown.maps
        tiles = [Tiles(number, one, levels.rounding) for number, one in enumerate(maps)]
        for one, zoom in zip(tiles, levels.overview, strict=True):
            self._add(f"overview/{one.number}", one.overview(zoom), bytewise)
        work = [one.heads * float(np.prod(one.sizes)) for one in maps]
        for place, (one, finest, overview) in enumerate(zip(tiles, levels.finest, levels.overview, strict=True)):
            count = one.count(finest, overview)
            for done, (key, block) in enumerate(one.mass(finest, overview)):
                self._add(key, block, bytewise)
                if self.used > self.budget:
                    return False
                self.tell(_MEASURES + (1 - _MEASURES) * (sum(work[:place]) + work[place] * done / count) / sum(work))
        return self.used <= self.budget

    def _uniform(self, one: Map, entry: dict[str, Any]) -> None:
        """Add the cells of even attention, coarse first; heads that are masked alike share them."""
        if one.kept_cell:
            return
        every, top = one.part(slice(None)), entry["overview"]
        zooms = [*stored(entry["finest"], top), top]
        heads = 1
        for zoom in reversed(zooms):
            cell = 1 << zoom
            if heads * math.prod(-(-size // cell) for size in one.sizes) > _MOST_UNIFORM:
                return
            even = every.uniform(cell)
            heads = 1 if even.stride(0) == 0 else entry["heads"]
            coded = torch.where(every.masked(cell)[:heads], MASKED, even[:heads]).cpu().numpy()
            blocks = {}
            for head in range(entry["heads"]):
                numbers = coded[min(head, heads - 1)]
                for row, column in np.ndindex(*(-(-side // TILE) for side in numbers.shape)):
                    tile = numbers[row * TILE : (row + 1) * TILE, column * TILE : (column + 1) * TILE]
                    blocks[f"tile/{entry['id']}/{head}/uniform/{zoom}/{row}/{column}"] = binary(tile, "f4")
            if not self._add_all(blocks.items(), self.budget):
                return
            entry["quantities"]["uniform"] = [zoom, top]

    def _add_all(self, blocks: Iterable[tuple[str, bytes]], limit: int) -> bool:
        """Add these blocks if all of them fit; those after the first that does not are not made."""
        before, added = self.used, set[str]()
        for key, block in blocks:
            added.add(key)
            self._add(key, block)
            if self.used > limit:
                break
        else:
            return True
        self.used = before
        self.held = {key: text for key, text in self.held.items() if key not in added}
        self._keys = {block: key for block, key in self._keys.items() if key not in added}
        return False

    def _add(self, key: str, block: bytes | None, bytewise: bool = False) -> None:
        if block is None:
            return
        first = self._keys.setdefault(block, key) if len(block) > len(key) else key
        text = f'data-same="{first}">' if first != key else _attributes(block, bytewise)
        self.used += len(_element(key, text))
        self.held[key] = text

    def _sentence(self, entries: list[dict[str, Any]], levels: Levels) -> str:
        cells = sorted({1 << entry["finest"] for entry in entries})
        exact = all(entry["top_weights"] for entry in entries)
        if cells == [1] and levels.rounding is None:
            return f"This {self.holder} holds every weight, in float16."
        bound = "within" if self.used <= self.budget else "and is still over"
        bound += f" its budget of {self.budget / _MIB:.3g} MiB"
        rounded = ""
        if levels.rounding is not None:
            errors = ", ".join(f"{one:g} ± {_up(levels.rounding.error(one))}" for one in _EXAMPLES)
            rounded = f", rounded ({errors})"
        largest = f"; the {KEPT_TOP} largest weights of each query are exact" if exact else ""
        if cells == [1]:
            return f"This {self.holder} holds every weight{rounded}, {bound}{largest}."
        finest = f"{cells[0]} × {cells[0]}" if len(cells) == 1 else f"{cells[0]} to {cells[-1]}"
        held = f"This {self.holder} holds cells of {finest} tokens{rounded}, {bound}{largest}."
        return f"{held} Finer cells were not stored."


def _attributes(block: bytes, bytewise: bool = False) -> str:
    packing, text = packed(block, bytewise=bytewise)
    return f'data-packing="{packing}">{text}'


def _element(key: str, text: str) -> str:
    return f'<script type="application/octet-stream" id="{key}" {text}</script>'


def _up(error: float) -> str:
    """Return two digits of an error, rounded up."""
    place = 10.0 ** (np.floor(np.log10(error)) - 1)
    return f"{np.ceil(error / place * (1 - 1e-9)) * place:.2g}"
