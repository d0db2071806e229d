"""The attention weights as a lazy matrix: `exp(score - lse)`, computed where it is looked at."""

from __future__ import annotations

import torch
from torch import Tensor

from ._inputs import AttentionInputs, AttentionResult
from .backends._scores import scores

__all__ = ["AttentionWeights"]


class AttentionWeights:
    """The weights of one call, shape `(B, H, L, S)`."""

    def __init__(self, inputs: AttentionInputs, lse: Tensor, rank: int) -> None:
        self._inputs, self._lse, self._rank = inputs, lse, rank

    @classmethod
    def of_call(cls, inputs: AttentionInputs, result: AttentionResult, rank: int) -> AttentionWeights:
        """Wrap a call and its result."""
        lse = result.lse if result.lse is not None else torch.logsumexp(scores(inputs, slice(None), slice(None)), -1)
        return cls(inputs, lse, rank)

    def dense(self) -> Tensor:
        """Return the whole matrix."""
        whole = scores(self._inputs, slice(0, None), slice(0, None))
        matrix = torch.exp(whole - torch.where(self._lse == -torch.inf, 0.0, self._lse)[..., None])
        return matrix.reshape(matrix.shape[4 - self._rank :])
