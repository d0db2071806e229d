"""Checks that every kind of attention makes of its arguments, with one wording."""

from __future__ import annotations

import torch
from torch import Tensor

from . import masks
from ._tracing import jit_traced, traced
from ._values import described, flag, tensor, whole
from .errors import ArgumentError, DeviceError, DtypeError, ShapeError
from .masks import Mask

_DTYPES = (torch.float32, torch.bfloat16, torch.float16, torch.float64)
_EVERYTHING = Mask()
_TINY = 1024


def checked_tensors(query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor, Tensor, int]:
    """Return the three tensors as `(B, H, L, E)`, `(B, G, S, E)`, `(B, G, S, Ev)`, and the rank that was given."""
    if not (isinstance(query, Tensor) and isinstance(key, Tensor) and isinstance(value, Tensor)):
        for name, given in (("query", query), ("key", key), ("value", value)):
            tensor(name, given)
    rank = query.ndim
    if not 2 <= rank <= 4 or key.ndim != rank or value.ndim != rank:
        raise ShapeError(
            f"{_shapes(query, key, value)} differ in rank or have the wrong one. Give all three as (B, H, L, E), "
            "(H, L, E) or (L, E)."
        )
    if not query.is_meta and torch.is_autocast_enabled(query.device.type):
        query, key, value = _autocast(query, key, value)
    if not (query.dtype == key.dtype == value.dtype) or query.dtype not in _DTYPES:
        raise DtypeError(
            f"query, key and value are {query.dtype}, {key.dtype}, {value.dtype}. All three need one dtype out of "
            "float32, bfloat16, float16, float64; convert with .to(dtype)."
        )
    if not (query.device == key.device == value.device):
        raise DeviceError(
            f"query, key and value lie on {query.device}, {key.device}, {value.device}. Move them to one device."
        )
    if rank != 4:
        ones = (1,) * (4 - rank)
        query, key, value = (t.reshape(ones + tuple(t.shape)) for t in (query, key, value))
    b, h, _, e = query.shape
    kb, g, s, ke = key.shape
    vb, vg, vs, _ = value.shape
    if not (b == kb == vb and g == vg and s == vs and e == ke):
        raise ShapeError(
            f"{_shapes(query, key, value)} do not fit together. The rule: query (B, H, L, E), key (B, G, S, E), "
            "value (B, G, S, Ev): one batch, one E for query and key, one G and S for key and value."
        )
    if (h % g if g else h) != 0:
        raise ShapeError(
            f"The query has {h} heads and the key {g}: {h} is no multiple of {g}. With grouped heads every key/value "
            "head serves the same number of query heads."
        )
    return query, key, value, rank


def _shapes(query: Tensor, key: Tensor, value: Tensor) -> str:
    return f"query {tuple(query.shape)}, key {tuple(key.shape)}, value {tuple(value.shape)}"


def _autocast(*tensors: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    # As torch does for its own attention: float32 and half are brought to autocast's dtype, float64 is left alone.
    dtype = torch.get_autocast_dtype(tensors[0].device.type)
    q, k, v = (t.to(dtype) if t.is_floating_point() and t.dtype != torch.float64 else t for t in tensors)
    return q, k, v


def check_mask(name: str, mask: Mask | Tensor | None) -> Mask | Tensor | None:
    """Return a mask as it is. Raises `DtypeError`."""
    if not (mask is None or isinstance(mask, Mask) or (isinstance(mask, Tensor) and mask.dtype == torch.bool)):
        to_do = " Use mask.bool() for a mask of 0 and 1, and bias= for an additive mask (0 and -inf)."
        raise DtypeError(
            f"{name} is {described(mask)}; give a regard.masks mask, or a bool tensor, True where the query may look."
            f"{to_do if isinstance(mask, Tensor) else ''}"
        )
    return mask


def joined_mask(
    mask: Mask | Tensor | None, causal: bool, window: tuple[int | None, int | None] | None, queries: int, keys: int
) -> Mask | None:
    """Return what `mask`, `causal` and `window` say together, or None; a tensor mask is looked through for spans."""
    if window is not None:
        if not (isinstance(window, tuple | list) and len(window) == 2):
            raise ArgumentError(
                f"window is {described(window)}; give a pair (left, right), with None for an open side."
            )
        left, right = window
        window = (
            None if left is None else whole("window left", left),
            None if right is None else whole("window right", right),
        )
    if type(causal) is not bool:
        causal = flag("causal", causal)
    if causal and not jit_traced() and queries == 1:  # a single query is the last one and sees every key
        causal = False
    if mask is None:
        if not causal and window is None:
            return None
        mask = _EVERYTHING
    elif isinstance(mask, Tensor):
        check_mask("mask", mask)
        given = masks.dense(mask)
        given.resolve(queries, keys, mask.device)  # a wrong shape is named as it was given
        # Looking for spans reads the mask once: too much for a tiny call, and an accelerator's host would wait.
        mask = masks.recognise(mask) if not traced() and mask.device.type == "cpu" and queries * keys > _TINY else given
    else:
        check_mask("mask", mask)
    if not causal and window is None:
        return mask
    return mask.banded(causal, window)
