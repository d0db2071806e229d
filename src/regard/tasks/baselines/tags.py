"""Every word's most frequent tag."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import ClassVar, Self

from ...corpora import TaggedWords

__all__ = ["MostFrequentTag"]


class MostFrequentTag:
    """Gives each word the tag that it had most often in training, and the commonest tag to a new word."""

    name: ClassVar[str] = "most frequent tag of each word"

    def __init__(self, tags: dict[str, str], otherwise: str) -> None:
        self._tags, self._otherwise = tags, otherwise

    @classmethod
    def fit(cls, examples: Sequence[TaggedWords]) -> Self:
        """Count the tags of every word; of equally frequent ones the first in the alphabet is taken."""
        counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
        for example in examples:
            for word, tag in zip(example.words, example.tags, strict=True):
                counts[word][tag] += 1
        total = sum(counts.values(), Counter[str]())
        return cls({word: _commonest(tags) for word, tags in counts.items()}, _commonest(total))

    def predict(self, sentences: Sequence[Sequence[str]]) -> list[tuple[str, ...]]:
        """Return the tags of each sentence."""
        return [tuple(self._tags.get(word, self._otherwise) for word in words) for words in sentences]


def _commonest(counts: Counter[str]) -> str:
    return min(counts, key=lambda tag: (-counts[tag], tag))
