"""The source of weights of whose values only the norms were kept."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from .._inputs import Index, cut, key_heads
from ..errors import ArgumentError
from ._softmax_source import SoftmaxSource

__all__ = ["NormsSource"]


@dataclass(eq=False)
class NormsSource(SoftmaxSource):
    """A matrix of whose values only the norms are known: one that was stored, or a step over a cache."""

    value_norms: Tensor | None = None
    """`(B, G, S)`."""

    def norms(self, output_weight: Tensor | None) -> Tensor:
        """Return `‖v_j‖` per query head; refuse what needs the values."""
        if output_weight is not None or self.value_norms is None:
            raise ArgumentError(
                "A recording, and a step over a cache, keep the norms of the values, not the values, so output_weight= "
                "cannot be used. Ask before saving, or call value_weighted() without it."
            )
        heads, groups = self.shape[1], self.value_norms.shape[1]
        return self.value_norms.repeat_interleave(heads // max(groups, 1), 1)

    def select(self, batch: Index, heads: Index) -> Self:
        """Return the matrices of some batch rows and query heads."""
        part = super().select(batch, heads)
        if self.value_norms is None:
            return part
        chosen = {"B": batch, "G": key_heads(heads, self.inputs)}
        return replace(part, value_norms=cut(self.value_norms, "BGS", chosen))

    def moved(self, device: torch.device | str) -> Self:
        """Return a copy on another device."""
        norms = None if self.value_norms is None else self.value_norms.to(device)
        return replace(super().moved(device), value_norms=norms)
