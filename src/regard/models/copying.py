"""Copying: a decoder that writes its own words or words of the source."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .._attention import attention
from ..layers import Projection
from ..masks import Mask
from ..weights import AttentionWeights


class Copying(nn.Module):
    """Pointer-generator: mixes a decoder's distribution with what its attention finds in the source.

    `P(token) = gate · softmax(logits) + (1 - gate) · Σ weight` over the places of the source that hold the token. The
    gate is the sigmoid of a linear map of the decoder's state and starts at one half.

    Shapes: states `(B, T, embed_dim)`, keys `(B, S, embed_dim)` of `keys(memory)`, source int64 `(B, S)`, logits
    `(B, T, V)` to log-probabilities float32 `(B, T, V)`. Cost O(B·T·(S·embed_dim + V)).

    Source: the pointer-generator of See et al. 2017, arXiv:1704.04368, equation 9, with a head of dot products in
    place of the additive attention.

    >>> copying = Copying(8)
    >>> memory, source = torch.zeros(1, 3, 8), torch.tensor([[4, 5, 4]])
    >>> scores, weights = copying(torch.zeros(1, 1, 8), copying.keys(memory), source, torch.zeros(1, 1, 6))
    >>> scores.exp().mul(6).round().int().tolist(), weights.shape  # half of it even, half of it copied
    ([[[0, 0, 0, 0, 2, 2]]], (1, 1, 1, 3))
    """

    def __init__(self, embed_dim: int) -> None:
        super().__init__()
        self.query = Projection(embed_dim, embed_dim)
        self.key = Projection(embed_dim, embed_dim)
        self.gate = Projection(embed_dim, 1)

    def keys(self, memory: Tensor) -> Tensor:
        """Return the keys of a source's memory, to be computed once for each source."""
        keys: Tensor = self.key(memory)
        return keys

    def forward(
        self, states: Tensor, keys: Tensor, source: Tensor, logits: Tensor, mask: Mask | None = None
    ) -> tuple[Tensor, AttentionWeights]:
        """Return the log-probabilities, and the weights of the head, `(B, 1, T, S)`; `mask` hides padding."""
        weights = self.look(states, keys, mask)
        copied = weights.dense()[:, 0].float()
        gate = self.gate(states).float()
        written = logits.float().log_softmax(-1) + nn.functional.logsigmoid(gate)
        places = source[:, None].expand(-1, states.shape[1], -1)
        mixed = written.exp().scatter_add(-1, places, copied * torch.sigmoid(-gate))
        return mixed.clamp(min=torch.finfo(torch.float32).tiny).log(), weights

    def look(self, states: Tensor, keys: Tensor, mask: Mask | None = None) -> AttentionWeights:
        """Return the weights of the head, `(B, 1, T, S)`."""
        looked = keys[:, None]
        _, weights = attention(self.query(states)[:, None], looked, looked, mask=mask, need_weights=True)
        return weights

    def chances(
        self, states: Tensor, keys: Tensor, source: Tensor, targets: Tensor, mask: Mask | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return the gate's logits and the probabilities of the targets if they are copied, both float32 `(B, T)`.

        `targets` is int64 `(B, T)`. What `forward` says of these tokens, without a row of the vocabulary for each.
        """
        copied = self.look(states, keys, mask).dense()[:, 0].float()
        is_it = source[:, None] == targets[:, :, None]
        return self.gate(states)[..., 0].float(), (copied * is_it).sum(-1)
