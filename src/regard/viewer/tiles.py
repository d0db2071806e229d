"""`TileSource`: the numbers of a page, by key. `web/PROTOCOL.md` defines the keys."""

from __future__ import annotations

import json
import re
from collections import OrderedDict
from collections.abc import Callable, Sequence
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..weights import KEPT_TOP
from ._cells import MASKED
from ._label_colours import label_colours
from ._maps import Map, Shown
from ._measures import Side, column, measures, row, track, tracks_of
from ._packing import binary
from ._patches import Patches
from ._quantities import TILE, Heads, coarsest_zoom, zooms_of
from ._tokens import GOES_ON, Axis

# Cells a side of a map in the overview.
_OVERVIEW = 64
# Computed blocks are cached up to this many bytes.
_KEPT_BYTES = 128 << 20
# Keys are untrusted input: only words and small integers are accepted.
_WORD, _INTEGER = re.compile("[a-z_]{1,20}"), re.compile("0|[1-9][0-9]{0,8}")


class TileSource:
    """Returns the bytes of a key, computed on request; None for an unknown key.

    Thread-safe. Passes over a whole head run one at a time; tiles too, under another lock, so that they do not wait
    for those.

    Args:
        shown: the maps and axes of a view.
        number: "f4" or "f2", the number format of tiles.

    >>> import regard, torch
    >>> q = torch.randn(1, 2, 5, 4)
    >>> _, weights = regard.attention(q, q, q, need_weights=True)
    >>> source = regard.view(weights).source
    >>> len(source.block("tile/0/1/mass/0/0/0")), source.block("tile/0/2/mass/0/0/0")
    (100, None)
    """

    def __init__(self, shown: Shown, number: str = "f4") -> None:
        self.shown, self.number = shown, number
        self._kept: OrderedDict[str, bytes] = OrderedDict()
        self._kept_bytes = 0
        self._lock, self._tiles, self._passes = Lock(), Lock(), Lock()
        self._patches = [_patches_of(one, shown.axes) for one in shown.maps]
        self._heads = Heads(shown.maps, self._patches)
        self._answers: dict[str, tuple[int, Callable[..., bytes | None]]] = {
            "tile": (6, self._tile),
            "track": (3, self._track),
            "overview": (1, self._overview),
            "measures": (1, self._measures),
            "top_weights": (2, self._top_weights),
            "row": (3, self._row),
            "column": (3, self._column),
            "tokens": (1, self._tokens),
            "offsets": (1, self._offsets),
            "words": (1, self._words),
            "labels": (2, self._labels),
            "image": (1, self._image),
        }

    def block(self, key: str) -> bytes | None:
        """Return the bytes of a key; None if it is unknown."""
        found = self._known(key)
        if found is not None:
            return found
        with self._passes if _passes_over_all(key) else self._tiles:
            found = self._known(key)
            if found is None:
                found = self._made(key)
                if found is not None:
                    self._keep(key, found)
        return found

    def _known(self, key: str) -> bytes | None:
        with self._lock:
            found = self._kept.get(key)
            if found is not None:
                self._kept.move_to_end(key)
        return found

    def _keep(self, key: str, block: bytes) -> None:
        with self._lock:
            self._kept[key] = block
            self._kept_bytes += len(block)
            while self._kept_bytes > _KEPT_BYTES and len(self._kept) > 1:
                self._kept_bytes -= len(self._kept.popitem(last=False)[1])

    def tracks(self, number: int, name: str) -> NDArray[np.float32]:
        """Return a track of every head of a map that offers it, `(H, L)` or `(H, S)`."""
        return track(self.shown.maps[number].part(slice(None)), name, self._patches[number])

    def manifest(self) -> dict[str, Any]:
        """Return the description of all maps and axes; a page reads it first."""
        shares = all(one.weights.sums_to_one for one in self.shown.maps)
        colours = label_colours(name for axis in self.shown.axes for one in axis.labels for name in one.classes)
        return {
            "format": "regard-view",
            "version": 1,
            "title": self.shown.title,
            "quantity": "attention weight" if shares else "attention weight × length of the value",
            "sums_to_one": shares,
            "tile": TILE,
            "number": self.number,
            "axes": [_axis_entry(number, axis, colours) for number, axis in enumerate(self.shown.axes)],
            "maps": [self._map_entry(number, one) for number, one in enumerate(self.shown.maps)],
            "holds": _holds([one.kept_cell for one in self.shown.maps]),
        }

    def _made(self, key: str) -> bytes | None:
        if key == "manifest":
            return _json(self.manifest())
        name, *words = key.split("/")
        count, answer = self._answers.get(name, (-1, self._tokens))
        if len(words) != count:
            return None
        parts: list[int | str] = []
        for word in words:
            if _INTEGER.fullmatch(word):
                parts.append(int(word))
            elif _WORD.fullmatch(word):
                parts.append(word)
            else:
                return None
        named = {"tile": 2, "track": 2}.get(name)
        if any(isinstance(part, str) != (place == named) for place, part in enumerate(parts)):
            return None
        return answer(*parts)

    def _found(self, number: int, head: int = 0) -> Map | None:
        maps = self.shown.maps
        return maps[number] if number < len(maps) and head < maps[number].heads else None

    def _axis(self, number: int) -> Axis | None:
        return self.shown.axes[number] if number < len(self.shown.axes) else None

    def _map_entry(self, number: int, one: Map) -> dict[str, Any]:
        queries, keys = one.sizes
        finest = max(0, one.kept_cell.bit_length() - 1)
        return {
            "id": number,
            "name": one.name,
            "model": one.model,
            "input": one.input,
            "layer": one.layer,
            "pass": one.number,
            "kind": "self" if one.queries == one.keys else "cross",
            "heads": one.heads,
            "queries": {"axis": one.queries, "first": one.first_query, "size": queries},
            "keys": {"axis": one.keys, "first": 0, "size": keys},
            "finest": finest,
            "recorded": finest,
            "coarsest": max(finest, coarsest_zoom(one.sizes)),
            "overview": max(finest, coarsest_zoom(one.sizes, _OVERVIEW)),
            "exact": not one.kept_cell,
            "quantities": {name: list(zooms) for name, zooms in _quantities(one).items()},
            "tracks": self._tracks_of(number),
            "top_weights": _top_of(one),
            "notes": _notes(one),
        }

    def _tracks_of(self, number: int) -> dict[str, str]:
        one = self.shown.maps[number]
        far = self._patches[number] is not None and one.kept_cell > 1  # two dimensions need single weights
        return {name: side for name, side in tracks_of(one.sizes).items() if not (far and name == "distance")}

    def _tile(self, number: int, head: int, quantity: str, zoom: int, row: int, column: int) -> bytes | None:
        one = self._found(number, head)
        zooms = None if one is None else _quantities(one, _OVERVIEW).get(quantity)
        if one is None or zooms is None or not zooms[0] <= zoom <= zooms[1]:
            return None
        side = TILE << zoom
        rows, columns = (
            slice(place * side, min((place + 1) * side, size))
            for place, size in zip((row, column), one.sizes, strict=True)
        )
        if rows.start >= rows.stop or columns.start >= columns.stop:
            return None
        numbers = self._heads.cells(number, head, quantity, 1 << zoom, (rows, columns))
        return binary(numbers, self.number if quantity in ("mass", "peak") else "f4")

    def _overview(self, number: int) -> bytes | None:
        one = self._found(number)
        if one is None:
            return None
        cell = max(one.kept_cell, 1 << coarsest_zoom(one.sizes, _OVERVIEW))
        whole = slice(0, one.sizes[0]), slice(0, one.sizes[1])
        every = [self._heads.cells(number, h, "mass", cell, whole) for h in range(one.heads)]
        return binary(np.stack(every), "f2")

    def _measures(self, number: int) -> bytes | None:
        one = self._found(number)
        if one is None:
            return None
        tokens = self.shown.axes[one.keys].tokens
        stored = not (one.has_values or one.kept_cell)
        side = Side(one.queries == one.keys, self._patches[number], tokens, mask_known=not stored)
        return _json(measures(one.part(slice(None)), side))

    def _row(self, number: int, head: int, query: int) -> bytes | None:
        one = self._found(number, head)
        if one is None or one.kept_cell or query >= one.sizes[0]:
            return None
        return binary(row(self._heads.matrix(number, head), query, MASKED), "f4")

    def _column(self, number: int, head: int, key: int) -> bytes | None:
        one = self._found(number, head)
        if one is None or one.kept_cell or key >= one.sizes[1]:
            return None
        return binary(column(self._heads.matrix(number, head), key, MASKED), "f4")

    def _top_weights(self, number: int, head: int) -> bytes | None:
        one = self._found(number, head)
        if one is None:
            return None
        top = self._heads.matrix(number, head).top(_top_of(one))
        return binary(top.indices.cpu().numpy(), "i4") + binary(top.values.cpu().numpy(), "f4")

    def _track(self, number: int, head: int, name: str) -> bytes | None:
        one = self._found(number, head)
        if one is None or name not in self._tracks_of(number):
            return None
        return binary(track(self._heads.matrix(number, head), name, self._patches[number]), "f4")

    def _tokens(self, number: int) -> bytes | None:
        axis = self._axis(number)
        return None if axis is None or axis.tokens is None else b"".join(axis.tokens)

    def _offsets(self, number: int) -> bytes | None:
        axis = self._axis(number)
        if axis is None or axis.tokens is None:
            return None
        return binary(np.cumsum([0, *map(len, axis.tokens)]), "u4")

    def _words(self, number: int) -> bytes | None:
        axis = self._axis(number)
        return None if axis is None or axis.words is None else binary(axis.words, "i4")

    def _labels(self, number: int, which: int) -> bytes | None:
        axis = self._axis(number)
        if axis is None or which >= len(axis.labels):
            return None
        labels = axis.labels[which]
        goes_on = (labels.ids >= 0) & ~labels.begins
        return binary(labels.ids + GOES_ON * goes_on, "i2")

    def _image(self, number: int) -> bytes | None:
        axis = self._axis(number)
        return None if axis is None or axis.grid is None else axis.grid.image


def _patches_of(one: Map, axes: Sequence[Axis]) -> Patches | None:
    grid = axes[one.keys].grid
    return None if grid is None or one.queries != one.keys else Patches(grid, one.first_query, one.sizes)


def _passes_over_all(key: str) -> bool:
    name, *rest = key.split("/")
    return name in ("measures", "track", "top_weights", "column") or (
        name == "tile" and rest[2:3] in (["value"], ["expected"])
    )


def _top_of(one: Map) -> int:
    return min(KEPT_TOP if one.kept_cell else 8, one.sizes[1])


def _notes(one: Map) -> list[str]:
    notes = []
    if one.kept_cell > 1:  # cells of one token are single weights
        notes.append(f"Summaries were recorded, in cells of {one.kept_cell} tokens; finer ones were not.")
    if one.heads_of_model is not None:
        notes.append(f"The heads are {', '.join(map(str, one.heads_of_model))} of the model.")
    return notes


def _holds(cells: list[int]) -> str:
    if all(cells):
        return (
            "Every weight, as it was recorded."
            if max(cells) == 1
            else "Summaries, exact; single weights were not recorded."
        )
    return "Everything, exact; computed when asked."


def _quantities(one: Map, cells: int = TILE) -> dict[str, tuple[int, int]]:
    found = zooms_of(one.sizes, cells)
    if one.kept_cell:
        finest = one.kept_cell.bit_length() - 1
        return {"mass": (finest, max(finest, found["mass"][1]))}
    return found if one.has_values else {name: zooms for name, zooms in found.items() if name != "value"}


def _axis_entry(number: int, axis: Axis, colours: dict[str, str]) -> dict[str, Any]:
    grid = axis.grid
    return {
        "id": number,
        "name": axis.name,
        "size": axis.size,
        "tokens": axis.tokens is not None,
        "words": axis.words is not None,
        "labels": [
            {"name": one.name, "classes": list(one.classes), "colours": [colours[name] for name in one.classes]}
            for one in axis.labels
        ],
        "grid": None
        if grid is None
        else {"first": grid.first, "rows": grid.rows, "columns": grid.columns, "image": grid.media_type},
    }


def _json(value: dict[str, Any]) -> bytes:
    return json.dumps(value, ensure_ascii=False, allow_nan=False).encode("utf-8", "replace")
