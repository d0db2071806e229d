"""Weights of which only summaries were kept: what they answer, and what they say they cannot."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import Any, Literal, NoReturn

import torch
from torch import Tensor

from .._inputs import AttentionInputs
from ..errors import ArgumentError
from ._answers import Peak, Top
from ._index import bounds, sides
from ._matrix import AttentionWeights, Kind
from ._source import Index, WeightSource

__all__ = ["StoredWeights", "Summary"]


@dataclass(frozen=True, eq=False)
class Summary:
    """What is kept of one call, O(n); `(B, H, …)`, float32 (float64 for float64) unless said."""

    cell: int
    """Tokens per side of a cell of `map`: a power of two."""
    map: Tensor
    """`(B, H, ⌈L/cell⌉, ⌈S/cell⌉)`: mean over queries of the sum over keys."""
    masked: Tensor
    """bool, broadcastable to `map`: cells of which no query may see any key."""
    entropy: Tensor
    """`(B, H, L)`, nats."""
    distance: Tensor
    """`(B, H, L)`: sum of weight times distance in tokens."""
    received: Tensor
    """`(B, H, S)`, sum over queries."""
    links: Tensor
    """`(B, H, L, 4)`: largest weights of each row, the largest first; 0 where it sees fewer keys."""
    link_keys: Tensor
    """int32 `(B, H, L, 4)`: their keys, -1 where the row sees fewer."""
    near: Tensor
    """`(B, H, 3)`: sums over queries of the weight on the key before, at and after their own place."""
    lse: Tensor
    """`(B, H, L)`."""
    seeing: Tensor
    """int64, broadcastable to `(B, H, L)`: keys that each query may see."""
    counts: Tensor
    """int64, broadcastable to `(B, H, S)`: queries that may see each key."""

    def each(self, change: Callable[[Tensor], Tensor]) -> Summary:
        """Return a copy of which every tensor is changed."""
        tensors = {f.name: change(getattr(self, f.name)) for f in fields(self) if f.name != "cell"}
        return Summary(self.cell, **tensors)


class StoredWeights(AttentionWeights):
    """Weights of a call whose query and key were not kept; what was summed up while it ran is exact.

    It has `entropy`, `effective_keys`, `received`, `peak`, `top(4)`, `mean_distance`, `share` of the own place, its
    neighbours and the first key, `visible_keys`, `lse`, and `pooled` and `masked` in cells of the kept map or
    multiples of them. Everything else raises `ArgumentError`, which names the setting that keeps it.
    """

    def __init__(self, summary: Summary, rank: int = 4, *, sums_to_one: bool = True) -> None:
        super().__init__(_NothingKept.of(summary), rank, sums_to_one=sums_to_one)
        self.summary = summary

    def __repr__(self) -> str:
        """Say the shape, and what is here."""
        return (
            f"StoredWeights(shape={self.shape})  # summaries of them: .pooled({self.summary.cell}), .entropy(), "
            ".received(), .peak(), .mean_distance(), .share(0)"
        )

    def entropy(self) -> Tensor:
        """Return the entropy of each row in nats, `(B, H, L)`."""
        return self._answer(self.summary.entropy)

    def mean_distance(self) -> Tensor:
        """Return how far each query looks on average, in tokens, `(B, H, L)`."""
        return self._answer(self.summary.distance)

    def received(self, *, corrected: bool = False) -> Tensor:
        """Return how much attention each key gets, `(B, H, S)`; `corrected` divides by the queries that see it."""
        found = self.summary.received
        return self._answer(found / self.summary.counts.clamp(min=1) if corrected else found)

    def visible_keys(self) -> Tensor:
        """Return how many keys each query may see by the mask, int64 `(B, H, L)`."""
        return self._answer(self.summary.seeing.expand(self.summary.entropy.shape))

    def peak(self) -> Peak:
        """Return the largest weight of each row and its key, `(B, H, L)`."""
        s = self.summary
        return Peak(self._answer(s.links[..., 0]), self._trim(s.link_keys[..., 0].long()))

    def top(self, k: int) -> Top:
        """Return the `k` largest weights of each row and their keys, `(B, H, L, k)`; four of them were kept."""
        s = self.summary
        most = min(s.links.shape[3], self.shape[-1])
        if not isinstance(k, int) or isinstance(k, bool) or not 1 <= k <= self.shape[-1]:
            raise ArgumentError(f"k is {k!r}; it must be an integer from 1 to the number of keys, {self.shape[-1]}.")
        if k > most:
            _refuse(f"the {k} largest weights of each row, only {most}")
        return Top(self._answer(s.links[..., :k]), self._trim(s.link_keys[..., :k].long()))

    def share(self, offset: int | Literal["first"]) -> Tensor:
        """Return the share of all attention on the own place (0), its neighbours (-1, 1) or the "first" key."""
        s = self.summary
        if offset == "first":
            first = (s.counts > 0).to(torch.uint8).argmax(-1, keepdim=True)
            found = s.received.gather(-1, first.expand(*s.received.shape[:2], 1))[..., 0]
        elif isinstance(offset, int) and not isinstance(offset, bool) and -1 <= offset <= 1:
            found = s.near[..., offset + 1]
        else:
            _refuse(f"the share at offset {offset!r}, only at -1, 0, 1 and 'first'")
        return self._trim(found / self._seeing(self._source))

    def _answer(self, tensor: Tensor) -> Tensor:
        # Whoever writes to it shall not change what is kept.
        return self._trim(tensor).clone()

    def pooled(
        self,
        cell: int | tuple[int, int],
        kind: Kind = "mass",
        *,
        rows: slice | None = None,
        columns: slice | None = None,
    ) -> Tensor:
        """Return the kept map, or larger cells of it; `cell` is a multiple of `summary.cell`, so is the rectangle."""
        if kind != "mass":
            _refuse("the largest weight of a cell")
        return super().pooled(cell, kind, rows=rows, columns=columns)

    def masked(
        self, cell: int | tuple[int, int] = 1, *, rows: slice | None = None, columns: slice | None = None
    ) -> Tensor:
        """Return which cells the mask hides wholly; `cell` is a multiple of `summary.cell`, so is the rectangle."""
        s = self.summary
        down, across = sides(cell)
        picked = []
        for part, size, given in (
            (bounds(rows, self.shape[-2], "rows"), self.shape[-2], down),
            (bounds(columns, self.shape[-1], "columns"), self.shape[-1], across),
        ):
            if given % s.cell or part.start % s.cell or (part.stop % s.cell and part.stop != size):
                _refuse(f"masks finer than cells of {s.cell} tokens")
            picked.append(slice(part.start // s.cell, -(-part.stop // s.cell)))
        seen = ~s.masked[..., picked[0], picked[1]]
        pads = (0, -seen.shape[3] % (across // s.cell), 0, -seen.shape[2] % (down // s.cell))
        seen = torch.nn.functional.pad(seen, pads)
        seen = seen.unflatten(3, (-1, across // s.cell)).any(4).unflatten(2, (-1, down // s.cell)).any(3)
        return self._trim((~seen).expand(*s.map.shape[:2], *seen.shape[2:]))

    def uniform(
        self, cell: int | tuple[int, int] = 1, *, rows: slice | None = None, columns: slice | None = None
    ) -> Tensor:
        """Refuse: the mask itself was not kept."""
        _refuse("the mask itself, which even attention is spread over")

    def head(self, *index: int) -> StoredWeights:
        """Return the kept summaries of one head, shape `(L, S)`."""
        if len(index) != self.ndim - 2:
            raise ArgumentError(f"head() was given {len(index)} integers; weights of shape {self.shape} need "
                                f"{self.ndim - 2}.")  # fmt: skip
        sizes = self.summary.map.shape[:2]
        places = []
        for position, size in zip((*(0,) * (4 - self.ndim), *index), sizes, strict=True):
            if not -size <= position < size:
                raise IndexError(f"head {index} lies outside of weights of shape {self.shape}.")
            places.append(position % size)
        return StoredWeights(self.summary.each(lambda t: _one(t, *places)), 2, sums_to_one=self.sums_to_one)

    def __getstate__(self) -> dict[str, Any]:
        """Pickle, and `copy.deepcopy`: the summaries."""
        return {"summary": self.summary, "_rank": self._rank, "_sums_to_one": self._sums_to_one}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Build the weights again out of the summaries."""
        self.__init__(state["summary"], state["_rank"], sums_to_one=state["_sums_to_one"])  # type: ignore[misc]

    def clone(self) -> StoredWeights:
        """Return a copy of the summaries."""
        return StoredWeights(self.summary.each(torch.Tensor.clone), self.ndim, sums_to_one=self.sums_to_one)

    def detach(self) -> AttentionWeights:
        """Return these weights: no gradient flows through them."""
        return self

    def moved(self, device: torch.device | str) -> StoredWeights:
        """Return the summaries on another device."""
        moved = self.summary.each(lambda tensor: tensor.to(device))
        return StoredWeights(moved, self.ndim, sums_to_one=self.sums_to_one)


def _one(tensor: Tensor, batch: int, head: int) -> Tensor:
    tensor = tensor[batch : batch + 1] if tensor.shape[0] > 1 else tensor
    return tensor[:, head : head + 1] if tensor.shape[1] > 1 else tensor


class _NothingKept(WeightSource):
    """Stands for a matrix of which nothing is left but its sizes, `lse` and map."""

    @classmethod
    def of(cls, summary: Summary) -> _NothingKept:
        inputs = _of_sizes(*summary.entropy.shape, summary.received.shape[2], summary.lse.dtype)
        return cls(inputs, lse=summary.lse, map=summary.map, map_cell=summary.cell)

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
        _refuse("single entries, rows, or cells other than the kept ones")

    def detached(self) -> _NothingKept:
        """Return this."""
        return self


@lru_cache(maxsize=16)
def _of_sizes(batch: int, heads: int, queries: int, keys: int, dtype: torch.dtype) -> AttentionInputs:
    """Return a call that has nothing but sizes; layers of one model share it."""
    query, key = (torch.empty(batch, heads, length, 1, device="meta", dtype=dtype) for length in (queries, keys))
    return AttentionInputs(query, key, key, 1.0)


def _refuse(what: str) -> NoReturn:
    raise ArgumentError(
        f'This recording kept summaries, not {what}. Record again with keep="exact", which keeps query and key, '
        "or ask for entropy(), received(), peak(), lse or pooled(weights.summary.cell)."
    )
