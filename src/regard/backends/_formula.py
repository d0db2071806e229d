"""The formula as one expression of common operators: for tools that record, translate or differentiate forwards.

No node of ours, no blocks, no number that is read and no size that is fixed; so it takes O(L·S) memory, and autograd
follows it in every direction.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .._inputs import AttentionInputs
from ._blocks import drop_factor, finite_part, hides
from ._scores import accumulate_dtype, biases, capped_products, per_key_head, visible


def accumulating(inputs: AttentionInputs) -> AttentionInputs:
    """Return the call with query, key and value in the accumulation dtype."""
    dtype = accumulate_dtype(inputs.query.dtype)
    if inputs.query.dtype == dtype:
        return inputs
    return inputs.map(lambda tensor: tensor.to(dtype), ("query", "key", "value"))


def formula(inputs: AttentionInputs) -> tuple[Tensor, Tensor]:
    """Return output and `lse` of a call given in the accumulation dtype, in which they come back."""
    if not hides(inputs):
        return _attend(inputs, None, None)
    # A hidden NaN must not meet a weight of zero: the sums run over finite numbers, and a row that sees another one
    # is set to NaN afterwards.
    rows, columns = slice(0, inputs.query.shape[2]), slice(0, inputs.key.shape[2])
    seen = visible(inputs, rows, columns)
    if seen is None:
        seen = torch.ones((1, 1, 1, 1), dtype=torch.bool, device=inputs.query.device)
    nothing = ~seen.any(-1, keepdim=True)
    output, lse = _attend(inputs.map(finite_part, ("query", "key", "value")), seen, nothing)
    lost = (seen & _not_finite(inputs)).any(-1, keepdim=True) | ~inputs.query.isfinite().all(-1, keepdim=True)
    output = output.masked_fill(nothing, 0.0).masked_fill(lost & ~nothing, torch.nan)
    lse = lse.masked_fill(nothing[..., 0], -torch.inf).masked_fill((lost & ~nothing)[..., 0], torch.nan)
    return output, lse


def _attend(inputs: AttentionInputs, seen: Tensor | None, nothing: Tensor | None) -> tuple[Tensor, Tensor]:
    rows, columns = slice(0, inputs.query.shape[2]), slice(0, inputs.key.shape[2])
    score = capped_products(inputs, rows, columns)
    for bias in biases(inputs, rows, columns):
        score = score + bias.masked_fill(bias == -torch.inf, 0.0).to(score.dtype)
    if seen is not None and nothing is not None:
        score = score.masked_fill(~(seen | nothing), -torch.inf)
    weights = torch.softmax(score, -1)
    factor = drop_factor(inputs, rows, columns)
    if factor is not None:
        weights = weights * factor
    groups = inputs.key.shape[1]
    output = per_key_head(weights, groups) @ inputs.value
    return output.reshape(*inputs.query.shape[:3], inputs.value.shape[3]), torch.logsumexp(score, -1)


def _not_finite(inputs: AttentionInputs) -> Tensor:
    """Return which keys hold something that is not finite, in key or value: bool `(B, H, 1, S)`."""
    batch, heads, _, keys = inputs.shape
    bad = ~(inputs.key.isfinite().all(-1) & inputs.value.isfinite().all(-1))
    groups = bad.shape[1]
    return bad[:, :, None].expand(batch, groups, heads // groups, keys).reshape(batch, heads, 1, keys)
