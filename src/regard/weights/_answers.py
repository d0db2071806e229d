"""The results of questions that are more than one tensor, and how distances are binned."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

# Distances up to this far have a bin each; beyond it the bins double.
_NEAR = 16


class Peak(NamedTuple):
    """The largest weight of each row."""

    values: Tensor
    """`(B, H, L)`."""
    indices: Tensor
    """Its key, int64 `(B, H, L)`; -1 where a row sees nothing."""


class Top(NamedTuple):
    """The `k` largest weights of each row, largest first."""

    values: Tensor
    """`(B, H, L, k)`; 0 where a row sees fewer keys."""
    indices: Tensor
    """Their keys, int64 `(B, H, L, k)`; -1 where a row sees fewer keys."""


class DistanceProfile(NamedTuple):
    """How much attention goes how far. Bin `n` holds the distances `start[n] … stop[n] - 1`, key minus query."""

    start: Tensor
    """int64 `(n,)`, increasing."""
    stop: Tensor
    """int64 `(n,)`, one past the last distance of each bin."""
    mass: Tensor
    """`(B, H, n)`, share of the attention of all queries; sums to 1."""


def profile_of(sums: Tensor, keys: int, *, binned: bool) -> DistanceProfile:
    """Return a profile of the shares `(B, H, L + S - 1)` of each distance, the lowest first."""
    lowest = 1 - keys  # the last query stands on the last key
    edges = torch.arange(lowest, lowest + sums.shape[-1] + 1, device=sums.device)
    if binned:
        every = edges[:-1]
        edges = edges[_is_edge(edges) | (edges == edges[0]) | (edges == edges[-1])]
        place = torch.bucketize(every, edges, right=True) - 1
        bins = sums.new_zeros(*sums.shape[:2], max(0, edges.numel() - 1))
        sums = bins.index_add(2, place, sums)
    return DistanceProfile(edges[:-1], edges[1:], sums)


def _is_edge(distance: Tensor) -> Tensor:
    # Bins are closed on the far side: -32 … -17 and 17 … 32, so an edge lies at -32 and at 17.
    far = torch.where(distance < 0, -distance, distance - 1)
    return (far <= _NEAR) | (far & (far - 1) == 0)
