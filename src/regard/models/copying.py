"""Copying: a decoder that writes its own words, words of the source, or what a lexicon says for words of the source."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .._attention import attention
from .._values import size
from ..layers import Projection
from ..masks import Mask
from ..weights import AttentionWeights


class Copying(nn.Module):
    """Pointer-generator: mixes a decoder's distribution with what its attention finds in the source.

    `P(token) = gate · softmax(logits) + (1 - gate) · Σ weight · P(token | token of the source)` over the places of the
    source. Without a lexicon a token of the source stands for itself; with one, for up to `lexicon_size` tokens of the
    target, with a probability each (`set_lexicon`). The gate is the sigmoid of a linear map of the decoder's state and
    starts at one half.

    Shapes: states `(B, T, embed_dim)`, keys `(B, S, embed_dim)` of `keys(memory)`, source int64 `(B, S)`, logits
    `(B, T, V)` to log-probabilities float32 `(B, T, V)`. Cost O(B·T·(S·(embed_dim + lexicon_size) + V)).

    Source: the pointer-generator of See et al. 2017, arXiv:1704.04368, equation 9, with a head of dot products in
    place of the additive attention; Arthur et al. 2016, arXiv:1606.02006, equation 8, for the lexicon.

    >>> copying = Copying(8)
    >>> memory, source = torch.zeros(1, 3, 8), torch.tensor([[4, 5, 4]])
    >>> scores, weights = copying(torch.zeros(1, 1, 8), copying.keys(memory), source, torch.zeros(1, 1, 6))
    >>> scores.exp().mul(6).round().int().tolist(), weights.shape  # half of it even, half of it copied
    ([[[0, 0, 0, 0, 2, 2]]], (1, 1, 1, 3))
    """

    lexicon: Tensor | None
    shares: Tensor | None

    def __init__(self, embed_dim: int, *, lexicon_size: int = 0, source_vocab_size: int = 0) -> None:
        super().__init__()
        self.query = Projection(embed_dim, embed_dim)
        self.key = Projection(embed_dim, embed_dim)
        self.gate = Projection(embed_dim, 1)
        kept = size("lexicon_size", lexicon_size, 0)
        own = torch.arange(source_vocab_size)[:, None].repeat(1, kept) if kept else None
        self.register_buffer("lexicon", own)  # at first a token stands for itself
        self.register_buffer("shares", None if own is None else torch.full(own.shape, 1 / kept))

    def set_lexicon(self, ids: Tensor, shares: Tensor) -> None:
        """Take the target tokens `(source_vocab_size, lexicon_size)` of each source token, and their probabilities.

        Probabilities of one token are scaled to a sum of 1; a token for which there are none stands for itself.
        """
        if self.lexicon is None or self.shares is None:
            return
        total = shares.sum(1, keepdim=True)
        own = torch.arange(len(ids))[:, None].expand_as(ids)
        self.lexicon.copy_(torch.where(total > 0, ids, own))
        self.shares.copy_(torch.where(total > 0, shares / total.clamp(min=1e-9), 1 / ids.shape[1]))

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
        shares, places = copied * torch.sigmoid(-gate), source
        if self.lexicon is not None and self.shares is not None:
            shares = (shares[..., None] * self.shares[source][:, None]).flatten(2)
            places = self.lexicon[source].flatten(1)
        places = places[:, None].expand(-1, states.shape[1], -1)
        mixed = written.exp().scatter_add(-1, places, shares)
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
        if self.lexicon is not None and self.shares is not None:
            is_it = self.lexicon[source][:, None] == targets[:, :, None, None]  # (B, T, S, lexicon_size)
            said = (is_it * self.shares[source][:, None]).sum(-1)
        else:
            said = (source[:, None] == targets[:, :, None]).float()
        return self.gate(states)[..., 0].float(), (copied * said).sum(-1)
