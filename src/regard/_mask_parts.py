"""What a mask is made of: each part gives, for known sizes, a span of keys per query or a dense boolean tensor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from ._tracing import recorded, traced
from ._values import onto
from .errors import ShapeError


class ResolvedMask(NamedTuple):
    """A mask for known sizes: `start`, `stop` int32 `(b, h, L)` and `dense` bool `(b, h, l, s)`, or None."""

    start: Tensor | None
    stop: Tensor | None
    dense: Tensor | None


class Part(Protocol):
    """One condition on which keys a query sees."""

    def resolve(self, queries: int, keys: int, device: torch.device) -> ResolvedMask:
        """Return spans or a dense mask for these sizes."""
        ...


def readable(tensor: Tensor) -> bool:
    """Say whether values can be checked. Reading one makes an accelerator wait; there the caller is trusted."""
    return not traced() and tensor.numel() > 0 and tensor.device.type == "cpu"


# Beyond any length, and still far from where 64 bits end.
_FAR = 2**33


def _clamped(start: Tensor, stop: Tensor, keys: int) -> ResolvedMask:
    start = start.clamp(0, keys).to(torch.int32)
    return ResolvedMask(start, torch.maximum(stop.clamp(0, keys).to(torch.int32), start), None)


@dataclass(frozen=True, eq=False)
class Band:
    """Keys `i - left … i + right` around the aligned position of query `i`."""

    left: int | None
    right: int | None
    offset: int | None
    name: str

    def __repr__(self) -> str:
        return self.name

    def resolve(self, queries: int, keys: int, device: torch.device) -> ResolvedMask:
        row = torch.arange(queries, device=device).view(1, 1, -1)
        before, after = self._reach(keys - queries)
        start = torch.zeros_like(row) if before is None else row + before
        stop = torch.full_like(row, keys) if after is None else row + after
        return _clamped(start, stop, keys)

    def _reach(self, aligned: int) -> tuple[int | None, int | None]:
        """Return where the span of query 0 starts and stops, before it meets the keys; None = open."""
        left, right = self.left, self.right
        if self.offset is None:  # the sizes of a call may be symbols: only what the mask was made of is looked at
            before = None if left is None else aligned - min(left, _FAR)
            return before, None if right is None else aligned + min(right, _FAR) + 1
        before = None if left is None else _within(self.offset - left)
        return before, None if right is None else _within(self.offset + right + 1)


def _within(shift: int) -> int:
    return max(-_FAR, min(_FAR, shift))


@dataclass(frozen=True, eq=False)
class Padding:
    """The first `lengths` keys of each sequence are real, or the last (padding on the left)."""

    lengths: Tensor
    side: str
    longest: int  # 0 where it cannot be read

    def __repr__(self) -> str:
        return f"padding(<{len(self.lengths)} sequences>)"

    def resolve(self, queries: int, keys: int, device: torch.device) -> ResolvedMask:
        if self.longest > keys:
            raise ShapeError(
                f"masks.padding was given a length of {self.longest}, but there are only {keys} keys. "
                "Lengths count the real keys of each sequence; give the lengths that belong to this key tensor."
            )
        length = onto(self.lengths, device).view(-1, 1, 1).expand(-1, 1, queries)
        start = keys - length if self.side == "left" else torch.zeros_like(length)
        return _clamped(start, start + length, keys)


@dataclass(frozen=True, eq=False)
class Packed:
    """Documents of the given lengths one after the other, the same in every batch row."""

    lengths: Tensor
    total: int | None  # None where it cannot be read

    def __repr__(self) -> str:
        return f"documents(<{len(self.lengths)} documents>)"

    def resolve(self, queries: int, keys: int, device: torch.device) -> ResolvedMask:
        _check_one_per_key(keys if self.total is None else self.total, queries, keys)
        sizes = onto(self.lengths, device)
        stop = sizes.cumsum(0)
        edges = torch.stack((stop - sizes, stop))
        if recorded():
            document = (torch.arange(keys, device=device)[:, None] >= stop).sum(1)
            edges = edges[:, document]
        else:
            edges = edges.repeat_interleave(sizes, dim=1, output_size=keys)
        start, stop = edges[:, None, None, keys - queries :]
        return _clamped(start, stop, keys)


@dataclass(frozen=True, eq=False)
class Documents:
    """Documents that are single runs: the keys `first … last - 1` belong to the document of a key; `(B, S)`."""

    first: Tensor
    last: Tensor

    def __repr__(self) -> str:
        return f"documents(<{self.first.shape[-1]} tokens>)"

    def resolve(self, queries: int, keys: int, device: torch.device) -> ResolvedMask:
        _check_one_per_key(self.first.shape[-1], queries, keys)
        rows = slice(keys - queries, None)
        return _clamped(onto(self.first[:, None, rows], device), onto(self.last[:, None, rows], device), keys)


@dataclass(frozen=True, eq=False)
class Scattered:
    """Documents whose tokens may stand anywhere: equal ids see each other; `(B, S)`."""

    ids: Tensor

    def __repr__(self) -> str:
        return f"documents(<{self.ids.shape[-1]} tokens, scattered>)"

    def resolve(self, queries: int, keys: int, device: torch.device) -> ResolvedMask:
        _check_one_per_key(self.ids.shape[-1], queries, keys)
        ids = onto(self.ids, device)
        return ResolvedMask(None, None, (ids[:, keys - queries :, None] == ids[:, None, :])[:, None])


def _check_one_per_key(tokens: int, queries: int, keys: int) -> None:
    if tokens != keys or queries > keys:
        raise ShapeError(
            f"masks.documents describes {tokens} tokens, but the call has {queries} queries and {keys} keys. It needs "
            "one document per key, and queries that are the last L of those tokens."
        )


@dataclass(frozen=True, eq=False)
class Prefix:
    """Every query sees the first `lengths` keys, and beyond them only its past."""

    lengths: Tensor

    def __repr__(self) -> str:
        return f"prefix({self.lengths.tolist()})"

    def resolve(self, queries: int, keys: int, device: torch.device) -> ResolvedMask:
        place = torch.arange(keys - queries + 1, keys + 1, device=device).view(1, 1, -1)
        stop = torch.maximum(place, onto(self.lengths, device).view(-1, 1, 1))
        return _clamped(torch.zeros_like(stop), stop, keys)


@dataclass(frozen=True, eq=False)
class Spans:
    """Spans given as arrays `(b, h, L or 1)`, made for a known number of keys or for any."""

    start: Tensor
    stop: Tensor
    keys: int | None = None

    def __repr__(self) -> str:
        return f"spans(<{tuple(self.start.shape)}>)"

    def resolve(self, queries: int, keys: int, device: torch.device) -> ResolvedMask:
        rows = self.start.shape[-1]
        if rows not in (1, queries) or self.keys not in (None, keys):
            made_for = f"{rows} rows" + ("" if self.keys is None else f" and {self.keys} keys")
            raise ShapeError(
                f"The mask {self!r} was made for {made_for}, but there are {queries} queries and {keys} keys. Give one "
                "start and one stop per query, or a mask of this size."
            )
        start, stop = (onto(edge, device).expand(-1, -1, queries) for edge in (self.start, self.stop))
        return _clamped(start, stop, keys)


@dataclass(frozen=True, eq=False)
class Dense:
    """A boolean tensor `(b, h, l, s)` whose rows need not be single runs."""

    visible: Tensor

    def __repr__(self) -> str:
        return f"dense(<{tuple(self.visible.shape)}>)"

    def resolve(self, queries: int, keys: int, device: torch.device) -> ResolvedMask:
        rows, columns = self.visible.shape[-2:]
        if rows not in (1, queries) or columns not in (1, keys):
            raise ShapeError(
                f"mask has shape {tuple(self.visible.shape)}, which does not broadcast to (B, H, L, S) with "
                f"L = {queries} queries and S = {keys} keys. For a padding mask of shape (B, S) use "
                "regard.masks.padding(mask)."
            )
        return ResolvedMask(None, None, onto(self.visible, device))
