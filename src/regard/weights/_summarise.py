"""From the weights of a call to what is kept of it: one look at every weight where the native kernel can."""

from __future__ import annotations

from functools import lru_cache
from typing import cast

import torch
from torch import Tensor
from torch.utils.weak import WeakIdKeyDictionary

from ..backends.native import cannot_inspect, summary, summary_cell
from ._matrix import AttentionWeights
from ._one_look import one_look
from ._questions import full_precision, sums_rows
from ._source import SoftmaxSource, WeightSource
from ._stored import Summary

__all__ = ["summarise", "summary_cell"]

_Seen = tuple[Tensor, Tensor, Tensor]
# All layers of a model see the same spans: what follows from the last ones is kept as long as they live.
_SEEN = WeakIdKeyDictionary()


def summarise(weights: AttentionWeights) -> Summary:
    """Compute the summaries of a call, without gradient; memory O(n).

    Time of softmax weights on the CPU less than that of a forward pass, elsewhere that of five; next to nothing where
    the call was made with `need_weights="summary"`.
    """
    with torch.no_grad(), full_precision(weights.device.type):
        whole = AttentionWeights(weights._source.fresh().detached(), 4, sums_to_one=weights.sums_to_one)
        source = whole._ready(differentiable=False)
        cell = summary_cell(max(source.shape[2:]))
        seen = _seen(weights._source, whole, cell)
        lse = source.lse if source.lse is not None else whole.lse
        native = isinstance(source, SoftmaxSource) and source.log_factor is None and sums_rows(source)
        if source.summary is not None:
            found = source.summary
        elif native and cannot_inspect(source.inputs) is None:
            found = summary(source.inputs, lse, cell)
        else:
            found = one_look(source, cell)
        entropy = found.entropy if weights.sums_to_one else whole.entropy()
        return Summary(
            cell, found.map, seen[0], entropy, found.distance, found.received, found.links, found.link_keys,
            found.near, lse, *seen[1:],
        )  # fmt: skip


def _seen(source: WeightSource, whole: AttentionWeights, cell: int) -> _Seen:
    """Return masked cells, keys that each query sees, queries that see each key."""
    x = source.inputs
    plain = x.dense_mask is None and x.bias is None and x.position_bias is None
    key = (cell, *source.shape[2:])
    if plain and x.spans is None:
        return _everything(*key, source.device)
    if plain and x.spans is not None and x.spans.start in _SEEN:
        known, stop, seen = _SEEN[x.spans.start]
        if known == key and stop is x.spans.stop:
            return cast(_Seen, seen)
    small = tuple(_small(t) for t in (whole.masked(cell), whole.visible_keys(), source.counts()))
    seen = (small[0], small[1], small[2])
    if plain and x.spans is not None:
        _SEEN[x.spans.start] = (key, x.spans.stop, seen)
    return seen


@lru_cache(maxsize=4)
def _everything(cell: int, queries: int, keys: int, device: torch.device) -> _Seen:
    """Return what is seen where nothing is hidden; shared by all layers, so nobody writes to it."""
    masked = torch.zeros(1, 1, -(-queries // cell), -(-keys // cell), dtype=torch.bool, device=device)
    one = torch.ones((), dtype=torch.int64, device=device)
    return masked, (one * keys).expand(1, 1, queries), (one * queries).expand(1, 1, keys)


def _small(tensor: Tensor) -> Tensor:
    # What is the same for all inputs or heads is kept once.
    for dim in (0, 1):
        if tensor.shape[dim] > 1 and tensor.stride(dim) == 0:
            tensor = tensor.narrow(dim, 0, 1)
    return tensor
