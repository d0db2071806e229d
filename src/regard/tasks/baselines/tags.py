"""Every word's most frequent tag."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import ClassVar, Self

from ...corpora import TaggedWords

__all__ = ["MostFrequentTag"]


class MostFrequentTag:
    """Gives each word the tag that it had most often in training.

    An unknown word is looked up in lower case, and otherwise gets the most frequent tag of all.
    """

    name: ClassVar[str] = "most frequent tag of each word"

    def __init__(self, tags: dict[str, str], folded: dict[str, str], otherwise: str) -> None:
        self._tags, self._folded, self._otherwise = tags, folded, otherwise

    @classmethod
    def fit(cls, examples: Sequence[TaggedWords]) -> Self:
        """Count the tags of every word; of equally frequent tags the one seen first is taken."""
        counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
        folded: defaultdict[str, Counter[str]] = defaultdict(Counter)
        total: Counter[str] = Counter()
        for example in examples:
            total.update(example.tags)
            for word, tag in zip(example.words, example.tags, strict=True):
                counts[word][tag] += 1
                folded[word.lower()][tag] += 1
        exact, lower = ({word: _commonest(tags) for word, tags in table.items()} for table in (counts, folded))
        return cls(exact, lower, _commonest(total))

    def predict(self, sentences: Sequence[Sequence[str]]) -> list[tuple[str, ...]]:
        """Return the tags of each sentence."""
        return [tuple(self._tag(word) for word in words) for words in sentences]

    def _tag(self, word: str) -> str:
        return self._tags.get(word) or self._folded.get(word.lower(), self._otherwise)


def _commonest(counts: Counter[str]) -> str:
    return counts.most_common(1)[0][0]
