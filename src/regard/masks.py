"""Which keys each query may see: a small algebra of spans.

Causal, sliding window, padding, packed documents, prefix and every intersection of them say the same
kind of thing: query row `i` sees the keys `start[i]` to `stop[i]`. So a `Mask` is a list of parts that
each give a span per row; `&` intersects them, and a backend receives two int32 arrays and skips
whole blocks. Only a mask whose rows are not single runs travels as a dense boolean tensor.

A mask is written without sizes (`masks.causal() & masks.window(128, 0)`) and becomes arrays when the
call knows `L` queries and `S` keys. True means "may look" everywhere.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor
from torch.utils._python_dispatch import is_in_torch_dispatch_mode

from .errors import ArgumentError, DtypeError, ShapeError

__all__ = ["Mask", "causal", "dense", "documents", "padding", "prefix", "recognise", "spans", "window"]


class ResolvedMask(NamedTuple):
    """A mask for known sizes: `start`, `stop` int32 `(b, h, L)` and `dense` bool `(b, h, l, s)`, or None."""

    start: Tensor | None
    stop: Tensor | None
    dense: Tensor | None


class _Part(Protocol):
    def resolve(self, queries: int, keys: int, device: torch.device) -> ResolvedMask: ...


@dataclass(frozen=True, eq=False)
class Mask:
    """Which keys each query may see; the intersection of its parts. Build it with this module's functions.

    `a & b` sees what both `a` and `b` see. The empty `Mask()` sees everything.

    >>> causal() & window(2, 0)
    causal() & window(2, 0)
    >>> (causal() & window(1, 0)).to_dense(3, 3).int()[0, 0]
    tensor([[1, 0, 0],
            [1, 1, 0],
            [0, 1, 1]], dtype=torch.int32)
    """

    parts: tuple[_Part, ...] = ()

    def __and__(self, other: Mask | Tensor) -> Mask:
        """Intersect with another mask, or with a boolean tensor."""
        return Mask(self.parts + (other if isinstance(other, Mask) else dense(other)).parts)

    __rand__ = __and__

    def __repr__(self) -> str:
        """Write the mask as the expression that builds it."""
        return " & ".join(map(repr, self.parts)) or "Mask()"

    def resolve(self, num_queries: int, num_keys: int, device: torch.device | str = "cpu") -> ResolvedMask:
        """Return the arrays for `num_queries` and `num_keys`: spans clamped to the keys, `start <= stop`.

        Shapes: `start`, `stop` int32 `(1 or B, 1 or H, L)`; `dense` bool, broadcastable to `(B, H, L, S)`.
        A part that is absent is None. Costs O(B·L) for spans.
        """
        device = torch.device(device)
        start = stop = together = None
        for part in self.parts:
            a, b, c = part.resolve(num_queries, num_keys, device)
            if a is not None and b is not None:
                start = a if start is None else torch.maximum(start, a)
                stop = b if stop is None else torch.minimum(stop, b)
            if c is not None:
                together = c if together is None else together & c
        if start is not None and stop is not None and len(self.parts) > 1:
            stop = torch.maximum(stop, start)
        return ResolvedMask(start, stop, together)

    def to_dense(self, num_queries: int, num_keys: int, device: torch.device | str = "cpu") -> Tensor:
        """Return the mask as a bool tensor `(b, h, L, S)`, broadcastable to `(B, H, L, S)`. Costs O(L·S)."""
        start, stop, together = self.resolve(num_queries, num_keys, device)
        column = torch.arange(num_keys, device=device)
        visible = torch.ones(1, 1, num_queries, num_keys, dtype=torch.bool, device=device)
        if start is not None and stop is not None:
            visible = (column >= start[..., None]) & (column < stop[..., None])
        return visible if together is None else visible & together


def _readable(tensor: Tensor) -> bool:
    # Reading a value stops a compiled graph, and makes an accelerator wait; there the caller is trusted.
    return tensor.numel() > 0 and tensor.device.type == "cpu" and not torch.compiler.is_compiling()


def _clamped(start: Tensor, stop: Tensor, keys: int) -> ResolvedMask:
    start = start.clamp(0, keys).to(torch.int32)
    return ResolvedMask(start, torch.maximum(stop.clamp(0, keys).to(torch.int32), start), None)


@dataclass(frozen=True)
class _Band:
    """Keys `i - left … i + right` around the aligned position of query `i`."""

    left: int | None
    right: int | None
    offset: int | None
    name: str

    def __repr__(self) -> str:
        return self.name

    def resolve(self, queries: int, keys: int, device: torch.device) -> ResolvedMask:
        if torch.compiler.is_compiling() or is_in_torch_dispatch_mode():  # the arrays may not be real
            return self._build(queries, keys, device)
        return self._cached(queries, keys, device)

    def _build(self, queries: int, keys: int, device: torch.device) -> ResolvedMask:
        shift = keys - queries if self.offset is None else self.offset
        place = torch.arange(shift, shift + queries, device=device).view(1, 1, -1)
        start = torch.zeros_like(place) if self.left is None else place - self.left
        stop = torch.full_like(place, keys) if self.right is None else place + self.right + 1
        return _clamped(start, stop, keys)

    # One model asks for the same few sizes at every layer and step; building costs more than a tiny call.
    @functools.lru_cache(maxsize=64)  # noqa: B019  (the parts are small frozen values, not large objects)
    def _cached(self, queries: int, keys: int, device: torch.device) -> ResolvedMask:
        with torch.inference_mode(False):
            return self._build(queries, keys, device)


@dataclass(frozen=True, eq=False)
class _Padding:
    """Keys `start … stop - 1` of each sequence are real; `end` counts them from the right edge."""

    start: Tensor | None
    lengths: Tensor
    side: str

    def __repr__(self) -> str:
        return f"padding(<{len(self.lengths)} sequences>)"

    def resolve(self, queries: int, keys: int, device: torch.device) -> ResolvedMask:
        if _readable(self.lengths) and int(self.lengths.max()) > keys:
            raise ShapeError(
                f"masks.padding was given a length of {int(self.lengths.max())}, but there are only {keys} keys. "
                "Lengths count the real keys of each sequence; give the lengths that belong to this key tensor."
            )
        length = self.lengths.to(device).view(-1, 1, 1).expand(-1, 1, queries)
        if self.start is not None:
            start = self.start.to(device).view(-1, 1, 1).expand(-1, 1, queries)
        else:
            start = keys - length if self.side == "left" else torch.zeros_like(length)
        return _clamped(start, start + length, keys)


@dataclass(frozen=True, eq=False)
class _Documents:
    """Packed documents: a query sees the keys of its own document. `first`, `last` are per key, `(B, S)`."""

    first: Tensor
    last: Tensor

    def __repr__(self) -> str:
        return f"documents(<{self.first.shape[-1]} tokens>)"

    def resolve(self, queries: int, keys: int, device: torch.device) -> ResolvedMask:
        if self.first.shape[-1] != keys or queries > keys:
            raise ShapeError(
                f"masks.documents describes {self.first.shape[-1]} tokens, but the call has {queries} queries and "
                f"{keys} keys. It needs one document per key, and queries that are the last L of those tokens."
            )
        rows = slice(keys - queries, None)
        return _clamped(self.first[:, None, rows].to(device), self.last[:, None, rows].to(device), keys)


@dataclass(frozen=True, eq=False)
class _Prefix:
    """Every query sees the first `lengths` keys, and beyond them only its past."""

    lengths: Tensor

    def __repr__(self) -> str:
        return f"prefix({self.lengths.tolist()})"

    def resolve(self, queries: int, keys: int, device: torch.device) -> ResolvedMask:
        place = torch.arange(keys - queries + 1, keys + 1, device=device).view(1, 1, -1)
        stop = torch.maximum(place, self.lengths.to(device).view(-1, 1, 1))
        return _clamped(torch.zeros_like(stop), stop, keys)


@dataclass(frozen=True, eq=False)
class _Spans:
    """Spans given as arrays."""

    start: Tensor
    stop: Tensor

    def __repr__(self) -> str:
        return f"spans(<{tuple(self.start.shape)}>)"

    def resolve(self, queries: int, keys: int, device: torch.device) -> ResolvedMask:
        if self.start.shape[-1] != queries:
            raise ShapeError(
                f"masks.spans has {self.start.shape[-1]} rows, but there are {queries} queries. "
                "Give one start and one stop per query."
            )
        return _clamped(self.start.to(device), self.stop.to(device), keys)


@dataclass(frozen=True, eq=False)
class _Dense:
    """A boolean tensor whose rows need not be single runs."""

    visible: Tensor  # (b, h, l, s)

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
        return ResolvedMask(None, None, self.visible.to(device))


def causal(offset: int | None = None) -> Mask:
    """Each query sees itself and its past.

    Without `offset` the last query is aligned with the last key (bottom-right), which is right for a key/value
    cache; with it query `i` sees the keys up to `i + offset`, so `causal(offset=0)` is the top-left alignment.

    >>> causal().to_dense(2, 3).int()[0, 0]
    tensor([[1, 1, 0],
            [1, 1, 1]], dtype=torch.int32)
    """
    return Mask((_Band(None, 0, offset, "causal()" if offset is None else f"causal(offset={offset})"),))


def window(left: int | None, right: int | None) -> Mask:
    """Query `i` sees the keys `i - left … i + right`, both ends included, in bottom-right aligned positions.

    `None` leaves that side open. Raises `ArgumentError` for a negative or non-integer side.

    >>> window(1, 1).to_dense(3, 3).int()[0, 0]
    tensor([[1, 1, 0],
            [1, 1, 1],
            [0, 1, 1]], dtype=torch.int32)
    """
    for name, side in (("left", left), ("right", right)):
        if side is not None and (not isinstance(side, int) or isinstance(side, bool) or side < 0):
            raise ArgumentError(
                f"window {name} is {side!r}. A window counts keys on that side of the query: give an integer >= 0, "
                "or None for no limit (other libraries write -1 for that)."
            )
    return Mask((_Band(left, right, None, f"window({left}, {right})"),))


def padding(real: Tensor | Sequence[int], side: str = "right") -> Mask:
    """Hide padding keys.

    `real` is either a bool tensor `(B, S)`, True at real tokens (an `attention_mask` of 0 and 1 with
    `.bool()`), or integer lengths `(B,)`, whose padding lies on `side` ("right" or "left").
    A boolean mask whose rows are single runs becomes spans; any other stays dense.
    Raises `DtypeError`, `ShapeError`, `ArgumentError`.

    >>> padding([1, 2]).to_dense(1, 2).int()[:, 0, 0]
    tensor([[1, 0],
            [1, 1]], dtype=torch.int32)
    """
    if side not in ("left", "right"):
        raise ArgumentError(f"side is {side!r}. Padding lies on the 'right' or the 'left'.")
    tensor = torch.as_tensor(real)
    if tensor.dtype == torch.bool:
        if tensor.ndim != 2:
            raise ShapeError(f"masks.padding was given a mask of shape {tuple(tensor.shape)}; the rule is (B, S).")
        return recognise(tensor[:, None, None, :])
    if tensor.is_floating_point() or tensor.is_complex() or tensor.ndim != 1:
        raise DtypeError(
            f"masks.padding was given {tensor.dtype} of shape {tuple(tensor.shape)}. Give a bool mask (B, S) with True "
            "at real tokens (mask.bool() if it holds 0 and 1), or integer lengths (B,)."
        )
    if _readable(tensor) and int(tensor.min()) < 0:
        raise ArgumentError(f"masks.padding was given a length of {int(tensor.min())}; lengths are >= 0.")
    return Mask((_Padding(None, tensor, side),))


def documents(lengths: Sequence[int] | Tensor | None = None, *, ids: Tensor | None = None) -> Mask:
    """Several documents packed into one sequence: a query sees only the keys of its own document.

    Give either `lengths`, the documents' sizes in order (they add up to S, the same for every batch row), or
    `ids`, an integer tensor `(S,)` or `(B, S)`. Ids that come back after another document (not one run) make the
    mask dense. Combine with `causal()` for a packed language model.

    >>> documents([1, 2]).to_dense(3, 3).int()[0, 0]
    tensor([[1, 0, 0],
            [0, 1, 1],
            [0, 1, 1]], dtype=torch.int32)
    """
    if (lengths is None) == (ids is None):
        raise ArgumentError("masks.documents takes either lengths or ids=, exactly one of them.")
    if lengths is not None:
        sizes = torch.as_tensor(lengths)
        if sizes.ndim != 1 or sizes.is_floating_point() or (sizes.numel() and int(sizes.min()) < 0):
            raise ArgumentError(f"document lengths are {lengths!r}; they must be a list of integers >= 0.")
        last = sizes.cumsum(0)
        return Mask((_Documents((last - sizes).repeat_interleave(sizes)[None], last.repeat_interleave(sizes)[None]),))
    tokens = torch.as_tensor(ids)
    tokens = tokens[None] if tokens.ndim == 1 else tokens
    if tokens.ndim != 2 or tokens.is_floating_point():
        raise ShapeError(
            f"document ids have shape {tuple(tokens.shape)}; the rule is integers of shape (S,) or (B, S)."
        )
    change = torch.ones_like(tokens, dtype=torch.bool)
    change[:, 1:] = tokens[:, 1:] != tokens[:, :-1]
    runs = change.sum(-1)
    distinct = torch.tensor([row.unique().numel() for row in tokens], device=tokens.device)
    if not torch.equal(runs, distinct):
        return dense((tokens[:, :, None] == tokens[:, None, :])[:, None])
    place = torch.arange(tokens.shape[1], device=tokens.device).expand_as(tokens)
    first = torch.where(change, place, 0).cummax(-1).values
    end = torch.ones_like(change)
    end[:, :-1] = change[:, 1:]
    last = torch.where(end, place + 1, tokens.shape[1]).flip(-1).cummin(-1).values.flip(-1)
    return Mask((_Documents(first, last),))


def prefix(lengths: int | Sequence[int] | Tensor) -> Mask:
    """Prefix language model: every query sees the first `lengths` keys; beyond them it sees only its past.

    >>> prefix(2).to_dense(3, 3).int()[0, 0]
    tensor([[1, 1, 0],
            [1, 1, 0],
            [1, 1, 1]], dtype=torch.int32)
    """
    sizes = torch.as_tensor(lengths).reshape(-1)
    if sizes.is_floating_point() or (sizes.numel() and int(sizes.min()) < 0):
        raise ArgumentError(f"prefix lengths are {lengths!r}; they must be integers >= 0.")
    return Mask((_Prefix(sizes),))


def spans(start: Tensor, stop: Tensor) -> Mask:
    """Keys `start … stop - 1` of each row, given as integer tensors `(L,)`, `(B, L)` or `(B, H, L)`."""
    arrays = []
    for name, array in (("start", start), ("stop", stop)):
        if array.is_floating_point() or not 1 <= array.ndim <= 3:
            raise ShapeError(
                f"masks.spans {name} is {array.dtype} of shape {tuple(array.shape)}; the rule is integers of shape "
                "(L,), (B, L) or (B, H, L)."
            )
        arrays.append(array.reshape(1, 1, -1) if array.ndim == 1 else array[:, None] if array.ndim == 2 else array)
    shape = torch.broadcast_shapes(arrays[0].shape, arrays[1].shape)
    return Mask((_Spans(arrays[0].expand(shape), arrays[1].expand(shape)),))


def dense(visible: Tensor) -> Mask:
    """Any boolean mask, True = may look, broadcastable to `(B, H, L, S)`. Not analysed: see `recognise`."""
    if visible.dtype != torch.bool:
        raise DtypeError(
            f"mask has dtype {visible.dtype}; the rule is bool, True where the query may look. Use mask.bool() for a "
            "mask of 0 and 1, and bias= for an additive mask (0 and -inf)."
        )
    if not 1 <= visible.ndim <= 4:
        raise ShapeError(
            f"mask has shape {tuple(visible.shape)}; the rule is at most 4 dimensions, broadcastable to (B, H, L, S)."
        )
    return Mask((_Dense(visible.reshape((1,) * (4 - visible.ndim) + tuple(visible.shape))),))


def recognise(mask: Tensor) -> Mask:
    """Turn a tensor mask into spans if each row is one run of visible keys, else keep it dense.

    `mask` is bool (True = may look) or additive (floating, 0 = may look, -inf or the dtype's lowest value =
    may not), broadcastable to `(B, H, L, S)`. An additive tensor with any other value is a bias, not a mask:
    `ArgumentError`. Reads the tensor once, O(size); the answer then saves the hidden part of every call.

    >>> recognise(torch.ones(4, 4, dtype=torch.bool).tril())
    spans(<(1, 1, 4)>)
    """
    visible = mask
    if mask.is_floating_point():
        hidden = mask <= torch.finfo(mask.dtype).min
        if not bool((hidden | (mask == 0)).all()):
            raise ArgumentError(
                "masks.recognise was given an additive tensor with values other than 0 and -inf. That is a bias: pass "
                "it as bias=."
            )
        visible = ~hidden
    unchanged = dense(visible)
    if torch.compiler.is_compiling() or visible.shape[-1] < 2:
        return unchanged
    visible = visible.reshape((1,) * (4 - visible.ndim) + tuple(visible.shape))
    if not _single_runs(visible):
        return unchanged
    start = visible.to(torch.uint8).argmax(-1)
    length = visible.sum(-1)
    if visible.shape[-2] == 1 and visible.shape[1] == 1:
        return Mask((_Padding(start[:, 0, 0], length[:, 0, 0], "right"),))
    return spans(start, start + length)


def _single_runs(visible: Tensor) -> bool:
    # A run begins where a visible key follows a hidden one; one run has at most one beginning.
    begins = (visible[..., 1:] & ~visible[..., :-1]).sum(-1) + visible[..., 0]
    return bool((begins <= 1).all())
