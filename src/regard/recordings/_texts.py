"""What the tokens of a recording are: their text, words, labels, or the patches of an image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import ArgumentError
from ._grid import Grid

Tokens = Sequence[str | bytes]
Labels = Sequence[str | None]


@dataclass(frozen=True)
class Texts:
    """Names for the tokens of a recording; every field is optional, and a batch takes a list for each of its inputs.

    >>> Texts(tokens=["Ann", "sings"], labels=["B-PER", "O"]).tokens
    ['Ann', 'sings']
    """

    tokens: Tokens | Sequence[Tokens] | None = None
    """Text (or bytes) of each token; with two texts, those of the queries."""
    key_tokens: Tokens | Sequence[Tokens] | None = None
    """Tokens of the second text that cross-attention looks at."""
    labels: Labels | Mapping[str, Labels] | None = None
    """Class or IOB2 tag of each token, or a mapping of names to such lists."""
    key_labels: Labels | Mapping[str, Labels] | None = None
    """The same for `key_tokens`."""
    words: Sequence[int | None] | Sequence[Sequence[int | None]] | None = None
    """Number of the word that each token belongs to, None for special tokens: merges subwords."""
    grid: Grid | None = None
    """Which tokens are the patches of an image."""
    key_grid: Grid | None = None
    """The same for `key_tokens`."""

    @classmethod
    def from_tokenizer(cls, tokenizer: Any, encoding: Any) -> Texts:
        """Return the tokens and words of what a tokenizer of transformers gave.

        Args:
            tokenizer: decodes each token by itself, `tokenizer.decode([number])`.
            encoding: what the tokenizer returned for a text or a batch of texts, or the numbers alone: a list, or a
                tensor `(L,)` or `(B, L)`. Words are known where it has `word_ids`.

        Raises `ArgumentError`.
        """
        numbers = encoding["input_ids"] if isinstance(encoding, Mapping) or hasattr(encoding, "keys") else encoding
        numbers = numbers.tolist() if hasattr(numbers, "tolist") else list(numbers)
        if not numbers:
            raise ArgumentError("there are no tokens: the encoding is empty.")
        batched = isinstance(numbers[0], list)
        rows = numbers if batched else [numbers]
        tokens = [[tokenizer.decode([number]) for number in row] for row in rows]
        words: list[Any] | None = None
        if getattr(encoding, "is_fast", False):
            words = [encoding.word_ids(place) for place in range(len(rows))]
        single = not batched or len(rows) == 1
        return cls(
            tokens=tokens[0] if single else tokens, words=None if words is None else words[0] if single else words
        )
