"""The argument of `view`, as a flat list of attention maps over named axes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .._values import described
from ..errors import ArgumentError
from ..recordings import Recording
from ..weights import AttentionWeights, from_dense, of_heads
from ._cells import checked_matrix, heads_of
from ._sides import Axes, Sides
from ._tokens import Axis

# The result of one call: lazy weights, or a stored matrix.
Call = AttentionWeights | Tensor | NDArray[Any]
Weights = Recording | Call | Mapping[str, Call] | Mapping[str, Mapping[str, Call]]


@dataclass(frozen=True, eq=False)
class Map:
    """The attention of one call on one input: a matrix for each head."""

    name: str
    weights: AttentionWeights
    input: int
    layer: int
    number: int
    """Index among the calls of this layer."""
    queries: int
    """Index of the axis of the queries; that of the keys is `keys`."""
    keys: int
    model: str = ""
    first_query: int = 0
    """Index of query 0 on its axis."""
    has_values: bool = True
    """Whether value vectors are known; False for a stored matrix."""
    heads_of_model: tuple[int, ...] | None = None
    """Indices of the heads in the model; None if all were kept."""

    @property
    def heads(self) -> int:
        """Number of heads."""
        return self.weights.shape[-3] if self.weights.ndim > 2 else 1

    @property
    def kept_cell(self) -> int:
        """Tokens per side of the cells that were kept, 0 where every weight can be computed."""
        return self.weights.kept_cell

    @property
    def sizes(self) -> tuple[int, int]:
        """Queries and keys."""
        return self.weights.shape[-2], self.weights.shape[-1]

    def part(self, heads: slice | Tensor) -> AttentionWeights:
        """Return the matrices of some heads, `(heads, L, S)`, lazy and without gradient."""
        return of_heads(self.weights.detach(), heads, self.input)

    def head(self, number: int) -> AttentionWeights:
        """Return the matrix of one head, lazy and without gradient."""
        index = (self.input, number)[4 - self.weights.ndim :]
        return self.weights.detach().head(*index)


@dataclass(frozen=True, eq=False)
class Shown:
    """The content of a view: maps in the order of the calls, and their axes."""

    maps: tuple[Map, ...]
    axes: tuple[Axis, ...]
    title: str


def shown_of(weights: Weights, sides: Sides, title: str | None) -> Shown:
    """Return the content of a view from its arguments; raises `ArgumentError`, `ShapeError`."""
    axes = Axes(sides)
    maps: list[Map] = []
    for model, layers in _models(weights).items():
        seen: dict[str, int] = {}
        recorded = layers.calls if isinstance(layers, Recording) else []
        for layer, (name, given) in enumerate(layers.items()):
            known_as = "weights" if name == "attention" else f"weights[{name!r}]"
            heads_of(checked_matrix(known_as, given))
            one = given if isinstance(given, AttentionWeights) else from_dense(torch.as_tensor(given))
            number = seen[name] = seen.get(name, -1) + 1
            inputs = one.shape[0] if one.ndim == 4 else 1
            if inputs > 1:
                axes.check_batched(inputs)
            for place in range(inputs):
                queries, keys, first = axes.of(name, (one.shape[-2], one.shape[-1]), place)
                lazy = one is given and not one.kept_cell
                known = recorded[layer] if recorded else None
                found = Map(name, one, place, layer, number, queries, keys, model, first, lazy)
                if known is not None:
                    order = list(dict.fromkeys(call.module for call in recorded)).index(known.module)
                    found = replace(found, name=known.module, layer=order, number=known.number,
                                    heads_of_model=known.heads)  # fmt: skip
                maps.append(found)
    if not maps:
        raise ArgumentError("weights holds none to look at: the mapping is empty.")
    axes.check_all_used()
    return Shown(tuple(maps), tuple(axes.made), title or _title(maps))


def _title(maps: Sequence[Map]) -> str:
    names = {one.name for one in maps}
    queries, keys = maps[0].sizes
    size = f"{queries:,} × {keys:,} tokens"
    return f"Attention, {size}" if len(names) == 1 else f"Attention of {len(names)} layers, {size}"


def _models(weights: Weights) -> dict[str, Mapping[str, Call]]:
    if isinstance(weights, Recording):
        return {"": weights}
    if isinstance(weights, AttentionWeights | Tensor | np.ndarray):
        return {"": {"attention": weights}}
    if not isinstance(weights, Mapping):
        raise ArgumentError(
            f"weights is {described(weights)}, which cannot be viewed; give AttentionWeights (need_weights=True), a "
            "mapping of names to them, or a recording. A tensor or array of weights does as well."
        )
    models: dict[str, Mapping[str, Call]] = {}
    plain: dict[str, Call] = {}
    for name, one in weights.items():
        if isinstance(one, AttentionWeights | Tensor | np.ndarray):
            plain[str(name)] = one
            models[""] = plain
        elif isinstance(one, Mapping):
            models[str(name)] = _models(one)[""] if len(one) else {}
        else:
            raise ArgumentError(
                f"weights[{name!r}] is {described(one)}; it must be AttentionWeights, or a mapping of them."
            )
    return models
