"""TF-IDF by scikit-learn, with what it learnt as plain values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from ...errors import needed
from ._saving import NEEDS_SKLEARN


class Tfidf:
    """TF-IDF of words, or of words and pairs of words: a sparse row of norm 1 for each text."""

    def __init__(self, terms: Sequence[str], weights: Tensor, pairs: bool) -> None:
        self._terms, self._weights, self._pairs = terms, weights, pairs
        self._vectorizer: Any = None

    @classmethod
    def fit(cls, texts: Sequence[str], *, pairs: bool) -> tuple[Self, Any]:
        """Learn the terms and their weights; return them, and the rows of the texts (SciPy, CSR)."""
        vectorizer = _vectorizer(pairs)
        rows = vectorizer.fit_transform(texts)
        return cls(vectorizer.get_feature_names_out().tolist(), torch.from_numpy(vectorizer.idf_), pairs), rows

    def rows(self, texts: Sequence[str]) -> Any:
        """Return a row for each text (SciPy, CSR); unknown words count nothing."""
        if self._vectorizer is None:
            self._vectorizer = _vectorizer(self._pairs, {term: place for place, term in enumerate(self._terms)})
            self._vectorizer.idf_ = self._weights.numpy()
        return self._vectorizer.transform(texts)

    def state(self) -> dict[str, Any]:
        """Return the terms."""
        return {"terms": self._terms, "pairs": self._pairs}

    def tensors(self) -> dict[str, Tensor]:
        """Return the weights of the terms."""
        return {"idf": self._weights}

    @classmethod
    def restored(cls, state: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Self:
        """Build from what `state` and `tensors` returned."""
        return cls(state["terms"], tensors["idf"], state["pairs"])


def _vectorizer(pairs: bool, vocabulary: dict[str, int] | None = None) -> Any:
    with needed(NEEDS_SKLEARN, "train"):
        from sklearn.feature_extraction.text import TfidfVectorizer
    return TfidfVectorizer(
        ngram_range=(1, 2 if pairs else 1), sublinear_tf=True, token_pattern=r"(?u)\w+|[^\w\s]", dtype=np.float64,
        vocabulary=vocabulary,
    )  # fmt: skip
