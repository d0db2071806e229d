"""TF-IDF by scikit-learn, with what it learnt as plain values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Self

import numpy as np
import torch
from torch import Tensor

from ...errors import needed
from ._saving import NEEDS_SKLEARN

Kind = Literal["words", "pairs", "letters"]
# Runs of letters inside of words, blanks at both ends of a word counting: of 2 to 5, in at least two texts.
LETTERS: dict[str, Any] = {"analyzer": "char_wb", "ngram_range": (2, 5)}


class Tfidf:
    """TF-IDF of words, of words and pairs of words, or of runs of letters: a sparse row of norm 1 for each text."""

    def __init__(self, terms: Sequence[str], weights: Tensor, kind: Kind) -> None:
        self._terms, self._weights, self._kind = terms, weights, kind
        self._vectorizer: Any = None

    @classmethod
    def fit(cls, texts: Sequence[str], kind: Kind) -> tuple[Self, Any]:
        """Learn the terms and their weights; return them, and the rows of the texts (SciPy, CSR)."""
        vectorizer = _vectorizer(kind, min_df=2 if kind == "letters" else 1)
        try:
            rows = vectorizer.fit_transform(texts)
        except ValueError:  # no run of letters is in two texts
            vectorizer = _vectorizer(kind)
            rows = vectorizer.fit_transform(texts)
        return cls(vectorizer.get_feature_names_out().tolist(), torch.from_numpy(vectorizer.idf_), kind), rows

    def __len__(self) -> int:
        return len(self._terms)

    def rows(self, texts: Sequence[str]) -> Any:
        """Return a row for each text (SciPy, CSR); unknown words count nothing."""
        if self._vectorizer is None:
            self._vectorizer = _vectorizer(
                self._kind, vocabulary={term: place for place, term in enumerate(self._terms)}
            )
            self._vectorizer.idf_ = self._weights.numpy()
        return self._vectorizer.transform(texts)

    def state(self) -> dict[str, Any]:
        """Return the terms."""
        return {"terms": self._terms, "kind": self._kind}

    def tensors(self) -> dict[str, Tensor]:
        """Return the weights of the terms."""
        return {"idf": self._weights}

    @classmethod
    def restored(cls, state: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Self:
        """Build from what `state` and `tensors` returned."""
        before: Kind = "pairs" if state.get("pairs") else "words"  # what version 0.1 stored
        return cls(state["terms"], tensors["idf"], state.get("kind", before))


def _vectorizer(kind: Kind, **settings: Any) -> Any:
    with needed(NEEDS_SKLEARN, "train"):
        from sklearn.feature_extraction.text import TfidfVectorizer
    what = LETTERS if kind == "letters" else {
        "ngram_range": (1, 2 if kind == "pairs" else 1), "token_pattern": r"(?u)\w+|[^\w\s]",
    }  # fmt: skip
    return TfidfVectorizer(sublinear_tf=True, dtype=np.float64, **what, **settings)
