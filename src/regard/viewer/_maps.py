"""What was handed to `view`, as a flat list of attention maps over named axes."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..errors import ArgumentError, ShapeError
from ..weights import AttentionWeights, from_dense
from ._tokens import Axis, axis

__all__ = ["Map", "Shown", "Sides", "shown_of"]

# What one call gave: lazy weights, or a matrix that was stored whole.
Call = AttentionWeights | Tensor | NDArray[Any]
Weights = Call | Mapping[str, Call] | Mapping[str, Mapping[str, Call]]


class Sides(NamedTuple):
    """What the caller said about the tokens: of the queries, and of the keys where those are another text."""

    tokens: Any = None
    key_tokens: Any = None
    labels: Any = None
    key_labels: Any = None
    words: Any = None


@dataclass(frozen=True, eq=False)
class Map:
    """One call of attention on one input: `heads` matrices."""

    name: str
    weights: AttentionWeights
    input: int
    layer: int
    number: int
    """Which of the repeated calls of this layer."""
    queries: int
    """Index of the axis of the queries; that of the keys is `keys`."""
    keys: int
    model: str = ""
    first_query: int = 0
    """Token of the axis that query 0 is."""
    has_values: bool = True
    """False for a stored matrix, of which the values are not known."""

    @property
    def heads(self) -> int:
        """Number of heads."""
        return self.weights.shape[-3] if self.weights.ndim > 2 else 1

    @property
    def sizes(self) -> tuple[int, int]:
        """Queries and keys."""
        return self.weights.shape[-2], self.weights.shape[-1]

    def head(self, number: int) -> AttentionWeights:
        """Return the matrix of one head, lazy and without gradient."""
        index = (self.input, number)[4 - self.weights.ndim :]
        return self.weights.detach().head(*index)


@dataclass(frozen=True, eq=False)
class Shown:
    """Everything of a view: maps in the order of the calls, and the axes that they run along."""

    maps: tuple[Map, ...]
    axes: tuple[Axis, ...]
    title: str


def shown_of(weights: Weights, sides: Sides, title: str | None) -> Shown:
    """Read what was given; raises `ArgumentError`, `ShapeError`."""
    axes = _Axes(sides)
    maps: list[Map] = []
    for model, layers in _models(weights).items():
        seen: dict[str, int] = {}
        for layer, (name, given) in enumerate(layers.items()):
            one = given if isinstance(given, AttentionWeights) else from_dense(torch.as_tensor(given))
            if 0 in one.shape:
                raise ShapeError(f"the weights of {name!r} have shape {one.shape}; there is nothing to look at.")
            number = seen[name] = seen.get(name, -1) + 1
            inputs = one.shape[0] if one.ndim == 4 else 1
            if inputs > 1:
                axes.check_batched(inputs)
            for place in range(inputs):
                queries, keys, first = axes.of(name, one, place)
                lazy = one is given
                maps.append(Map(name, one, place, layer, number, queries, keys, model, first, lazy))
    if not maps:
        raise ArgumentError("there are no attention weights to look at: the mapping is empty.")
    axes.check_all_used()
    return Shown(tuple(maps), tuple(axes.made), title or _title(maps))


def _title(maps: Sequence[Map]) -> str:
    names = {one.name for one in maps}
    queries, keys = maps[0].sizes
    size = f"{queries:,} × {keys:,} tokens"
    return f"Attention, {size}" if len(names) == 1 else f"Attention of {len(names)} layers, {size}"


def _models(weights: Weights) -> dict[str, dict[str, Call]]:
    if isinstance(weights, AttentionWeights | Tensor | np.ndarray):
        return {"": {"attention": weights}}
    if not isinstance(weights, Mapping):
        raise ArgumentError(
            f"a {type(weights).__name__} cannot be viewed; give AttentionWeights (need_weights=True), a mapping of "
            "names to them, or a recording. A tensor or array of weights does as well."
        )
    models: dict[str, dict[str, Call]] = {}
    for name, one in weights.items():
        if isinstance(one, AttentionWeights | Tensor | np.ndarray):
            models.setdefault("", {})[str(name)] = one
        elif isinstance(one, Mapping):
            models[str(name)] = _models(one)[""] if one else {}
        else:
            raise ArgumentError(
                f"{name!r} holds a {type(one).__name__}; it must be AttentionWeights, or a mapping of them."
            )
    return models


class _Axes:
    """Finds or makes the axis of each side of each map."""

    def __init__(self, sides: Sides) -> None:
        self.sides, self.made = sides, list[Axis]()
        self._known: dict[tuple[str, int, int], int] = {}
        self._used: set[str] = set()

    def of(self, name: str, weights: AttentionWeights, place: int) -> tuple[int, int, int]:
        """Return the axes of queries and keys of one map, and the token that its query 0 is."""
        queries, keys = weights.shape[-2:]
        second = self.sides.key_tokens is not None
        if second and _is_cross(name, weights, self._size("text", place), self._size("other", place)):
            return self._axis("text", queries, place), self._axis("other", keys, place), 0
        side = "text"
        if self._size("other", place) == keys and (
            self._size("text", place) != keys or re.search(r"\bencoder\b", name)
        ):
            side = "other"
        found = self._axis(side, keys, place)
        if queries == keys:
            return found, found, 0
        if queries < keys and not re.search(r"cross|encoder_attn|multihead_attn", name):
            return found, found, keys - queries  # with a cache the queries are the last tokens
        return self._axis("text" if second else "queries", queries, place), found, 0

    def check_batched(self, inputs: int) -> None:
        """Raise if one list of tokens was given for several inputs."""
        for name, given in (("tokens", self.sides.tokens), ("key_tokens", self.sides.key_tokens)):
            if given is not None and not _is_nested(given):
                raise ShapeError(
                    f"{name} is one list, the batch has {inputs} inputs; give a list of lists, one for each input, or "
                    "look at the weights of one input."
                )

    def check_all_used(self) -> None:
        """Raise unless the tokens that were given label something."""
        for what, given in (("text", self.sides.tokens), ("other", self.sides.key_tokens)):
            if given is not None and what not in self._used:
                sizes = sorted({one.size for one in self.made})
                name = "tokens" if what == "text" else "key_tokens"
                raise ShapeError(
                    f"{name} has {self._size(what, 0)} entries, and no side of the maps is as long (sizes: "
                    f"{', '.join(map(str, sizes))}). Give one for each token, special tokens included."
                )

    def _axis(self, side: str, size: int, place: int) -> int:
        fits = self._size(side, place) == size
        key = (side if fits else f"{side} {size}", size, place if fits and self._batched(side) else -1)
        if key not in self._known:
            self._known[key] = len(self.made)
            self.made.append(self._make(side, size, place) if fits else axis(f"{size} tokens", size))
            if fits:
                self._used.add(side)
        return self._known[key]

    def _make(self, side: str, size: int, place: int) -> Axis:
        s = self.sides
        tokens = _of_input(s.tokens if side == "text" else s.key_tokens, place)
        labels = s.labels if side == "text" else s.key_labels
        words = s.words if side == "text" else None
        name = {"text": "tokens", "other": "keys"}[side]
        return axis(name, size, tokens, _of_labels(labels, place), _of_input(words, place))

    def _given(self, side: str) -> Any:
        return self.sides.tokens if side == "text" else self.sides.key_tokens if side == "other" else None

    def _batched(self, side: str) -> bool:
        return _is_nested(self._given(side))

    def _size(self, side: str, place: int) -> int | None:
        given = _of_input(self._given(side), place)
        return None if given is None else len(given)


def _is_cross(name: str, weights: AttentionWeights, text: int | None, other: int | None) -> bool:
    queries, keys = weights.shape[-2:]
    if queries != text or keys != other:
        return False
    return queries != keys or name == "attention" or bool(re.search(r"cross|encoder_attn|multihead_attn", name))


def _is_nested(given: Any) -> bool:
    # One list of tokens a row of the batch.
    return (
        given is not None
        and len(given) > 0
        and isinstance(given[0], Sequence)
        and not isinstance(given[0], str | bytes)
    )


def _of_input(given: Any, place: int) -> Any:
    if not _is_nested(given):
        if isinstance(given, str | bytes):
            raise ArgumentError("tokens is one string; give a list with one entry a token.")
        return given
    if place >= len(given):
        raise ShapeError(f"tokens are given for {len(given)} inputs, the batch has more; give one list for each input.")
    return given[place]


def _of_labels(given: Any, place: int) -> Any:
    if isinstance(given, Mapping):
        return {name: _of_input(one, place) for name, one in given.items()}
    return _of_input(given, place)
