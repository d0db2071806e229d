"""Tokens that are patches of an image lie in two dimensions: how far they look, and what lies around them."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from ..recordings import Grid
from ..weights import AttentionWeights

# Pairs of tokens that are looked at together.
_PAIRS = 1 << 20


class Patches:
    """The patches among the queries and keys of self-attention over an image.

    Distances are Euclidean, in patches: 1 to the next one in a row or column, 1.41 to the next on a diagonal.
    """

    def __init__(self, grid: Grid, first_query: int, sizes: tuple[int, int]) -> None:
        self.grid = grid
        self.queries, self.keys = (
            self._places(first, size) for first, size in zip((first_query, 0), sizes, strict=True)
        )
        self.sizes = sizes
        # Classes of pairs: squared distances, and three for pairs with tokens that are no patches.
        self.classes = grid.rows**2 + grid.columns**2 + 3

    def _places(self, first: int, size: int) -> Tensor:
        """Return (row, column) of each token, (-1, -1) for those that are no patches: `(size, 2)`."""
        at = torch.arange(size) + first - self.grid.first
        inside = (at >= 0) & (at < self.grid.rows * self.grid.columns)
        both = torch.stack([at.div(self.grid.columns, rounding_mode="floor"), at % self.grid.columns], 1)
        return torch.where(inside[:, None], both, -1)

    def class_of(self, rows: slice, columns: slice) -> Tensor:
        """Return the class of each pair of a rectangle, int64: the squared distance, or the last three."""
        query, key = self.queries[rows][:, None], self.keys[columns][None]
        away, no_query, no_key = (query - key).square().sum(-1), query[..., 0] < 0, key[..., 0] < 0
        return torch.where(no_query | no_key, self.classes - 4 + no_query.long() + 2 * no_key.long(), away)

    def _blocks(self, weights: AttentionWeights) -> Iterator[tuple[slice, Tensor, Tensor, Tensor]]:
        """Yield rows, their weights and which are visible, and the classes of the pairs, which all heads share."""
        queries, keys = self.sizes
        step = max(1, _PAIRS // max(1, keys * math.prod(weights.shape[:-2])))
        for start in range(0, queries, step):
            rows = slice(start, min(queries, start + step))
            seen = ~weights.masked(rows=rows).cpu()
            yield rows, weights[..., rows, :].double().cpu(), seen, self.class_of(rows, slice(0, keys))

    def distance(self, weights: AttentionWeights) -> Tensor:
        """Return how far each query looks on average among the patches, `(…, L)`; NaN for what is no patch."""
        return torch.cat([_mean(given * self._is_pair(kind), kind) for _, given, _, kind in self._blocks(weights)], -1)

    def measures(self, heads: AttentionWeights) -> dict[str, list[float]]:
        """Return the mean distance, that of even attention, and the share of the eight patches around a patch."""
        found: dict[str, list[Tensor]] = {"distance": [], "even_distance": [], "neighbours": []}
        for rows, given, seen, kind in self._blocks(heads):
            of_patch = (self.queries[rows][:, 0] >= 0) & seen.any(-1)
            pair = self._is_pair(kind)
            numbers = {
                "distance": _mean(given * pair, kind),
                "even_distance": _mean((seen & pair).double(), kind),
                "neighbours": (given * ((kind == 1) | (kind == 2))).sum(-1),
            }
            for name, of_rows in numbers.items():
                found[name].append(torch.where(of_patch, of_rows, torch.nan))
        return {name: torch.cat(every, -1).nanmean(-1).tolist() for name, every in found.items()}

    def mean_by_class(self, weights: AttentionWeights) -> Tensor:
        """Return the head's mean weight at each distance, by class; 0 where there is no such pair."""
        total, count = torch.zeros(2, self.classes).double()
        for _, given, seen, kind in self._blocks(weights):
            total += torch.bincount(kind[seen], given[seen], minlength=self.classes)
            count += torch.bincount(kind[seen], minlength=self.classes)
        return torch.where(count > 0, total / count.clamp(min=1), 0.0)

    def _is_pair(self, kind: Tensor) -> Tensor:
        return kind < self.classes - 3


def _mean(given: Tensor, kind: Tensor) -> Tensor:
    # NaN where nothing goes to a patch: there is no distance then.
    return (given * kind.double().sqrt()).sum(-1) / given.sum(-1)
