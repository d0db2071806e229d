"""A dense matrix of weights computed by other code, behind the interface of lazy weights."""

from __future__ import annotations

import torch
from torch import Tensor

from .._inputs import AttentionInputs
from ..backends import readable
from ..errors import ArgumentError, DtypeError, ShapeError
from ._matrix import AttentionWeights
from ._softmax_source import SoftmaxSource

# exp of it is 0 in every dtype, and it is not -inf, which would say "hidden".
_LOG_OF_ZERO = -10_000.0


def from_dense(matrix: Tensor, visible: Tensor | None = None) -> AttentionWeights:
    """Return stored weights, such as the `attentions` of another library, as `AttentionWeights`.

    Args:
        matrix: `(L, S)` up to `(B, H, L, S)`, floating, 0 or more (checked on the CPU).
        visible: bool, broadcastable to it, True where a query may look at a key. Unless given every pair counts as
            visible, and a 0 as a measured zero: a stored matrix cannot tell.

    Memory O(B·H·L·S), as the matrix. Values are unknown, so `value_weighted` makes no sense here. Entries come back
    within 3e-6 relative. Raises `ShapeError`, `DtypeError`, `ArgumentError`.

    >>> found = from_dense(torch.tensor([[1.0, 0.0], [0.25, 0.75]]), torch.ones(2, 2).tril().bool())
    >>> found.dense(), found.masked()[0, 1].item()
    (tensor([[1.0000, 0.0000],
            [0.2500, 0.7500]]), True)
    """
    if not 2 <= matrix.ndim <= 4:
        raise ShapeError(f"the weights have shape {tuple(matrix.shape)}; give (L, S), (H, L, S) or (B, H, L, S).")
    if not matrix.is_floating_point():
        raise DtypeError(f"the weights are {matrix.dtype}; attention weights are floating.")
    if readable(matrix) and bool((matrix < 0).any()):
        raise ArgumentError("the weights hold negative numbers; give them after the softmax, 0 or more.")
    dtype = torch.float64 if matrix.dtype == torch.float64 else torch.float32
    whole = matrix.detach().to(dtype).reshape((1,) * (4 - matrix.ndim) + tuple(matrix.shape))
    batch, heads, queries, keys = whole.shape
    logs = torch.where(whole == 0, _LOG_OF_ZERO, whole.log())
    seen = None
    if visible is not None:
        try:
            seen = visible.clone().expand(matrix.shape).reshape(whole.shape)
        except RuntimeError as error:
            raise ShapeError(
                f"visible has shape {tuple(visible.shape)}, which does not broadcast to {tuple(matrix.shape)}."
            ) from error
        logs = logs.masked_fill(~seen, -torch.inf)
    inputs = AttentionInputs(
        query=whole.new_zeros(batch, heads, queries, 1),
        key=whole.new_zeros(batch, heads, keys, 1),
        value=whole.new_zeros(batch, heads, keys, 1),
        scale=1.0,
        dense_mask=seen,
        bias=logs,
        need_weights=True,
    )
    nothing = (logs == -torch.inf).all(-1)
    lse = whole.new_zeros(batch, heads, queries).masked_fill(nothing, -torch.inf)
    return AttentionWeights(SoftmaxSource(inputs, lse), matrix.ndim)
