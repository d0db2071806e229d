"""Weights of which only summaries were kept: what they answer, and what they say they cannot."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NoReturn

import torch
from torch import Tensor

from .._inputs import AttentionInputs
from ..errors import ArgumentError
from ._matrix import AttentionWeights, Kind, Peak
from ._source import Index, WeightSource

__all__ = ["StoredWeights", "Summary", "summarise"]

# A kept map has at most this many cells a side.
_CELLS = 64


@dataclass(frozen=True, eq=False)
class Summary:
    """What is kept of one call, O(n); all of it `(B, H, …)`, float32 (float64 for float64)."""

    cell: int
    """Tokens per side of a cell of `map`."""
    map: Tensor
    """`(B, H, ⌈L/cell⌉, ⌈S/cell⌉)`: mean over queries of the sum over keys."""
    entropy: Tensor
    """`(B, H, L)`, nats."""
    received: Tensor
    """`(B, H, S)`, sum over queries."""
    peak: Peak
    """Largest weight of each row and its key, `(B, H, L)`."""
    lse: Tensor
    """`(B, H, L)`."""
    counts: Tensor
    """int64, broadcastable to `(B, H, S)`: queries that may see each key."""


class StoredWeights(AttentionWeights):
    """Weights of a call whose query and key were not kept: `entropy`, `received`, `peak`, `pooled` of the kept map.

    Everything else raises `ArgumentError`, which names the setting that keeps it.
    """

    def __init__(self, summary: Summary, rank: int = 4) -> None:
        super().__init__(_NothingKept(_shape_of(summary), lse=summary.lse), rank)
        self.summary = summary

    def entropy(self) -> Tensor:
        """Return the entropy of each row in nats, `(B, H, L)`."""
        return self._trim(self.summary.entropy)

    def received(self, *, corrected: bool = False) -> Tensor:
        """Return how much attention each key gets, `(B, H, S)`; `corrected` divides by the queries that see it."""
        found = self.summary.received
        return self._trim(found / self.summary.counts.clamp(min=1) if corrected else found)

    def peak(self) -> Peak:
        """Return the largest weight of each row and its key, `(B, H, L)`."""
        values, indices = self.summary.peak
        return Peak(self._trim(values), self._trim(indices))

    def pooled(
        self,
        cell: int | tuple[int, int],
        kind: Kind = "mass",
        *,
        rows: slice | None = None,
        columns: slice | None = None,
    ) -> Tensor:
        """Return the kept map; `cell` is that of the map (`summary.cell`), the rectangle everything."""
        kept = self.summary.cell
        if kind != "mass" or rows is not None or columns is not None or cell not in (kept, (kept, kept)):
            _refuse(f"a map of other cells than the kept one (mass, {kept} tokens a side, everything)")
        return self._trim(self.summary.map)

    def head(self, *index: int) -> StoredWeights:
        """Return the kept summaries of one head, shape `(L, S)`."""
        if len(index) != self.ndim - 2:
            raise ArgumentError(f"head() was given {len(index)} integers; weights of shape {self.shape} need "
                                f"{self.ndim - 2}.")  # fmt: skip
        s = self.summary
        b, h = (n % size for n, size in zip((*(0,) * (4 - self.ndim), *index), s.map.shape[:2], strict=True))

        def one(tensor: Tensor) -> Tensor:
            return tensor[b : b + 1, h : h + 1]

        counts = s.counts.expand(*s.received.shape)
        part = Summary(s.cell, one(s.map), one(s.entropy), one(s.received), Peak(one(s.peak.values),
                       one(s.peak.indices)), one(s.lse), one(counts))  # fmt: skip
        return StoredWeights(part, 2)

    def detach(self) -> AttentionWeights:
        """Return these weights: no gradient flows through them."""
        return self

    def to(self, device: torch.device | str) -> StoredWeights:
        """Return the summaries on another device."""
        s = self.summary
        moved = (t.to(device) for t in (s.map, s.entropy, s.received, *s.peak, s.lse, s.counts))
        grid, entropy, received, values, indices, lse, counts = moved
        return StoredWeights(Summary(s.cell, grid, entropy, received, Peak(values, indices), lse, counts), self.ndim)


def summarise(weights: AttentionWeights) -> Summary:
    """Compute the summaries of a call, without gradient. Time about four forward passes, memory O(n)."""
    source = weights._source
    whole = AttentionWeights(source.detached(), 4, sums_to_one=weights._sums_to_one)
    cell = max(1, -(-max(source.shape[2:]) // _CELLS))
    if source.map is not None and source.map_cell:
        cell = -(-cell // source.map_cell) * source.map_cell
    with torch.no_grad():
        return Summary(
            cell, whole.pooled(cell), whole.entropy(), whole.received(), whole.peak(), whole.lse, source.counts()
        )


class _NothingKept(WeightSource):
    """Stands for a matrix that nothing is left of but its sizes."""

    def __init__(self, shape: tuple[int, int, int, int], lse: Tensor) -> None:
        batch, heads, queries, keys = shape
        query = torch.empty(batch, heads, queries, 1, device="meta", dtype=lse.dtype)
        key = torch.empty(batch, heads, keys, 1, device="meta", dtype=lse.dtype)
        super().__init__(AttentionInputs(query, key, key, 1.0), lse=lse)

    @property
    def device(self) -> torch.device:
        """Where the summaries lie."""
        return torch.device("cpu") if self.lse is None else self.lse.device

    def scores(self, rows: Index, columns: Index) -> Tensor:
        """Refuse."""
        _refuse("single entries, rows or other summaries")

    def pair_scores(self, rows: Tensor, columns: Tensor) -> Tensor:
        """Refuse."""
        _refuse("single entries or shares")

    def norms(self, output_weight: Tensor | None) -> Tensor:
        """Refuse."""
        _refuse("values")

    def select(self, batch: Index, heads: Index) -> _NothingKept:
        """Refuse: what selects a part wants its entries."""
        _refuse("single entries or rows")

    def detached(self) -> _NothingKept:
        """Return this."""
        return self


def _shape_of(summary: Summary) -> tuple[int, int, int, int]:
    batch, heads, queries = summary.entropy.shape
    return batch, heads, queries, summary.received.shape[2]


def _refuse(what: str) -> NoReturn:
    raise ArgumentError(
        f'This recording kept summaries, not {what}. Record again with keep="exact", which keeps query and key, '
        "or ask for entropy(), received(), peak(), lse or pooled(weights.summary.cell)."
    )
