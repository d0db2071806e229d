"""Choosing the next token from the logits: the most likely one, or a random one."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .._values import check_fields, instance, number, size


@dataclass(frozen=True)
class Sampling:
    """How the next token is drawn. `temperature` 0 takes the most likely one; else logits are divided by it.

    >>> Sampling(temperature=0.0).draw(torch.tensor([[0.0, 2.0, 1.0]]))
    tensor([1])
    """

    temperature: float = 1.0
    """Below 1 sharpens the distribution, above 1 flattens it; 0 is greedy."""
    top_k: int | None = None
    """Draw among this many most likely tokens only; None: all."""
    top_p: float | None = None
    """Draw among the fewest most likely tokens whose probabilities reach this sum; None: all."""
    generator: torch.Generator | None = None
    """Source of the random numbers; torch's default generator unless given."""

    def __post_init__(self) -> None:
        check_fields(self)
        number("temperature", self.temperature, 0)
        if self.top_k is not None:
            size("top_k", self.top_k)
        if self.top_p is not None:
            number("top_p", self.top_p, 0, 1, open_low=True)
        if self.generator is not None:
            instance("generator", self.generator, torch.Generator, "a torch.Generator, or None for torch's default one")

    def draw(self, logits: Tensor) -> Tensor:
        """Return one token per row: `(B, V)` to int64 `(B,)`."""
        if self.temperature == 0:
            return logits.argmax(-1)
        return torch.multinomial(self.probabilities(logits), 1, generator=self.generator)[:, 0]

    def probabilities(self, logits: Tensor) -> Tensor:
        """Return the distribution, float32 `(B, V)`, rows sum to 1. Logits equal to the last one kept are kept too.

        Source: Fan et al. 2018, arXiv:1805.04833, for top-k; Holtzman et al. 2020, arXiv:1904.09751, for top-p.
        """
        logits = logits.float() / self.temperature
        if self.top_k is not None and self.top_k < logits.shape[-1]:
            logits = logits.masked_fill(logits < logits.topk(self.top_k).values[:, -1:], -torch.inf)
        shares = logits.softmax(-1)
        if self.top_p is None or self.top_p == 1.0:
            return shares
        ordered = shares.sort(descending=True).values
        before = ordered.cumsum(-1) - ordered
        least = ordered.masked_fill(before >= self.top_p, torch.inf).amin(-1, keepdim=True)
        kept = shares.masked_fill(shares < least, 0.0)
        return kept / kept.sum(-1, keepdim=True)
