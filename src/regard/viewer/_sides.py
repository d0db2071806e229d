"""Assigning tokens and labels to the axes of each map."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from .._values import instance, listed
from ..errors import ShapeError
from ..recordings import Grid
from ._tokens import Axis, axis

# Parts of module names that mark cross-attention, needed when both texts have the same length.
_CROSS = re.compile("cross|encoder_attn|encdec|multihead_attn")
_ENCODER = re.compile(r"\bencoder\b")


class Sides(NamedTuple):
    """The caller's tokens and labels: of the queries, and of the keys if those are another text."""

    tokens: Any = None
    key_tokens: Any = None
    labels: Any = None
    key_labels: Any = None
    words: Any = None
    grid: Any = None
    key_grid: Any = None

    @classmethod
    def of(
        cls, tokens: Any, key_tokens: Any, labels: Any, key_labels: Any, words: Any, grid: Any, key_grid: Any
    ) -> Sides:
        """Validate the caller's arguments."""
        for name, given in (("grid", grid), ("key_grid", key_grid)):
            if given is not None:
                instance(name, given, Grid, "a regard.viewer.Grid")
        lists = {"tokens": tokens, "key_tokens": key_tokens, "words": words}
        tokens, key_tokens, words = (None if one is None else listed(name, one) for name, one in lists.items())
        return cls(
            tokens, key_tokens, _labels("labels", labels), _labels("key_labels", key_labels), words, grid, key_grid
        )

    def text(self) -> _Given:
        """Return the caller's description of the queries' text."""
        return _Given("tokens", self.tokens, self.labels, self.words, self.grid)

    def other(self) -> _Given:
        """Return the caller's description of the keys' text."""
        return _Given("key_tokens", self.key_tokens, self.key_labels, None, self.key_grid)


def _labels(name: str, given: Any) -> Any:
    if isinstance(given, Mapping):
        return {key: listed(f"{name} {key!r}", one) for key, one in given.items()} or None
    return None if given is None else listed(name, given)


class _Given(NamedTuple):
    name: str
    tokens: Any
    labels: Any
    words: Any
    grid: Any

    @property
    def anything(self) -> bool:
        return any(part is not None for part in self[1:])

    def lists(self) -> Iterator[Any]:
        labels = self.labels.values() if isinstance(self.labels, Mapping) else [self.labels]
        yield from (part for part in (self.tokens, *labels, self.words) if part is not None)

    @property
    def batched(self) -> bool:
        return any(map(_is_nested, self.lists()))

    def length(self, place: int) -> int | None:
        """Return the length of the first given list; None if there is none."""
        return next((len(_of_input(part, place)) for part in self.lists()), None)

    def fits(self, size: int, place: int) -> bool:
        length = self.length(place)
        if length is None:
            return self.grid is not None and self.grid.first + self.grid.rows * self.grid.columns <= size
        return length == size

    def axis(self, size: int, place: int) -> Axis:
        labels = self.labels
        if isinstance(labels, Mapping):
            labels = {name: _of_input(one, place) for name, one in labels.items()}
        else:
            labels = _of_input(labels, place)
        name = "keys" if self.name == "key_tokens" else "tokens"
        return axis(name, size, _of_input(self.tokens, place), labels, _of_input(self.words, place), self.grid)


class Axes:
    """Finds or creates the axes of each map."""

    def __init__(self, sides: Sides) -> None:
        self.text, self.other, self.made = sides.text(), sides.other(), list[Axis]()
        self._known: dict[tuple[str, int, int], int] = {}
        self._used: set[str] = set()

    def of(self, name: str, sizes: tuple[int, int], place: int) -> tuple[int, int, int]:
        """Return the axes of queries and keys of one map, and the index of query 0 on its axis."""
        queries, keys = sizes
        if self._is_cross(name, sizes, place):
            return self._axis(self.text, queries, place), self._axis(self.other, keys, place), 0
        given = self.text
        if self.other.fits(keys, place) and (not self.text.fits(keys, place) or _ENCODER.search(name)):
            given = self.other
        if queries == keys:
            found = self._axis(given, keys, place)
            return found, found, 0
        if queries < keys and given.fits(keys, place) and not _CROSS.search(name):
            found = self._axis(given, keys, place)
            return found, found, keys - queries  # with a cache the queries are the last tokens
        return self._axis(self.text, queries, place, "queries"), self._axis(self.other, keys, place, "keys"), 0

    def check_batched(self, inputs: int) -> None:
        """Raise if one list was given for several inputs."""
        for given in (self.text, self.other):
            if any(not _is_nested(part) for part in given.lists()):
                raise ShapeError(
                    f"{given.name} or its labels are one list, the batch has {inputs} inputs; give a list of lists, "
                    "one for each input, or look at the weights of one input."
                )

    def check_all_used(self) -> None:
        """Raise unless everything that was given labels something."""
        sizes = ", ".join(str(size) for size in sorted({one.size for one in self.made}))
        for given in (self.text, self.other):
            if given.anything and given.name not in self._used:
                if given.length(0) is None:
                    given.grid.check(max(one.size for one in self.made))
                raise ShapeError(
                    f"{given.name} has {given.length(0)} entries, and no side of the maps is as long (sizes: {sizes}). "
                    "Give one for each token, special tokens included."
                )

    def _is_cross(self, name: str, sizes: tuple[int, int], place: int) -> bool:
        queries, keys = sizes
        if not self.other.fits(keys, place) or (self.text.anything and not self.text.fits(queries, place)):
            return False
        return queries != keys or name == "attention" or bool(_CROSS.search(name))

    def _axis(self, given: _Given, size: int, place: int, otherwise: str = "") -> int:
        fits = given.fits(size, place)
        key = (given.name if fits else otherwise, size, place if fits and given.batched else -1)
        if key not in self._known:
            self._known[key] = len(self.made)
            self.made.append(given.axis(size, place) if fits else axis(otherwise or "tokens", size))
        if fits:
            self._used.add(given.name)
        return self._known[key]


def _is_nested(given: Any) -> bool:
    # One list of tokens for each row of the batch.
    first = given[0] if given is not None and len(given) else None
    return isinstance(first, Sequence) and not isinstance(first, str | bytes)


def _of_input(given: Any, place: int) -> Any:
    if given is None or not _is_nested(given):
        return given
    if place >= len(given):
        raise ShapeError(f"tokens are given for {len(given)} inputs, the batch has more; give one list for each input.")
    return given[place]
