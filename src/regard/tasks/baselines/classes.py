"""Logistic regression over the words of a text, or over the pixels of a picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from ...corpora import Images, LabelledText
from ...errors import MissingExtraError, install_line

__all__ = ["PixelLogisticRegression", "TfidfLogisticRegression"]


class TfidfLogisticRegression:
    """TF-IDF of words and pairs of words, and a logistic regression; one per label if texts have several labels."""

    name: ClassVar[str] = "TF-IDF of words and pairs, logistic regression"

    def __init__(self, vectorizer: Any, model: Any, binarizer: Any) -> None:
        self._vectorizer, self._model, self._binarizer = vectorizer, model, binarizer

    @classmethod
    def fit(cls, examples: Sequence[LabelledText]) -> Self:
        """Learn from labelled texts."""
        _need_sklearn()
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.linear_model import LogisticRegression
        from sklearn.multiclass import OneVsRestClassifier
        from sklearn.preprocessing import MultiLabelBinarizer

        vectorizer = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, token_pattern=r"(?u)\w+|[^\w\s]")
        rows = vectorizer.fit_transform(example.text for example in examples)
        model: Any = LogisticRegression(C=10.0, max_iter=1000)
        if all(len(example.labels) == 1 for example in examples):
            return cls(vectorizer, model.fit(rows, [example.labels[0] for example in examples]), None)
        binarizer = MultiLabelBinarizer()
        model = OneVsRestClassifier(LogisticRegression(C=10.0, max_iter=1000, class_weight="balanced"))
        model.fit(rows, binarizer.fit_transform([example.labels for example in examples]))
        return cls(vectorizer, model, binarizer)

    def predict(self, texts: Sequence[str]) -> list[tuple[str, ...]]:
        """Return the labels of each text; if none is likely, only the most likely one."""
        rows = self._vectorizer.transform(texts)
        if self._binarizer is None:
            return [(str(label),) for label in self._model.predict(rows)]
        shares = self._model.predict_proba(rows)
        chosen = shares > 0.5
        chosen[np.arange(len(shares)), shares.argmax(1)] |= ~chosen.any(1)
        return [tuple(map(str, labels)) for labels in self._binarizer.inverse_transform(chosen.astype(int))]


class PixelLogisticRegression:
    """A logistic regression over pixels, fitted to at most 10,000 pictures."""

    name: ClassVar[str] = "logistic regression over pixels"
    LIMIT: ClassVar[int] = 10_000

    def __init__(self, model: Any) -> None:
        self._model = model

    @classmethod
    def fit(cls, images: Images) -> Self:
        """Learn from labelled pictures."""
        _need_sklearn()
        from sklearn.linear_model import LogisticRegression

        step = max(1, -(-len(images) // cls.LIMIT))
        model = LogisticRegression(C=0.01, max_iter=100)
        return cls(model.fit(_flat(images.pixels[::step]), images.labels[::step]))

    def predict(self, pixels: NDArray[np.uint8]) -> list[str]:
        """Return the label of each picture."""
        return [str(label) for label in self._model.predict(_flat(pixels))]


def _flat(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    return pixels.reshape(len(pixels), -1).astype(np.float32) / np.float32(127.5) - np.float32(1)


def _need_sklearn() -> None:
    try:
        import sklearn  # noqa: F401
    except ImportError:
        raise MissingExtraError(f"This baseline needs scikit-learn: {install_line('train')}.") from None
