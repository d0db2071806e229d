"""Weights of models that let a row attend to nothing: one more key per head, which holds no value."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from ..errors import ShapeError
from ._matrix import AttentionWeights

__all__ = ["with_sinks"]


def with_sinks(weights: AttentionWeights, scores: Tensor) -> AttentionWeights:
    """Return the weights beside one more key per head that holds no value and has this score in every row.

    Shapes: `scores` `(H,)`, or `(B, H, L)` where each row has a score of its own. Each row then sums to less than 1,
    the rest goes to that key; `lse` counts it in, and `entropy` is that of the other keys' share alone.
    Differentiable in the scores too. Raises `ShapeError`.

    Cost: that of `lse`.

    Source: OpenAI 2025, gpt-oss, arXiv:2508.10925, section 2.

    >>> import regard
    >>> q = torch.zeros(1, 1, 3, 4)
    >>> with_sinks(regard.attention(q, q, q, need_weights=True)[1], torch.zeros(1))[0, 0, 0]
    tensor([0.2500, 0.2500, 0.2500])
    """
    source = weights._source
    rows = source.shape[:3]
    if scores.shape not in ((rows[1],), rows):
        raise ShapeError(
            f"sinks have shape {tuple(scores.shape)}; the rule is one score per head, ({rows[1]},), or per row, "
            f"{tuple(rows)}."
        )
    scores = scores.to(source.dtype)
    lse = torch.logaddexp(weights.lse.reshape(rows), scores if scores.ndim == 3 else scores[:, None])
    joined = replace(
        source, lse=lse, lse_has_gradient=lse.requires_grad, lse_of="more", map=None, map_cell=0, summary=None
    )
    return AttentionWeights(joined, weights.ndim)
