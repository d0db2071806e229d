"""Exact weights that lie elsewhere, on disk: their summaries are at hand, the rest is fetched when it is asked for."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor

from ..errors import ArgumentError
from ._answers import Peak, Top
from ._index import sides
from ._matrix import AttentionWeights, Kind
from ._source import WeightSource
from ._stored import StoredWeights, Summary

__all__ = ["RestoredWeights"]


class RestoredWeights(AttentionWeights):
    """Weights of a recorded call: summaries as they were recorded, every rectangle computed from query and key.

    Behaves like the weights of the call, without gradient. Query and key are fetched anew whenever they are needed;
    `restore` may remember them.
    """

    def __init__(
        self,
        summary: Summary,
        restore: Callable[[], WeightSource],
        rank: int = 4,
        *,
        sums_to_one: bool = True,
    ) -> None:
        self.summary, self._restore = summary, restore
        self._stored = StoredWeights(summary, rank, sums_to_one=sums_to_one)
        self._rank, self._sums_to_one, self._plain = rank, sums_to_one, None

    @property
    def _source(self) -> WeightSource:  # type: ignore[override]  # an attribute that is computed
        return self._restore()

    @property
    def shape(self) -> tuple[int, ...]:
        """`(B, H, L, S)`, or without the leading dimensions that the call left out."""
        return self._stored.shape

    @property
    def dtype(self) -> torch.dtype:
        """float64 for float64 inputs, else float32."""
        return self._stored.dtype

    @property
    def device(self) -> torch.device:
        """Where the answers lie."""
        return self._stored.device

    @property
    def requires_grad(self) -> bool:
        """False: what was stored has no gradient."""
        return False

    @property
    def map_cell(self) -> int:
        """Tokens per side of a cell of the recorded map."""
        return self.summary.cell

    @property
    def lse(self) -> Tensor:
        """Natural log of each row's sum of exponentials, `(B, H, L)`, as recorded."""
        return self._stored.lse

    def entropy(self) -> Tensor:
        """Return the entropy of each row in nats, `(B, H, L)`, as recorded."""
        return self._stored.entropy()

    def mean_distance(self) -> Tensor:
        """Return how far each query looks on average, in tokens, `(B, H, L)`, as recorded."""
        return self._stored.mean_distance()

    def visible_keys(self) -> Tensor:
        """Return how many keys each query may see by the mask, int64 `(B, H, L)`, as recorded."""
        return self._stored.visible_keys()

    def share(self, offset: int | Literal["first"]) -> Tensor:
        """Return the share of all attention at an offset, `(B, H)`: as recorded for -1, 0, 1 and "first"."""
        return self._stored.share(offset) if offset in (-1, 0, 1, "first") else super().share(offset)

    def received(self, *, corrected: bool = False) -> Tensor:
        """Return how much attention each key gets, `(B, H, S)`, as recorded."""
        return self._stored.received(corrected=corrected)

    def peak(self) -> Peak:
        """Return the largest weight of each row and its key, `(B, H, L)`, as recorded."""
        return self._stored.peak()

    def top(self, k: int) -> Top:
        """Return the `k` largest weights of each row and their keys, `(B, H, L, k)`: as recorded up to four."""
        kept = isinstance(k, int) and k <= self.summary.links.shape[3]
        return self._stored.top(k) if kept else super().top(k)

    def pooled(
        self,
        cell: int | tuple[int, int],
        kind: Kind = "mass",
        *,
        rows: slice | None = None,
        columns: slice | None = None,
    ) -> Tensor:
        """Return the recorded map, or larger cells of it, where they fit; else compute it; arguments as everywhere."""
        if kind == "mass" and self._on_cells(cell, rows, columns):
            return self._stored.pooled(cell, rows=rows, columns=columns)
        return super().pooled(cell, kind, rows=rows, columns=columns)

    def masked(
        self, cell: int | tuple[int, int] = 1, *, rows: slice | None = None, columns: slice | None = None
    ) -> Tensor:
        """Return which cells the mask hides wholly, as recorded where the cells fit; arguments as in `pooled`."""
        if self._on_cells(cell, rows, columns):
            return self._stored.masked(cell, rows=rows, columns=columns)
        return super().masked(cell, rows=rows, columns=columns)

    def _on_cells(self, cell: int | tuple[int, int], rows: slice | None, columns: slice | None) -> bool:
        kept = self.summary.cell
        for side, size, given in zip(sides(cell), self.shape[-2:], (rows, columns), strict=True):
            start, stop, step = (given or slice(None)).indices(size)
            if side % kept or start % kept or (stop % kept and stop != size) or step != 1 or stop < start:
                return False
        return True

    def head(self, *index: int) -> RestoredWeights:
        """Return the matrix of one head, shape `(L, S)`, still to be fetched."""
        part = self._stored.head(*index)
        batch, head = (
            slice(i % n, i % n + 1)
            for i, n in zip((*(0,) * (4 - self._rank), *index), self.summary.entropy.shape[:2], strict=True)
        )
        return RestoredWeights(
            part.summary, lambda: self._source.select(batch, head), 2, sums_to_one=self._sums_to_one
        )  # fmt: skip

    def __getstate__(self) -> dict[str, Any]:
        """Pickle, and `copy.deepcopy`: with query and key, wherever they lie."""
        return {**self.__dict__, "_restore": partial(_itself, self._restore())}

    def clone(self) -> AttentionWeights:
        """Return these weights: nobody writes to a recording."""
        return self

    def detach(self) -> AttentionWeights:
        """Return these weights: no gradient flows through them."""
        return self

    def moved(self, device: torch.device | str) -> AttentionWeights:
        """Return the weights on another device; query and key go there when they are needed."""
        moved = self._stored.moved(device)
        return RestoredWeights(
            moved.summary, lambda: self._source.moved(device), self._rank, sums_to_one=self._sums_to_one
        )  # fmt: skip

    def value_weighted(self, output_weight: Tensor | None = None, *, normalise: bool = False) -> AttentionWeights:
        """Return the weights times the norm of each key's value; with `output_weight` raises `ArgumentError`."""
        if output_weight is not None:
            raise ArgumentError(
                "A recording keeps the norms of the values, not the values, so output_weight= cannot be used. Ask "
                "before saving, or call value_weighted() without it."
            )
        return super().value_weighted(normalise=normalise)

    def _ready(self, *, differentiable: bool) -> WeightSource:
        return self._source  # has its lse and no gradient; held by whoever asked, for as long as he does


def _itself(source: WeightSource) -> WeightSource:
    return source
