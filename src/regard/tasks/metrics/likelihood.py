"""How well a language model predicts a text."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ...errors import ArgumentError


@dataclass(frozen=True)
class LikelihoodScores:
    """Mean loss of a token in nats, its perplexity, and bits per byte of the text."""

    nats_per_token: float
    perplexity: float
    bits_per_byte: float
    """Bits per byte, independent of the tokenizer: models with different tokenizers may be compared."""

    def figures(self) -> dict[str, float]:
        """Return the three figures."""
        return {
            "nats_per_token": self.nats_per_token,
            "perplexity": self.perplexity,
            "bits_per_byte": self.bits_per_byte,
        }

    def __str__(self) -> str:
        """One line."""
        return (
            f"{self.nats_per_token:.3f} nats a token (perplexity {self.perplexity:.2f}), "
            f"{self.bits_per_byte:.3f} bits a byte"
        )


def likelihood_scores(nats: float, tokens: int, size: float) -> LikelihoodScores:
    """Return the figures of a text whose tokens have the total loss `nats`.

    Args:
        nats: Sum of the losses, natural logarithm.
        tokens: Number of predicted tokens.
        size: Bytes of the text in UTF-8.

    >>> import math
    >>> likelihood_scores(math.log(8), tokens=1, size=3).bits_per_byte
    1.0
    """
    if tokens < 1 or size <= 0:
        raise ArgumentError(f"A text of {tokens} tokens and {size:g} bytes has no figures; give a longer one.")
    mean = nats / tokens
    return LikelihoodScores(mean, math.exp(min(mean, 700.0)), nats / math.log(2) / size)
