"""Which keys each query may see: a small algebra of spans.

Causal, sliding window, padding, packed documents, prefix and every intersection of them say the same
kind of thing: query row `i` sees the keys `start[i]` to `stop[i]`. So a `Mask` is a list of parts that
each give a span per row; `&` intersects them, and a backend receives two int32 arrays and skips
whole blocks. Only a mask whose rows are not single runs travels as a dense boolean tensor.

A mask is written without sizes (`masks.causal() & masks.window(128, 0)`) and becomes arrays when the
call knows `L` queries and `S` keys. True means "may look" everywhere. A mask is a value: what is written
later into the lengths or spans it was made of does not change it (dense tensors are not copied).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from ._mask_parts import (
    Band,
    Dense,
    Documents,
    Packed,
    Padding,
    Part,
    Prefix,
    ResolvedMask,
    Scattered,
    Spans,
    readable,
)
from ._tracing import traced
from ._values import LARGEST, choice, described, device_of, integers, size, tensor, whole
from .errors import ArgumentError, ArgumentTypeError, DtypeError, ShapeError

__all__ = ["Mask", "causal", "dense", "documents", "padding", "prefix", "recognise", "spans", "window"]

_T = TypeVar("_T")
_REMEMBERED = 8
_REMEMBERED_ROWS = 2**16  # so that a mask remembers 4 MiB at most


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

    parts: tuple[Part, ...] = ()
    _resolved: dict[object, ResolvedMask] = field(default_factory=dict, init=False, repr=False)
    _banded: dict[object, Mask] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        if not isinstance(self.parts, tuple) or not all(hasattr(part, "resolve") for part in self.parts):
            raise ArgumentTypeError(
                f"parts is {described(self.parts)}; a Mask is built by the functions of regard.masks, such as "
                "causal(), and joined with &."
            )

    def __and__(self, other: Mask | Tensor) -> Mask:
        """Intersect with another mask, or with a boolean tensor."""
        if isinstance(other, Tensor):
            other = dense(other)
        return Mask(self.parts + other.parts) if isinstance(other, Mask) else NotImplemented

    __rand__ = __and__

    def __reduce__(self) -> tuple[object, ...]:
        """Copy and pickle what the mask says, not what it remembers."""
        return Mask, (self.parts,)

    def __repr__(self) -> str:
        """Write the mask as the expression that builds it."""
        return " & ".join(map(repr, self.parts)) or "Mask()"

    def banded(self, past: bool, sides: tuple[int | None, int | None] | None) -> Mask:
        """Intersect with what `causal=` and `window=` of a call say; the last answers are remembered."""
        if traced():
            return self._band(past, sides)
        found = self._banded.get((past, sides))
        return found or _remember(self._banded, (past, sides), self._band(past, sides))

    def _band(self, past: bool, sides: tuple[int | None, int | None] | None) -> Mask:
        found = self & causal() if past else self
        return found if sides is None else found & window(*sides)

    def resolve(self, num_queries: int, num_keys: int, device: torch.device | str = "cpu") -> ResolvedMask:
        """Return the arrays for `num_queries` and `num_keys`: spans clamped to the keys, `start <= stop`.

        Shapes: `start`, `stop` int32 `(1 or B, 1 or H, L)`; `dense` bool, broadcastable to `(B, H, L, S)`.
        A part that is absent is None. Costs O(B·L) for spans. Every layer of a model asks for the same sizes, so
        the last answers are remembered: do not write into them.
        """
        num_queries, num_keys = size("num_queries", num_queries, 0), size("num_keys", num_keys, 0)
        device = device_of("device", device)
        if traced():
            return self._resolve(num_queries, num_keys, device)
        sizes = (num_queries, num_keys, device)
        found = self._resolved.get(sizes)
        if found is None:
            with torch.inference_mode(False):
                found = self._resolve(num_queries, num_keys, device)
            if found.dense is None and (found.start is None or found.start.numel() <= _REMEMBERED_ROWS):
                _remember(self._resolved, sizes, found)
        return found

    def _resolve(self, queries: int, keys: int, device: torch.device) -> ResolvedMask:
        start = stop = together = None
        for part in self.parts:
            a, b, c = part.resolve(queries, keys, device)
            if a is not None and b is not None:
                if start is not None and stop is not None:
                    self._check_fit(start, a)
                    a = torch.maximum(start, a)
                    b = torch.maximum(torch.minimum(stop, b), a)
                start, stop = a, b
            if c is not None:
                if together is not None:
                    self._check_fit(together, c)
                    c = together & c
                together = c
        return ResolvedMask(start, stop, together)

    def _check_fit(self, left: Tensor, right: Tensor) -> None:
        if any(x != y and 1 not in (x, y) for x, y in zip(left.shape, right.shape, strict=True)):
            raise ShapeError(
                f"The parts of the mask {self!r} have shapes {tuple(left.shape)} and {tuple(right.shape)}, which do "
                "not broadcast together. Build all parts for the same batch and heads."
            )

    def on_host(self) -> bool:
        """Return whether all that the mask was made of lies on the CPU, where it is read without waiting."""
        held = (value for part in self.parts for value in vars(part).values())
        return all(value.device.type == "cpu" for value in held if isinstance(value, Tensor))

    def is_causal(self, num_queries: int, num_keys: int) -> bool:
        """Return whether row `i` sees exactly the keys `0 … i` of as many keys: what torch calls `is_causal`."""
        num_queries, num_keys = size("num_queries", num_queries, 0), size("num_keys", num_keys, 0)
        band = self.parts[0] if len(self.parts) == 1 else None
        if not isinstance(band, Band) or band.left is not None or band.right != 0 or band.offset:
            return False
        if num_queries != num_keys:  # noqa: SIM103 - asked last, and by a branch: an exporter keeps the answer as a condition
            return False
        return True

    def to_dense(self, num_queries: int, num_keys: int, device: torch.device | str = "cpu") -> Tensor:
        """Return the mask as a bool tensor `(b, h, L, S)`, broadcastable to `(B, H, L, S)`. Costs O(L·S)."""
        start, stop, together = self.resolve(num_queries, num_keys, device)
        column = torch.arange(num_keys, device=device)
        visible = torch.ones(1, 1, num_queries, num_keys, dtype=torch.bool, device=device)
        if start is not None and stop is not None:
            visible = (column >= start[..., None]) & (column < stop[..., None])
        return visible if together is None else visible & together


def _remember(memory: dict[object, _T], key: object, answer: _T) -> _T:
    if len(memory) >= _REMEMBERED:
        memory.clear()
    memory[key] = answer
    return answer


def causal(offset: int | None = None) -> Mask:
    """Each query sees itself and its past.

    Without `offset` the last query is aligned with the last key (bottom-right), which is right for a key/value
    cache; with it query `i` sees the keys up to `i + offset`, so `causal(offset=0)` is the top-left alignment.

    >>> causal().to_dense(2, 3).int()[0, 0]
    tensor([[1, 1, 0],
            [1, 1, 1]], dtype=torch.int32)
    """
    name = "causal()" if offset is None else f"causal(offset={offset})"
    return Mask((Band(None, 0, None if offset is None else whole("causal offset", offset), name),))


def window(left: int | None, right: int | None, offset: int | None = None) -> Mask:
    """Query `i` sees the keys `i - left … i + right`, both ends included, in bottom-right aligned positions.

    `None` leaves that side open. `offset` moves the positions as in `causal`: `offset=0` is the top-left alignment.
    Raises `ArgumentError` for a negative or non-integer side.

    >>> window(1, 1).to_dense(3, 3).int()[0, 0]
    tensor([[1, 1, 0],
            [1, 1, 1],
            [0, 1, 1]], dtype=torch.int32)
    """
    left, right = _side("left", left), _side("right", right)
    offset = None if offset is None else whole("window offset", offset)
    moved = "" if offset is None else f", offset={offset}"
    return Mask((Band(left, right, offset, f"window({left}, {right}{moved})"),))


def _side(name: str, given: int | None) -> int | None:
    if given is None:
        return None
    side = whole(f"window {name}", given)
    if side < 0:
        raise ArgumentError(
            f"window {name} is {side}. A window counts keys on that side of the query: give an integer >= 0, or None "
            "for no limit (other libraries write -1 for that)."
        )
    return side


def padding(real: Tensor | Sequence[int], side: str = "right") -> Mask:
    """Hide padding keys.

    `real` is either a bool tensor `(B, S)`, True at real tokens (an `attention_mask` of 0 and 1 with
    `.bool()`), or integer lengths `(B,)`, whose padding lies on `side` ("right" or "left").
    A boolean mask whose rows are single runs becomes spans; any other stays dense. To see which, a boolean mask is read
    once, here: on a GPU the host waits for it, and for lengths it does not.
    Raises `DtypeError`, `ShapeError`, `ArgumentError`.

    >>> padding([1, 2]).to_dense(1, 2).int()[:, 0, 0]
    tensor([[1, 0],
            [1, 1]], dtype=torch.int32)
    """
    choice("side", side, ("right", "left"))
    visible = _boolean(real)
    if visible is not None:
        if visible.ndim != 2:
            raise ShapeError(f"masks.padding real has shape {tuple(visible.shape)}; the rule of a mask is (B, S).")
        return recognise(visible[:, None, None, :])
    rule = (
        "a bool mask (B, S) with True at real tokens (mask.bool() if it holds 0 and 1), or integer lengths (B,), >= 0"
    )
    lengths = _lengths("masks.padding real", real, (1,), rule)
    return Mask((Padding(lengths, side, int(lengths.max()) if readable(lengths) else 0),))


def documents(lengths: Sequence[int] | Tensor | None = None, *, ids: Tensor | None = None) -> Mask:
    """Several documents packed into one sequence: a query sees only the keys of its own document.

    Give either `lengths`, the documents' sizes in order (they add up to S, the same for every batch row), or
    `ids`, an integer tensor `(S,)` or `(B, S)`. Ids that come back after another document (not one run) make the
    mask dense, and so do ids that are made inside a compiled graph. Ids are read once, here: on a GPU the host waits
    for them, and for lengths it does not. Combine with `causal()` for a packed language model.

    >>> documents([1, 2]).to_dense(3, 3).int()[0, 0]
    tensor([[1, 0, 0],
            [0, 1, 1],
            [0, 1, 1]], dtype=torch.int32)
    """
    if (lengths is None) == (ids is None):
        raise ArgumentError("masks.documents takes either lengths or ids=, exactly one of them.")
    if lengths is not None:
        sizes = _lengths("masks.documents lengths", lengths, (1,), "a list of document lengths, integers >= 0")
        if readable(sizes) and int(sizes.max()) > LARGEST:  # their sum would not fit 64 bits
            raise ArgumentError(
                f"masks.documents lengths holds {int(sizes.max())}; a document has at most {LARGEST} tokens."
            )
        total = None if sizes.device.type != "cpu" or traced() else int(sizes.sum())
        return Mask((Packed(sizes, total),))
    tokens = integers("masks.documents ids", ids, (1, 2), "integers of shape (S,) or (B, S)", wide=False)
    tokens = tokens[None] if tokens.ndim == 1 else tokens
    change = tokens[:, 1:] != tokens[:, :-1]
    if traced() or not _each_one_run(tokens, change):
        return Mask((Scattered(tokens.clone()),))
    keys = tokens.shape[1]
    edge = torch.ones(tokens.shape[0], min(keys, 1), dtype=torch.bool, device=tokens.device)
    place = torch.arange(keys, device=tokens.device)
    first = torch.where(torch.cat((edge, change), 1), place, 0).cummax(-1).values
    last = torch.where(torch.cat((change, edge), 1), place + 1, keys).flip(-1).cummin(-1).values.flip(-1)
    return Mask((Documents(first, last),))


def _each_one_run(ids: Tensor, change: Tensor) -> bool:
    # Sorted, equal ids stand together. If there are as many changes before, they stood together already.
    ordered = ids.sort(-1).values
    return torch.equal((ordered[:, 1:] != ordered[:, :-1]).sum(-1), change.sum(-1))


def prefix(lengths: int | Sequence[int] | Tensor) -> Mask:
    """Prefix language model: every query sees the first `lengths` keys; beyond them it sees only its past.

    `lengths` is one number, or one for each batch row.

    >>> prefix(2).to_dense(3, 3).int()[0, 0]
    tensor([[1, 1, 0],
            [1, 1, 0],
            [1, 1, 1]], dtype=torch.int32)
    """
    sizes = _lengths("masks.prefix lengths", lengths, (0, 1), "integers >= 0, one or one per batch row")
    return Mask((Prefix(sizes.reshape(-1)),))


def _lengths(name: str, given: int | Sequence[int] | Tensor, ranks: tuple[int, ...], rule: str) -> Tensor:
    """Return lengths as an int64 tensor of its own."""
    lengths = integers(name, given, ranks, rule)
    if readable(lengths) and int(lengths.min()) < 0:
        raise ArgumentError(f"{name} holds {int(lengths.min())}; the rule is {rule}.")
    return lengths.clone()


def _boolean(given: object) -> Tensor | None:
    """Return what was given as a bool tensor if that is what it holds."""
    if isinstance(given, Tensor):
        return given if given.dtype == torch.bool else None
    if torch.compiler.is_compiling() and isinstance(given, list | tuple):  # the compiler knows NumPy in part
        given = torch.tensor(given)
        return given if given.dtype == torch.bool else None
    try:
        found = np.asarray(given)
    except ValueError:  # rows of different lengths
        return None
    return torch.from_numpy(found.copy()) if found.dtype == np.bool_ else None


def spans(start: Tensor, stop: Tensor) -> Mask:
    """Keys `start … stop - 1` of each row, given as integer tensors `(L,)`, `(B, L)` or `(B, H, L)`.

    A span that ends before it starts sees nothing; what lies outside the keys is cut off.

    >>> spans(torch.tensor([0, 1]), torch.tensor([2, 3])).to_dense(2, 3).int()[0, 0]
    tensor([[1, 1, 0],
            [0, 1, 1]], dtype=torch.int32)
    """
    arrays = []
    for name, given in (("start", start), ("stop", stop)):
        array = integers(f"masks.spans {name}", given, (1, 2, 3), "integers of shape (L,), (B, L) or (B, H, L)")
        arrays.append(array.reshape(1, 1, -1) if array.ndim == 1 else array[:, None] if array.ndim == 2 else array)
    pairs = list(zip(arrays[0].shape, arrays[1].shape, strict=True))
    if any(a != b and 1 not in (a, b) for a, b in pairs):
        raise ShapeError(
            f"masks.spans start has shape {tuple(arrays[0].shape)} and stop {tuple(arrays[1].shape)}. Give both one "
            "shape, with one entry per query."
        )
    shape = [b if a == 1 else a for a, b in pairs]
    return Mask((Spans(arrays[0].expand(shape).clone(), arrays[1].expand(shape).clone()),))


def dense(visible: Tensor) -> Mask:
    """Any boolean mask, True = may look, broadcastable to `(B, H, L, S)`. Not analysed: see `recognise`.

    >>> strided = (torch.arange(3)[:, None] - torch.arange(3)) % 2 == 0
    >>> torch.equal(dense(strided).to_dense(3, 3)[0, 0], strided)
    True
    """
    found = visible if isinstance(visible, Tensor) else _boolean(visible)
    if found is None:
        raise DtypeError(f"mask is {described(visible)}; the rule is a bool tensor, True where the query may look.")
    visible = found
    if visible.dtype != torch.bool:
        raise DtypeError(
            f"mask has dtype {visible.dtype}; the rule is bool, True where the query may look. Use mask.bool() for a "
            "mask of 0 and 1, and bias= for an additive mask (0 and -inf)."
        )
    if not 1 <= visible.ndim <= 4:
        raise ShapeError(
            f"mask has shape {tuple(visible.shape)}; the rule is 1 to 4 dimensions, broadcastable to (B, H, L, S)."
        )
    return Mask((Dense(_four_dimensional(visible)),))


def _four_dimensional(tensor: Tensor) -> Tensor:
    return tensor.reshape((1,) * (4 - tensor.ndim) + tuple(tensor.shape)) if tensor.ndim < 4 else tensor


def recognise(mask: Tensor) -> Mask:
    """Turn a tensor mask into spans if each row is one run of visible keys, else keep it dense.

    `mask` is bool (True = may look) or additive (floating, 0 = may look, -inf or the dtype's lowest value =
    may not), broadcastable to `(B, H, L, S)`. An additive tensor with any other value is a bias, not a mask:
    `ArgumentError`. Reads the tensor once, O(size); the answer then saves the hidden part of every call. Inside a
    compiled graph nothing can be read: the mask stays dense, and an additive one is trusted to be one.

    >>> recognise(torch.ones(4, 4, dtype=torch.bool).tril())
    spans(<(1, 1, 4)>)
    """
    visible = tensor("mask", mask)
    if mask.is_floating_point():
        hidden = mask <= torch.finfo(mask.dtype).min
        if not (traced() or mask.is_meta) and not bool((hidden | (mask == 0)).all()):
            raise ArgumentError(
                "mask is an additive tensor with values other than 0 and -inf. That is a bias: pass it as bias=."
            )
        visible = ~hidden
    unchanged = dense(visible)
    visible = _four_dimensional(visible)
    keys = visible.shape[-1]
    if traced() or mask.is_meta or keys < 2:  # one column stands for any number of keys
        return unchanged
    for axis in range(3):
        if visible.stride(axis) == 0:  # an expanded mask says the same thing many times
            visible = visible.narrow(axis, 0, min(visible.shape[axis], 1))
    # NumPy finds the first True of a row many times faster than torch does.
    visible = visible.cpu()
    first = torch.as_tensor(visible.numpy().argmax(-1))
    last = keys - torch.as_tensor(visible.flip(-1).numpy().argmax(-1))
    count = visible.sum(-1, dtype=torch.int32)
    if not bool(((last - first == count) | (count == 0)).all()):
        return unchanged
    first = first.to(mask.device, torch.int32)
    return Mask((Spans(first, first + count.to(mask.device), keys),))
