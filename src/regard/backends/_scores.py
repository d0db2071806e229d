"""Scores of any rectangle of the attention matrix, in PyTorch: shared by `math` and by the lazy weights."""

from __future__ import annotations

import torch
from torch import Tensor

from .._inputs import AttentionInputs

__all__ = ["accumulate_dtype", "scores", "visible"]


def accumulate_dtype(dtype: torch.dtype) -> torch.dtype:
    """Return the dtype in which scores and softmax are computed: float64 for float64, else float32."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def visible(inputs: AttentionInputs, rows: slice, columns: slice) -> Tensor | None:
    """Return which keys of a rectangle may be seen, bool `(b, h, r, c)`, or None if all may."""
    seen = None
    if inputs.start is not None and inputs.stop is not None:
        place = torch.arange(inputs.key.shape[2], device=inputs.key.device)[columns]
        start, stop = inputs.start[..., rows, None], inputs.stop[..., rows, None]
        seen = (place >= start) & (place < stop)
    if inputs.dense_mask is not None:
        part = _cut(inputs.dense_mask, rows, columns)
        seen = part if seen is None else seen & part
    return seen


def scores(inputs: AttentionInputs, rows: slice, columns: slice) -> Tensor:
    """Return the scores of a rectangle, hidden keys at -inf: `(B, H, r, c)` in the accumulation dtype.

    `rows` and `columns` are slices with plain bounds. Differentiable; costs O(B·H·r·c) memory.
    """
    dtype = accumulate_dtype(inputs.query.dtype)
    query = inputs.query[:, :, rows].to(dtype)
    key = inputs.key[:, :, columns].to(dtype)
    batch, heads, length, width = query.shape
    groups = key.shape[1]
    # Query heads that share a key head are stacked as rows, so that no key is copied.
    stacked = query.reshape(batch, groups, heads // groups * length, width)
    result = (stacked * inputs.scale @ key.transpose(-2, -1)).reshape(batch, heads, length, key.shape[2])
    if inputs.softcap is not None:
        result = inputs.softcap * torch.tanh(result / inputs.softcap)
    if inputs.position_bias is not None:
        result = result + _along_diagonals(inputs, rows, columns).to(dtype)
    if inputs.bias is not None:
        result = result + _cut(inputs.bias, rows, columns).to(dtype)
    seen = visible(inputs, rows, columns)
    return result if seen is None else result.masked_fill(~seen, -torch.inf)


def _cut(matrix: Tensor, rows: slice, columns: slice) -> Tensor:
    if matrix.shape[2] > 1:
        matrix = matrix[:, :, rows]
    return matrix[..., columns] if matrix.shape[3] > 1 else matrix


def _along_diagonals(inputs: AttentionInputs, rows: slice, columns: slice) -> Tensor:
    vector = inputs.position_bias
    if vector is None:
        raise ValueError("the call has no position bias")
    device = vector.device
    row = torch.arange(inputs.query.shape[2], device=device)[rows]
    column = torch.arange(inputs.key.shape[2], device=device)[columns]
    return vector[:, column - row[:, None] + inputs.query.shape[2] - 1]
