"""Sinks, for every backend whose `lse` carries gradients: one more key in each row, which holds no value.

With the sums of a row in logs, its visible keys keep the share `σ(lse - sink)` of it:

    output' = output · σ(lse - sink)        lse' = log(exp(lse) + exp(sink))

Both are exact, and through `lse` the gradients of scores and sinks are too. Dropout acts on the weights of the visible
keys, so it commutes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from .._inputs import AttentionInputs, AttentionResult
from ._steady import steady


def beside_sinks(inputs: AttentionInputs, run: Callable[[AttentionInputs], AttentionResult]) -> AttentionResult:
    """Return the result of a call with sinks, from what `run` makes of the call without."""
    # No map, no summary: each row of them would have to be scaled by a share of its own.
    result = run(replace(inputs, sinks=None, need_weights=False))
    if inputs.sinks is None or result.lse is None:
        raise ValueError("sinks were not given, or the backend tells no lse")
    lse, sinks, nothing = _finite(result.lse, inputs.sinks)
    # Not by a sigmoid, whose slope is σ(1 - σ): where σ is near 1 little would be left of the second factor.
    share = steady(torch.exp, steady(logsigmoid, lse - sinks)).masked_fill(nothing, 0.0)
    output = (result.output.to(share.dtype) * share[..., None]).to(result.output.dtype)
    return result._replace(output=output, lse=lse_beside(result.lse, inputs.sinks))


def lse_beside(lse: Tensor, sinks: Tensor) -> Tensor:
    """Return `lse` of each row `(B, H, L)` with its sink counted in; the sink alone where a row sees nothing."""
    known, scores, nothing = _finite(lse, sinks)
    return torch.where(nothing, sinks.to(lse.dtype), steady(torch.logaddexp, known, scores))


def _finite(lse: Tensor, sinks: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return both with zeros in rows that see nothing, where a difference would be NaN; and which rows these are."""
    nothing = lse == -torch.inf
    return lse.masked_fill(nothing, 0.0), sinks.to(lse.dtype).masked_fill(nothing, 0.0), nothing
