"""Attention in plain PyTorch operations: refuses nothing, and is differentiable as often as one likes."""

from __future__ import annotations

import torch
from torch import Tensor

from .._inputs import AttentionInputs, AttentionResult
from ._contract import FEATURES
from ._philox import keep
from ._scores import scores

__all__ = ["Math"]


class Math:
    """The backend that serves every call."""

    name = "math"
    honours = frozenset(FEATURES) | {"float64", "float32", "bfloat16", "float16", "cpu", "cuda", "mps", "xpu", "meta"}

    def why_not(self, inputs: AttentionInputs) -> str | None:
        """Nothing is refused."""
        return None

    def run(self, inputs: AttentionInputs) -> AttentionResult:
        """Compute the whole matrix, its softmax and the product with the values."""
        whole = slice(0, None)
        score = scores(inputs, whole, whole)
        lse = torch.logsumexp(score, -1)
        weights = torch.exp(score - torch.where(lse == -torch.inf, 0.0, lse)[..., None])
        if inputs.dropout and inputs.seed is not None:
            weights = _drop(inputs, inputs.seed, weights)
        batch, heads, length, keys = weights.shape
        value = inputs.value.to(weights.dtype)
        groups = value.shape[1]
        stacked = weights.reshape(batch, groups, heads // groups * length, keys)
        output = (stacked @ value).reshape(batch, heads, length, value.shape[3])
        return AttentionResult(output.to(inputs.query.dtype), lse, lse_has_gradient=True)


def _drop(inputs: AttentionInputs, seed: Tensor, weights: Tensor) -> Tensor:
    batch, heads, length, keys = weights.shape
    device = weights.device
    head = torch.arange(batch * heads, device=device).view(batch, heads, 1, 1)
    row = torch.arange(length, device=device).view(-1, 1)
    kept = keep(seed.to(device), head, row, torch.arange(keys, device=device), inputs.dropout)
    return torch.where(kept, weights / (1.0 - inputs.dropout), 0.0)
