"""Baselines for generated text: the first words of the source; the target of the most similar source."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any, Self

import torch
from torch import Tensor

from ...corpora import TextPair
from ._saving import Baseline
from ._tfidf import Tfidf


class FirstWords(Baseline):
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

    def state(self) -> dict[str, Any]:
        return {"count": self.count}

    @classmethod
    def restored(cls, state: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Self:
        return cls(state["count"])


class NearestSource(Baseline):
    """The target of the training source with the most similar words (TF-IDF, cosine)."""

    name = "target of the nearest training source"

    def __init__(self, words: Tfidf, rows: Any, targets: list[str]) -> None:
        self._words, self._rows, self._targets = words, rows, targets  # rows: SciPy, CSR (terms, training sources)

    @classmethod
    def fit(cls, examples: Sequence[TextPair]) -> Self:
        """Index the training sources."""
        words, rows = Tfidf.fit([example.source for example in examples], "words")
        return cls(words, rows.T.tocsr(), [example.target for example in examples])

    def predict(self, sources: Sequence[str]) -> list[str]:
        """Return the target of each text's nearest neighbour."""
        return self.nearest(sources)[0]

    def nearest(self, sources: Sequence[str]) -> tuple[list[str], list[float]]:
        """Return the target of each text's nearest neighbour, and how alike the two texts are, 0 to 1."""
        found, likeness = [], []
        for start in range(0, len(sources), 200):
            alike = self._words.rows(sources[start : start + 200]) @ self._rows
            for i in range(alike.shape[0]):
                place = int(alike[i].argmax())
                found.append(self._targets[place])
                likeness.append(float(alike[i, place]))
        return found, likeness

    def state(self) -> dict[str, Any]:
        return {**self._words.state(), "targets": self._targets}

    def tensors(self) -> dict[str, Tensor]:
        parts = {name: torch.from_numpy(getattr(self._rows, name)) for name in ("data", "indices", "indptr")}
        return {**self._words.tensors(), **parts}

    @classmethod
    def restored(cls, state: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Self:
        from scipy.sparse import csr_matrix

        words, targets = Tfidf.restored(state, tensors), list(state["targets"])
        parts = tuple(tensors[name].numpy() for name in ("data", "indices", "indptr"))
        return cls(words, csr_matrix(parts, shape=(len(state["terms"]), len(targets))), targets)
