"""Attention beside one more key per head that holds no value: the sinks of GPT-OSS."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.overrides import handle_torch_function, has_torch_function

from .._attention import attention
from ..masks import Mask
from ..weights import AttentionWeights, with_sinks

__all__ = ["sink_attention"]


def sink_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    sinks: Tensor,
    *,
    mask: Mask | None = None,
    bias: Tensor | None = None,
    scale: float | None = None,
    softcap: float | None = None,
    dropout: float = 0.0,
) -> tuple[Tensor, AttentionWeights]:
    """Compute attention in which each row may spend a part on nothing.

    Shapes: those of `regard.attention`; `sinks` `(H,)`, the score of the key without a value in every row, or
    `(B, H, L)`, one for each row. Returns
    the output in the query's dtype and the weights of the real keys, whose rows sum to less than 1. A row that sees
    nothing gives 0. Cost: that of `regard.attention`, and O(B·H·L·Ev).

    >>> q = torch.zeros(1, 1, 3, 4)
    >>> output, weights = sink_attention(q, q, q + 1, torch.zeros(1))
    >>> output[0, 0, 0], weights.dense()[0, 0, 0].sum()
    (tensor([0.7500, 0.7500, 0.7500, 0.7500]), tensor(0.7500))
    """
    if has_torch_function((query, key, value)):
        watched: tuple[Tensor, AttentionWeights] = handle_torch_function(
            sink_attention, (query, key, value), query, key, value, sinks, mask=mask, bias=bias, scale=scale,
            softcap=softcap, dropout=dropout,
        )  # fmt: skip
        return watched
    output, weights = attention(
        query, key, value, mask=mask, bias=bias, scale=scale, softcap=softcap, dropout=dropout, need_weights=True
    )
    scores = sinks.to(weights.dtype)
    share = torch.sigmoid(weights.lse - (scores if scores.ndim == 3 else scores[:, None]))  # left to real keys
    return (output * share[..., None]).to(query.dtype), with_sinks(weights, sinks)
