"""What is kept of the calls that are watched."""

from __future__ import annotations

import fnmatch
from collections.abc import Collection
from dataclasses import dataclass
from numbers import Integral
from typing import Literal, get_args

import torch

from ..errors import ArgumentError, nearest
from ..weights import AttentionWeights, StoredWeights, from_dense, summarise
from ._growing import Growth, Step
from ._grown import Grown, GrownDense, GrownExact, GrownSummary
from ._recording import layer_of

__all__ = ["Keep", "Wanted"]

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
        if keep not in get_args(Keep):
            raise ArgumentError(
                f"keep is {keep!r}; it is 'summary', 'exact' or 'dense'.{nearest(str(keep), get_args(Keep))}"
            )
        if layers is not None and not _all(layers, Integral, str):
            raise ArgumentError(
                f"layers is {layers!r}; it is a list of numbers of layers, and names or patterns of modules, such as "
                "[0, 1] or ['encoder.*']."
            )
        if heads is not None and (not _all(heads, Integral) or not len(heads) or min(heads) < 0):
            raise ArgumentError(
                f"heads is {heads!r}; it is a list of numbers of heads, counted from 0, such as [0, 3]."
            )
        return cls(
            None if layers is None else tuple(one if isinstance(one, str) else int(one) for one in layers),
            None if heads is None else tuple(int(head) for head in heads),
            keep,
        )

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
        every = weights._source.shape[1]
        if self.heads is not None and max(self.heads) >= every:
            raise ArgumentError(f"heads is {list(self.heads)}; {name} has {every} heads, counted from 0.")

    def part(self, weights: AttentionWeights) -> AttentionWeights:
        """Return the heads that are wanted."""
        if self.heads is None:
            return weights.detach()
        source = weights._source.detached().select(slice(None), torch.tensor(self.heads, device=weights.device))
        return AttentionWeights(source, max(3, weights.ndim))

    def kept(self, weights: AttentionWeights) -> AttentionWeights:
        """Return what stays of the weights of one call."""
        if self.keep == "exact":
            return weights.clone()
        if self.keep == "dense":
            return from_dense(weights.dense(), ~weights.masked())
        return StoredWeights(summarise(weights), weights.ndim)

    def growing(self, first: AttentionWeights, step: Step, growth: Growth) -> Grown:
        """Return what grows out of the first call, which the given step continues."""
        if isinstance(first, StoredWeights):
            return GrownSummary(first.summary, step.before, growth.orders)
        begin = Step(first, first._source.shape[2], step.before, 0, None, True)
        return (GrownExact if self.keep == "exact" else GrownDense)(begin, growth.orders)


def _all(given: object, *kinds: type) -> bool:
    """Say whether something holds things of these kinds alone, in any order that a list or a set has."""
    return (
        isinstance(given, Collection)
        and not isinstance(given, str | bytes)
        and all(isinstance(one, kinds) and not isinstance(one, bool) for one in given)
    )
