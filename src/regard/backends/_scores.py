"""Scores of any rectangle of the attention matrix, in PyTorch: shared by `math` and by the lazy weights."""

from __future__ import annotations

import torch
from torch import Tensor

from .._inputs import AttentionInputs
from .._tracing import recorded, sizes
from ._values import all_finite, readable


def accumulate_dtype(dtype: torch.dtype) -> torch.dtype:
    """Return the dtype in which scores and softmax are computed: float64 for float64, else float32."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def visible(inputs: AttentionInputs, rows: slice, columns: slice) -> Tensor | None:
    """Return which keys of a rectangle may be seen, bool broadcastable to `(B, H, r, c)`, or None if all may.

    -inf in a bias hides like a mask.
    """
    seen = None
    if inputs.spans is not None:
        place = torch.arange(inputs.key.shape[2], device=inputs.key.device, dtype=torch.int32)[columns]
        start, stop = inputs.spans.start[..., rows, None], inputs.spans.stop[..., rows, None]
        seen = (place >= start) & (place < stop)
    if inputs.dense_mask is not None:
        part = cut(inputs.dense_mask, rows, columns)
        seen = part if seen is None else seen & part
    given = [bias for bias in (inputs.position_bias, inputs.bias) if bias is not None]
    if given and not (readable(inputs.query) and all_finite(*given)):
        for bias in biases(inputs, rows, columns):
            seen = bias != -torch.inf if seen is None else seen & (bias != -torch.inf)
    return seen


def capped_products(inputs: AttentionInputs, rows: slice, columns: slice) -> Tensor:
    """Return `scale · QKᵀ (→ softcap)` of a rectangle: `(B, H, r, c)` in the accumulation dtype."""
    dtype = accumulate_dtype(inputs.query.dtype)
    query = inputs.query[:, :, rows].to(dtype)
    key = inputs.key[:, :, columns].to(dtype)
    product = per_key_head(query, key.shape[1]) * inputs.scale @ key.transpose(-2, -1)
    if key.shape[1] != query.shape[1]:
        product = product.reshape(*query.shape[:3], key.shape[2])
    if inputs.softcap is None:
        return product
    return inputs.softcap * torch.tanh(product / inputs.softcap)


def scores(inputs: AttentionInputs, rows: slice, columns: slice) -> Tensor:
    """Return the scores of a rectangle, hidden keys at -inf: `(B, H, r, c)` in the accumulation dtype.

    `rows` and `columns` are slices with plain bounds. Differentiable; costs O(B·H·r·c) memory.
    """
    result = capped_products(inputs, rows, columns)
    for bias in biases(inputs, rows, columns):
        result = result + bias.to(result.dtype)
    seen = visible(inputs, rows, columns)
    return result if seen is None else result.masked_fill(~seen, -torch.inf)


def biases(inputs: AttentionInputs, rows: slice, columns: slice) -> list[Tensor]:
    """Return what is added to the scores of a rectangle: up to two 4-D tensors that broadcast to `(B, H, r, c)`."""
    found = []
    if inputs.position_bias is not None:
        found.append(_along_diagonals(inputs, inputs.position_bias, rows, columns)[None])
    if inputs.bias is not None:
        found.append(cut(inputs.bias, rows, columns))
    return found


def per_key_head(tensor: Tensor, groups: int) -> Tensor:
    """Stack the query heads that share a key head as rows, `(B, G, H / G · r, x)`, so that no key is copied."""
    batch, heads, length, width = tensor.shape
    return tensor if heads == groups else tensor.reshape(batch, groups, heads // groups * length, width)


def cut(matrix: Tensor, rows: slice, columns: slice) -> Tensor:
    """Return a rectangle of a tensor whose last two sizes may be 1 for "the same everywhere"."""
    if sizes(matrix)[2] > 1:
        matrix = matrix[:, :, rows]
    return matrix[..., columns] if sizes(matrix)[3] > 1 else matrix


def _along_diagonals(inputs: AttentionInputs, vector: Tensor, rows: slice, columns: slice) -> Tensor:
    _, _, queries, keys = inputs.shape
    if recorded():  # a window of no fixed size is known to few tools, an index to all
        column, row = (torch.arange(size, device=vector.device) for size in (keys, queries))
        return vector[:, (column - row[:, None] + (queries - 1))[rows, columns]]
    # Row i reads the entries from first column - i + L - 1 on: overlapping windows of one vector, last row first.
    top, left = rows.start or 0, columns.start or 0
    bottom = queries if rows.stop is None else min(rows.stop, queries)
    right = keys if columns.stop is None else min(columns.stop, keys)
    if bottom <= top or right <= left:
        return vector.new_zeros(vector.shape[0], max(bottom - top, 0), max(right - left, 0))
    windows = vector[:, left + queries - bottom : right + queries - 1 - top].unfold(1, right - left, 1)
    return windows.flip(1)
