"""What is kept of the calls that are watched."""

from __future__ import annotations

import fnmatch
from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Literal, get_args

import torch

from .._values import choice, listed, whole
from ..errors import ArgumentError
from ..recordings import Growing, layer_of
from ..weights import AttentionWeights, from_dense, of_heads, summarise, with_batch
from ._joined_steps import JoinedDense, JoinedExact, JoinedSummary, placed_at_end
from ._steps import Growth, Step

Keep = Literal["summary", "exact", "dense"]


@dataclass(frozen=True)
class Wanted:
    """What is kept, and of which calls."""

    layers: tuple[int | str, ...] | None
    heads: tuple[int, ...] | None
    keep: Keep

    @classmethod
    def checked(cls, layers: Collection[int | str] | None, heads: Collection[int] | None, keep: Keep) -> Wanted:
        """Return what was asked for; raises `ArgumentError` for what cannot be, before anything runs."""
        keep = choice("keep", keep, get_args(Keep))
        if layers is not None:
            layers = tuple(one if isinstance(one, str) else whole("layers", one) for one in listed("layers", layers))
        if heads is not None:
            heads = tuple(whole("heads", head, 0) for head in listed("heads", heads))
            if not heads:
                raise ArgumentError("heads is []; give numbers of heads, counted from 0, such as [0, 3], or None.")
        return cls(layers, heads, keep)

    def layer(self, name: str) -> bool:
        """Say whether a module is asked for."""
        if self.layers is None:
            return True
        number = layer_of(name)
        return any(
            number == layer if isinstance(layer, int) else fnmatch.fnmatchcase(name, layer) for layer in self.layers
        )

    def check(self, name: str, weights: AttentionWeights) -> None:
        """Raise `ArgumentError` for a head that a module does not have."""
        every = with_batch(weights).shape[1]
        if self.heads is not None and max(self.heads) >= every:
            raise ArgumentError(f"heads is {list(self.heads)}; {name} has {every} heads, counted from 0.")

    def part(self, weights: AttentionWeights) -> AttentionWeights:
        """Return the heads that are wanted."""
        if self.heads is None:
            return weights.detach()
        return of_heads(weights.detach(), torch.tensor(self.heads, device=weights.device))

    def kept(self, weights: AttentionWeights) -> AttentionWeights:
        """Return what stays of the weights of one call."""
        if self.keep == "exact":
            return weights.clone()
        if self.keep == "dense":
            return from_dense(weights.dense(), ~weights.masked())
        return AttentionWeights.of_summary(summarise(weights), weights.ndim, sums_to_one=weights.sums_to_one)

    def begin(self, name: str, first: Step, growth: Growth) -> None:
        """Look at the first call of a matrix that may grow: its summary counts from the end of an unfilled cache."""
        if self.keep == "summary" and first.rows < first.keys and growth.filled(name) < first.keys:
            growth.place(name, placed_at_end(replace(first, keys=growth.filled(name))))

    def growing(self, first: AttentionWeights, step: Step, growth: Growth) -> Growing:
        """Return the growing matrix that begins with the first call and that the given step continues."""
        if first.kept_cell:
            return JoinedSummary(summarise(first), step.before, growth.orders, step.placed)
        begin = Step(with_batch(first), first.shape[-2], step.before, 0, None, True)
        return (JoinedExact if self.keep == "exact" else JoinedDense)(begin, growth.orders)
