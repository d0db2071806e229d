"""The same attention by other implementations that users would write or call instead."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def naive(query: Tensor, key: Tensor, value: Tensor, causal: bool = False) -> Tensor:
    """Attention by its definition, with the whole matrix."""
    score = query @ key.transpose(-2, -1) * query.shape[-1] ** -0.5
    if causal:
        hidden = torch.ones(score.shape[-2:], dtype=torch.bool, device=score.device).triu(1)
        score = score.masked_fill(hidden, -torch.inf)
    return torch.softmax(score, -1) @ value


def core_of(module: nn.MultiheadAttention, query: Tensor, causal: bool, need_weights: bool) -> Tensor:
    """Return the output of `nn.MultiheadAttention` on `(B, L, D)`; with its four linear maps."""
    mask = nn.Transformer.generate_square_subsequent_mask(query.shape[1]) if causal else None
    output: Tensor = module(query, query, query, attn_mask=mask, is_causal=causal, need_weights=need_weights)[0]
    return output
