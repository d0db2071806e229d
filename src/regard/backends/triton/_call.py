"""What every kernel is told of a call, as one argument: a named tuple, whose None is known when a kernel compiles."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..._inputs import AttentionInputs
from .._philox import threshold

Strides = tuple[int, int, int]
"""Batch, head, row."""

_LOG2E = 1 / math.log(2)
# Below it the product with a difference of scores might be a number that hardware takes for zero.
_LEAST_FACTOR = 1e-30
_NARROWEST = 16
"""The least width that a product of tiles takes."""


class Call(NamedTuple):
    """A call of attention. Strides are in elements; the last dimension of query, key and value is contiguous."""

    query: Tensor
    key: Tensor
    value: Tensor
    query_strides: Strides
    key_strides: Strides
    value_strides: Strides
    heads: int
    shared: int
    """Query heads of a key/value head."""
    queries: int
    keys: int
    scale: float
    factor: float | None
    """`scale · log2(e)` where scores are compared as they come out of the product: no bias, no cap, a scale above 0."""
    softcap: float | None
    causal: int | None
    """1 where the spans say exactly that row `i` sees the keys `0 … i`: then there is no `start` and no `stop`."""
    start: Tensor | None
    stop: Tensor | None
    span_strides: tuple[int, int]
    """Batch, head; rows lie side by side."""
    mask: Tensor | None
    mask_strides: tuple[int, int, int, int]
    position: Tensor | None
    position_stride: int
    """Head; distances lie side by side."""
    bias: Tensor | None
    bias_strides: tuple[int, int, int, int]
    seed: Tensor | None
    """int64, one element, on the device."""
    threshold: int
    """The random word below which a weight is dropped."""
    kept: float
    """Factor on the weights that are kept."""


def plain_rows(tensor: Tensor) -> Tensor:
    """Return the tensor, copied only if its last dimension is not contiguous: the others may have any strides."""
    return tensor if tensor.stride(-1) == 1 or tensor.shape[-1] == 1 else tensor.contiguous()


def describe(x: AttentionInputs) -> Call:
    """Return what the kernels are told of a call. Keep it while they run: it may hold copies."""
    query, key, value = (plain_rows(tensor) for tensor in (x.query, x.key, x.value))
    start = stop = None
    if x.spans is not None and not x.causal:
        start, stop = x.spans[:2]
        if start.stride() != stop.stride() or start.stride(2) != 1:
            start, stop = start.contiguous(), stop.contiguous()
    position = None if x.position_bias is None else x.position_bias.contiguous()
    raw = x.softcap is None and x.bias is None and position is None and x.scale * _LOG2E >= _LEAST_FACTOR
    seed, drops_below, kept = None, 0, 1.0
    if x.dropout is not None:
        probability, seed = x.dropout
        drops_below, kept = threshold(probability), 1 / (1 - probability)
        if seed.device != query.device:
            # By value: a copy from the host would wait for it, and stand in the way of a captured graph.
            seed = torch.full((), int(seed), dtype=torch.int64, device=query.device)
    return Call(
        query, key, value, strides_of(query), strides_of(key), strides_of(value),
        query.shape[1], query.shape[1] // key.shape[1], query.shape[2], key.shape[2],
        x.scale, x.scale * _LOG2E if raw else None, x.softcap,
        1 if x.causal else None, start, stop, _across(start)[:2],
        x.dense_mask, _across(x.dense_mask), position, _across(position)[0], x.bias, _across(x.bias),
        seed, drops_below, kept,
    )  # fmt: skip


def strides_of(tensor: Tensor) -> Strides:
    """Return the strides of a 4-D tensor whose last dimension is contiguous."""
    batch, head, row, _ = tensor.stride()
    return batch, head, row


def _across(tensor: Tensor | None) -> Any:
    """Return the strides, 0 where a size of 1 stands for all; zeros for no tensor."""
    if tensor is None:
        return (0, 0, 0, 0)
    return tuple(stride if size > 1 else 0 for size, stride in zip(tensor.shape, tensor.stride(), strict=True))


def widths(x: AttentionInputs) -> dict[str, int]:
    """Return the sizes that are fixed when a kernel compiles: widths as they are and as tiles hold them."""
    width, value_width = x.query.shape[3], x.value.shape[3]
    return {"E": width, "EV": value_width, "BE": _power(width), "BEV": _power(value_width)}


def _power(size: int) -> int:
    return max(_NARROWEST, 1 << (size - 1).bit_length())
