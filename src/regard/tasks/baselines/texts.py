"""Baselines for generated text: the first words of the source; the target of the most similar source."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any, Self

from ...corpora import TextPair
from ...errors import MissingExtraError, install_line

__all__ = ["FirstWords", "NearestSource"]


class FirstWords:
    """A text's first words, a fifth more than the median length of the summaries."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.name = f"first {count} words"

    @classmethod
    def fit(cls, examples: Sequence[TextPair]) -> Self:
        """Take the length from the training summaries: a fifth above their median, since F1 hardly punishes length."""
        median = statistics.median(len(example.target.split()) for example in examples)
        return cls(max(1, round(1.2 * median)))

    def predict(self, sources: Sequence[str]) -> list[str]:
        """Return the first words of each text."""
        return [" ".join(source.split()[: self.count]) for source in sources]


class NearestSource:
    """The target of the training source with the most similar words (TF-IDF, cosine)."""

    name = "target of the nearest training source"

    def __init__(self, vectorizer: Any, rows: Any, targets: list[str]) -> None:
        self._vectorizer, self._rows, self._targets = vectorizer, rows, targets

    @classmethod
    def fit(cls, examples: Sequence[TextPair]) -> Self:
        """Index the training sources."""
        try:
            from sklearn.feature_extraction.text import TfidfVectorizer
        except ImportError:
            raise MissingExtraError(f"This baseline needs scikit-learn: {install_line('train')}.") from None
        vectorizer = TfidfVectorizer(token_pattern=r"(?u)\w+|[^\w\s]", sublinear_tf=True)
        rows = vectorizer.fit_transform(example.source for example in examples).T.tocsr()
        return cls(vectorizer, rows, [example.target for example in examples])

    def predict(self, sources: Sequence[str]) -> list[str]:
        """Return the target of each text's nearest neighbour."""
        found = []
        for start in range(0, len(sources), 200):
            alike = self._vectorizer.transform(sources[start : start + 200]) @ self._rows
            found += [self._targets[int(alike[i].argmax())] for i in range(alike.shape[0])]
        return found
