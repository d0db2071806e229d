"""One vector for a whole sequence: the mean, a class token, or attention pooling."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from ._lengths import real
from ._start import STD

Pooling = Literal["mean", "class"]


def mean(x: Tensor, lengths: Tensor | None) -> Tensor:
    """Return the mean of the real tokens: `(B, L, D)` to `(B, D)`; 0 for an empty sequence."""
    if lengths is None:
        return x.mean(1)
    kept = real(lengths, x.shape[1])[..., None]
    return torch.where(kept, x, 0.0).sum(1) / lengths.clamp(min=1)[:, None].to(x.dtype)


class ClassToken(nn.Module):
    """Put one learnt vector in front of every sequence: `(B, L, D)` to `(B, L + 1, D)` (Devlin et al. 2019)."""

    def __init__(self, embed_dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(embed_dim))
        nn.init.normal_(self.weight, std=STD)

    def forward(self, x: Tensor) -> Tensor:
        """Return the sequences with the class token in front."""
        return torch.cat((self.weight.to(x.dtype).expand(x.shape[0], 1, -1), x), 1)


class AttentionPooling(nn.Module):
    """A mean with learnt weights: the softmax over tokens of a linear score (Hassani et al. 2021, section 3.2).

    Shapes: `(B, L, D)` to `(B, D)`. Starts as the plain mean.
    """

    def __init__(self, embed_dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(embed_dim))

    def forward(self, x: Tensor) -> Tensor:
        """Return the weighted mean; the softmax is taken in float32."""
        share = (x.float() @ self.weight.float()).softmax(-1)
        return (share[:, None] @ x.float())[:, 0].to(x.dtype)
