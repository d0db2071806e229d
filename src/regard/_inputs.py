"""One call, checked and brought to one form: what every backend receives and what it gives back.

`TENSORS` says of each tensor of a call along which sizes it lies, and `AttentionInputs` what it means. Whatever copies,
moves, cuts, keeps or differentiates a call goes by that table, so a new feature is a line there and a field here.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

NeedWeights = bool | Literal["summary"]
"""Whether a call's weights will be looked at; "summary": only what a recording of summaries keeps of them."""
Index = slice | Tensor


class TensorOfCall(NamedTuple):
    """What there is to know of one tensor of a call, whatever it holds."""

    axes: str
    """A letter for each dimension, as in `AttentionInputs`; the size of a small one may be 1 for "the same everywhere".
    D stands for the `L + S - 1` distances."""
    called: str | None = None
    """What the caller calls it; None where he holds no such tensor."""
    learnt: bool = False
    """Gradients may flow into it."""


# What a kernel takes, in the order of `flat`; those that gradients may flow into come first.
KERNEL_TENSORS = {
    "query": TensorOfCall("BHLE", "query", learnt=True),
    "key": TensorOfCall("BGSE", "key", learnt=True),
    "value": TensorOfCall("BGSE", "value", learnt=True),
    "position_bias": TensorOfCall("hD", "the bias", learnt=True),
    "bias": TensorOfCall("bhls", "the bias", learnt=True),
    "start": TensorOfCall("bhL"),
    "stop": TensorOfCall("bhL"),
    "dense_mask": TensorOfCall("bhls", "the mask"),
    "seed": TensorOfCall(""),
}
KERNEL_LEARNT = tuple(name for name, tensor in KERNEL_TENSORS.items() if tensor.learnt)
# Sinks take their share of what a kernel gives.
TENSORS = KERNEL_TENSORS | {"sinks": TensorOfCall("bhl", "the sinks", learnt=True)}


class Spans(NamedTuple):
    """One run of visible keys for each query."""

    start: Tensor
    """int32 `(1 or B, 1 or H, L)`: first visible key of each row."""
    stop: Tensor
    """int32, same shape: one past the last visible key, `0 <= start <= stop <= S`."""
    causal: bool = False
    """They say exactly "row `i` sees the keys `0 … i`", with `L == S`."""


class Dropout(NamedTuple):
    """Which weights are dropped in the product with `value`."""

    probability: float
    """In (0, 1)."""
    seed: Tensor
    """int64 scalar tensor: the Philox key."""


@dataclass(frozen=True, slots=True)
class AttentionInputs:
    """A call of attention whose shapes, dtypes and devices agree. Made by `regard.attention`, read by backends.

    Sizes: `B` batch, `H` query heads, `G` key/value heads (`H % G == 0`), `L` queries, `S` keys, `E` head width,
    `Ev` value width. None means that the call does not use the feature.
    """

    query: Tensor
    """`(B, H, L, E)`, any strides."""
    key: Tensor
    """`(B, G, S, E)`, same dtype and device."""
    value: Tensor
    """`(B, G, S, Ev)`, same dtype and device."""
    scale: float
    """Factor on `query · key`."""
    spans: Spans | None = None
    dense_mask: Tensor | None = None
    """bool, 4-D, each size 1 or full, True = may look; holds together with the spans."""
    position_bias: Tensor | None = None
    """Floating `(1 or H, L + S - 1)`: entry `j - i + L - 1` is added for query `i`, key `j`."""
    bias: Tensor | None = None
    """Floating, 4-D, each size 1 or full: added to the scores after the softcap. -inf hides the key."""
    softcap: float | None = None
    """`c` in `c · tanh(score / c)`, before any bias."""
    dropout: Dropout | None = None
    sinks: Tensor | None = None
    """Floating `(1 or B, 1 or H, 1 or L)`: score of one more key of each row, which holds no value."""
    need_weights: NeedWeights = False
    """The caller will look at the weights: return `lse`, and a map where it is nearly free. "summary": a summary, too,
    where it costs less now than later."""

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """The shape of the attention matrix, `(B, H, L, S)`."""
        return self.query.shape[0], self.query.shape[1], self.query.shape[2], self.key.shape[2]

    @property
    def causal(self) -> bool:
        """Whether the spans say exactly that row `i` sees the keys `0 … i`, with `L == S`."""
        return self.spans is not None and self.spans.causal

    @property
    def requires_grad(self) -> bool:
        """Whether gradients may flow into some tensor of the call."""
        for tensor in self._learnt():  # noqa: SIM110 (a generator takes longer)
            if tensor is not None and tensor.requires_grad:
                return True
        return False

    @property
    def weights_require_grad(self) -> bool:
        """The same without the value, which has no part in the weights."""
        query, key, _, *others = self._learnt()
        return any(tensor is not None and tensor.requires_grad for tensor in (query, key, *others))

    def _learnt(self) -> tuple[Tensor | None, ...]:
        return *self.flat()[: len(KERNEL_LEARNT)], self.sinks

    def flat(self) -> tuple[Any, ...]:
        """Return what a kernel takes as a list: each of `KERNEL_TENSORS` or None, then the numbers.

        `from_flat` joins it again: autograd, `torch.func` and operators see no tensor that is part of something.
        """
        start, stop = (None, None) if self.spans is None else self.spans[:2]
        dropout, seed = (0.0, None) if self.dropout is None else self.dropout
        return (
            self.query, self.key, self.value, self.position_bias, self.bias, start, stop, self.dense_mask, seed,
            self.scale, self.softcap, dropout,
        )  # fmt: skip

    @classmethod
    def from_flat(
        cls,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        position_bias: Tensor | None = None,
        bias: Tensor | None = None,
        start: Tensor | None = None,
        stop: Tensor | None = None,
        dense_mask: Tensor | None = None,
        seed: Tensor | None = None,
        scale: float = 1.0,
        softcap: float | None = None,
        dropout: float = 0.0,
        *,
        sinks: Tensor | None = None,
        causal: bool = False,
        need_weights: NeedWeights = False,
    ) -> AttentionInputs:
        """Return the call that these parts describe."""
        spans = None if start is None or stop is None else Spans(start, stop, causal)
        dropped = None if seed is None else Dropout(dropout, seed)
        return cls(
            query, key, value, scale, spans, dense_mask, position_bias, bias, softcap, dropped, sinks, need_weights
        )

    def tensors(self) -> dict[str, Tensor]:
        """Return the tensors of the call by their names in `TENSORS`."""
        every = zip(TENSORS, (*self.flat()[: len(KERNEL_TENSORS)], self.sinks), strict=True)
        return {name: tensor for name, tensor in every if tensor is not None}

    def map(self, change: Callable[[Tensor], Tensor], names: Collection[str] = tuple(TENSORS)) -> AttentionInputs:
        """Return the call with each of its tensors changed, or only some of them."""
        return self._each(lambda name, tensor: change(tensor) if name in names else tensor)

    def select(self, rows: Index, columns: Index) -> AttentionInputs:
        """Return the call of only these queries and keys, without dropout.

        Positions are lost, so spans become a dense mask and a position bias a dense bias, both of that rectangle.
        """
        index = {"L": rows, "S": columns}
        part = self._each(lambda name, tensor: cut(tensor, TENSORS[name].axes, index))
        device, (_, _, queries, keys) = self.query.device, self.shape
        column = torch.arange(keys, device=device)[columns]
        seen, bias = part.dense_mask, part.bias
        if part.spans is not None:
            inside = (column >= part.spans.start[..., None]) & (column < part.spans.stop[..., None])
            seen = inside if seen is None else seen & inside
        if part.position_bias is not None:
            row = torch.arange(queries, device=device)[rows]
            along = part.position_bias[None, :, column - row[:, None] + queries - 1]
            bias = along if bias is None else bias + along
        return replace(part, spans=None, dense_mask=seen, position_bias=None, bias=bias, dropout=None)

    def of_heads(self, batch: Index, heads: Index) -> AttentionInputs:
        """Return the call of some batch rows and query heads, without dropout."""
        index = {"B": batch, "H": heads, "G": key_heads(heads, self)}
        return replace(self._each(lambda name, tensor: cut(tensor, TENSORS[name].axes, index)), dropout=None)

    def _each(self, change: Callable[[str, Tensor], Tensor]) -> AttentionInputs:
        made: dict[str, Any] = {name: change(name, tensor) for name, tensor in self.tensors().items()}
        return self.from_flat(
            **made, scale=self.scale, softcap=self.softcap, dropout=self.dropout.probability if self.dropout else 0.0,
            causal=self.causal, need_weights=self.need_weights,
        )  # fmt: skip


def cut(tensor: Tensor, axes: str, index: Mapping[str, Index]) -> Tensor:
    """Return a part of a tensor that lies along `axes`, as in `TensorOfCall`."""
    for axis, letter in enumerate(axes):
        chosen = index.get(letter.upper())
        if chosen is not None and (letter.isupper() or tensor.shape[axis] > 1):
            tensor = tensor[(*(slice(None),) * axis, chosen)]
    return tensor


def key_heads(heads: Index, x: AttentionInputs) -> Index:
    """Return the key/value head that each of these query heads reads; one for several where they are all of its."""
    every, groups = x.query.shape[1], x.key.shape[1]
    if every == groups:
        return heads
    together = every // groups
    if isinstance(heads, slice):
        first, last, step = heads.indices(every)
        if step == 1 and last > first:
            if first % together == 0 and last % together == 0:
                return slice(first // together, last // together)
            if first // together == (last - 1) // together:
                return slice(first // together, first // together + 1)
        heads = torch.arange(every, device=x.query.device)[heads]
    return heads // together


KEPT_TOP = 4
"""Largest weights of each row that a summary keeps."""
# A summary's map has at most this many cells a side.
_CELLS = 64


@dataclass(frozen=True, eq=False)
class Summary:
    """What is kept of the weights of one call: O(n), without gradient; `(B, H, …)`, in the weights' dtype unless said.

    A backend makes it with the output or afterwards, a recording keeps it, and questions are answered from it.
    """

    cell: int
    """Tokens per side of a cell of `map`: a power of two."""
    map: Tensor
    """`(B, H, ⌈L/cell⌉, ⌈S/cell⌉)`: mean over queries of the sum over keys."""
    masked: Tensor
    """bool, broadcastable to `map`: cells of which no query may see any key."""
    entropy: Tensor
    """`(B, H, L)`, nats."""
    distance: Tensor
    """`(B, H, L)`: sum of weight times distance in tokens, the last query on the last key."""
    received: Tensor
    """`(B, H, S)`, sum over queries."""
    top: Tensor
    """`(B, H, L, KEPT_TOP)`: the largest weights of each row, the largest first; 0 where it sees fewer keys."""
    top_keys: Tensor
    """int32, same shape: their keys, -1 where the row sees fewer."""
    neighbours: Tensor
    """`(B, H, 3)`: sums over queries of the weight on the key before, at and after their own place."""
    lse: Tensor
    """`(B, H, L)`: natural log of each row's sum of exponentials, -inf where it sees nothing."""
    visible_keys: Tensor
    """int64, broadcastable to `(B, H, L)`: keys that each query may see."""
    visible_queries: Tensor
    """int64, broadcastable to `(B, H, S)`: queries that may see each key."""

    def each(self, change: Callable[[Tensor], Tensor]) -> Summary:
        """Return the summary with every tensor changed."""
        return Summary(self.cell, **{name: change(getattr(self, name)) for name in _SUMMARY})

    def of_heads(self, batch: Index, heads: Index) -> Summary:
        """Return the summary of some batch rows and query heads."""
        index = {"B": batch, "H": heads}
        return Summary(self.cell, **{name: cut(getattr(self, name), axes, index) for name, axes in _SUMMARY.items()})


# Along which sizes each tensor lies, as in `TensorOfCall`; what is said of all queries or keys has other letters.
_SUMMARY = {
    "map": "BHQK",
    "masked": "bhqk",
    "entropy": "BHL",
    "distance": "BHL",
    "received": "BHS",
    "top": "BHLT",
    "top_keys": "BHLT",
    "neighbours": "BHN",
    "lse": "BHL",
    "visible_keys": "bhL",
    "visible_queries": "bhS",
}


def summary_cell(length: int) -> int:
    """Return the tokens per side of a cell of a summary's map, for the longer of queries and keys."""
    return 1 << (max(1, -(-length // _CELLS)) - 1).bit_length()


class AttentionResult(NamedTuple):
    """What a backend returns."""

    output: Tensor
    """`(B, H, L, Ev)`, dtype of the query."""
    lse: Tensor | None = None
    """Natural log-sum-exp of each row's scores, `(B, H, L)`, float32 (float64 for float64); -inf where a row sees
    nothing. None where the backend cannot tell: the weights then compute it when they need it."""
    lse_has_gradient: bool = False
    """True if gradients flow through `lse`; otherwise the weights compute their own where a gradient is needed."""
    map: Tensor | None = None
    """`(B, H, ceil(L / cell), ceil(S / cell))` float32: mean over queries of the sum over keys, no gradient."""
    map_cell: int = 0
    """Tokens per side of a cell of `map`."""
    summary: Summary | None = None
    """All that a recording keeps, no gradient; there is no other map then."""
    backend: str | None = None
    """Which backend computed it, where that is another than the one that was asked."""
