"""Heads that share keys, as transformers lays them out before it calls SDPA: restored to one key head a group.

With a mask it repeats the keys for each head of a group; for a single query it packs the heads of a group into the
query dimension. Recorded as they come, the first would keep each key several times and the second would show heads
as queries.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

__all__ = ["Grouped", "grouped"]


class Grouped(NamedTuple):
    """A call with one key head a group."""

    query: Tensor
    key: Tensor
    value: Tensor
    mask: Tensor | None
    packed: bool
    """Whether the output must be packed again, `(B, G, H / G, Ev)`."""


def grouped(module: nn.Module | None, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Grouped:
    """Return the call with the heads that the model has; as it is where the module says nothing of groups."""
    if module is None:
        return Grouped(query, key, value, mask, False)
    together = getattr(module, "num_key_value_groups", 1)
    heads = getattr(getattr(module, "config", None), "num_key_value_heads", None)
    if not isinstance(together, int) or together < 2 or query.ndim != 4 or query.shape[1] != key.shape[1]:
        return Grouped(query, key, value, mask, False)
    batch, found, rows, width = query.shape
    if found == heads and rows == together:
        if mask is not None and mask.ndim == 4 and mask.shape[1] > 1:
            mask = mask.reshape(mask.shape[0], found * together, 1, mask.shape[3])
        return Grouped(query.reshape(batch, found * together, 1, width), key, value, mask, True)
    if found % together == 0 and _repeats(key, together) and _repeats(value, together):
        return Grouped(query, key[:, ::together], value[:, ::together], mask, False)
    return Grouped(query, key, value, mask, False)


def _repeats(heads: Tensor, together: int) -> bool:
    each = heads.unflatten(1, (-1, together))
    return all(torch.equal(each[:, :, 0], each[:, :, place]) for place in range(1, together))
