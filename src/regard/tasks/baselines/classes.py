"""Logistic regression over the words of a text; a kernel regression over the edges and pixels of a picture."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from ...corpora import Images, LabelledText
from ...errors import needed
from ._saving import NEEDS_SKLEARN, Baseline
from ._tfidf import Kind, Tfidf

# Most pictures that others are compared with, how many are compared (a minute), and how much large weights cost.
LANDMARKS, COMPARED, RIDGE = 3000, 100_000, 0.1
# A regression says 1 for the label and 0 for others: so many nats apart is about right.
SURE = 10.0


class _Linear(Baseline):
    """Scores of labels, linear in features: float32, so that a saved one gives the same to the bit."""

    def __init__(self, labels: Sequence[str], several: bool, weights: Tensor, bias: Tensor) -> None:
        self.labels, self.several = tuple(labels), several
        self._weights, self._bias = weights.float(), bias.float()  # (labels, features), (labels,)

    def _probabilities(self, scores: Tensor) -> Tensor:
        """Return the probability of each label, (N, labels): of one in all, or of each by itself."""
        scores = scores + self._bias
        return scores.sigmoid() if self.several else scores.softmax(-1)

    def _chosen(self, shares: Tensor) -> list[tuple[str, ...]]:
        """Return the labels of each example; if none is likely, only the most likely one."""
        chosen = shares > 0.5 if self.several else torch.zeros_like(shares, dtype=torch.bool)
        none = ~chosen.any(1)
        chosen[none, shares[none].argmax(1)] = True
        return [tuple(label for label, one in zip(self.labels, row, strict=True) if one) for row in chosen.tolist()]

    def state(self) -> dict[str, Any]:
        return {"labels": self.labels, "several": self.several}

    def tensors(self) -> dict[str, Tensor]:
        return {"weights": self._weights, "bias": self._bias}


class TfidfLogisticRegression(_Linear):
    """TF-IDF of words, pairs of words and letters, and a logistic regression; one per label if texts have several.

    A feature counts by how much it speaks for or against a label: TF-IDF times the logarithm of how much more frequent
    it is in texts with the label than in others, of the largest of all labels where they exclude each other. Letters
    are left out where there are too many of them.

    Source: Wang and Manning 2012, "Baselines and bigrams: simple, good sentiment and topic classification".
    """

    name = "TF-IDF of words, pairs and letters, logistic regression"
    LETTERS, LIMIT = 2e7, 1.3e8
    """Most letters of the texts, and most of them times labels, with which runs of letters are read: 4 GB, and time."""

    def __init__(
        self, terms: Sequence[Tfidf], labels: Sequence[str], several: bool, weights: Tensor, bias: Tensor
    ) -> None:
        super().__init__(labels, several, weights, bias)
        self._terms = terms

    @classmethod
    def fit(cls, examples: Sequence[LabelledText], *, balanced: bool = False) -> Self:
        """Learn from labelled texts; `balanced` weighs each label by its rarity."""
        texts = [example.text for example in examples]
        several = any(len(example.labels) != 1 for example in examples)
        labels = sorted({label for example in examples for label in example.labels})
        has = np.array([[label in example.labels for label in labels] for example in examples])
        kinds: tuple[Kind, ...] = ("pairs", "letters")
        letters = sum(map(len, texts))
        few = letters <= cls.LETTERS and letters * len(labels) <= cls.LIMIT
        terms, parts = zip(*(Tfidf.fit(texts, kind) for kind in kinds[: 1 + few]), strict=True)
        rows = _beside(parts)
        ratios = _ratios(rows, has)
        if several:
            fits = [
                _fitted(_scaled(rows, ratio), column, C=10.0, class_weight="balanced")
                for column, ratio in zip(has.T, ratios, strict=True)
            ]
            weights, bias = (np.concatenate(parts) for parts in zip(*fits, strict=True))
            weights *= ratios
        else:
            kind = "balanced" if balanced else None
            ratio = ratios.max(0)
            weights, bias = _fitted(_scaled(rows, ratio), has.argmax(1), C=10.0, max_iter=1000, class_weight=kind)
            weights *= ratio
        return cls(terms, labels, several, *_for_each(weights, bias, len(labels)))

    def probabilities(self, texts: Sequence[str]) -> Tensor:
        """Return the probability of each label, float32 (N, labels) in the order of `labels`."""
        parts = zip(self._terms, self._weights.split([len(some) for some in self._terms], 1), strict=True)
        scores = sum(np.asarray(some.rows(texts) @ weights.numpy().T) for some, weights in parts)
        return self._probabilities(torch.from_numpy(np.asarray(scores, np.float32)))

    def predict(self, texts: Sequence[str]) -> list[tuple[str, ...]]:
        """Return the labels of each text; if none is likely, only the most likely one."""
        return self._chosen(self.probabilities(texts))

    def state(self) -> dict[str, Any]:
        return {**super().state(), "features": [some.state() for some in self._terms]}

    def tensors(self) -> dict[str, Tensor]:
        idf = {f"idf{place}": some.tensors()["idf"] for place, some in enumerate(self._terms)}
        return {**super().tensors(), **idf}

    @classmethod
    def restored(cls, state: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Self:
        if "features" in state:
            parts = enumerate(state["features"])
            terms = [Tfidf.restored(some, {"idf": tensors[f"idf{place}"]}) for place, some in parts]
        else:  # what version 0.1 stored
            terms = [Tfidf.restored(state, tensors)]
        return cls(terms, state["labels"], state["several"], tensors["weights"], tensors["bias"])


class PictureKernelRidge(_Linear):
    """A ridge regression of labels on the likeness of a picture to others, by edges and pixels; of many, over a part.

    Features are pixels and histograms of oriented gradients of pictures of at most 32 pixels a side. Their likeness to
    up to 3,000 training pictures, exp(-1.5 d² / median d²), stands for an RBF kernel over all.

    Source: Dalal and Triggs 2005, "Histograms of oriented gradients for human detection"; Suykens and Vandewalle 1999,
    "Least squares support vector machine classifiers"; Williams and Seeger 2000, "Using the Nyström method to speed up
    kernel machines".
    """

    name = "RBF kernel over edges (HOG) and pixels, ridge regression"

    def __init__(
        self, labels: Sequence[str], several: bool, weights: Tensor, bias: Tensor, landmarks: Tensor | None, rate: float
    ) -> None:
        super().__init__(labels, several, weights, bias)
        self._landmarks, self._rate = landmarks, rate  # (landmarks, features); None: linear, as version 0.1 was

    @classmethod
    def fit(cls, images: Images, *, balanced: bool = False) -> Self:
        """Learn from labelled pictures; `balanced` weighs each label by its rarity."""
        labels = sorted(set(images.labels))
        number = {label: index for index, label in enumerate(labels)}
        targets = torch.tensor([number[label] for label in images.labels])
        counts = targets.bincount().double()
        landmarks = _features(images.pixels[_some(images.labels, LANDMARKS)])
        distances = _distances(landmarks, landmarks)
        rate = 1.5 / (float(distances.median()) or 1.0)
        share = torch.full_like(counts, 1 / len(counts)) if balanced else counts / counts.sum()
        products = torch.zeros(len(landmarks), len(landmarks), dtype=torch.float64)
        answers = torch.zeros(len(landmarks), len(labels), dtype=torch.float64)
        some = _some(images.labels, COMPARED)
        for part in np.array_split(some, _parts(some)):
            rows = _likeness(images.pixels[part], landmarks, rate)
            counting = (share * counts.sum() / counts)[targets[part]].float()[:, None]  # 1 each unless balanced
            wanted = F.one_hot(targets[part], len(labels)) - share.float()
            products += (rows.T @ (counting * rows)).double()
            answers += (rows.T @ (counting * wanted)).double()
        products += RIDGE * torch.exp(-rate * distances).double()
        products.diagonal().add_(1e-6 * products.diagonal().mean())
        weights = torch.linalg.solve(products, answers).T
        return cls(labels, False, SURE * weights, SURE * share, landmarks, rate)

    def probabilities(self, pixels: NDArray[np.uint8]) -> Tensor:
        """Return the probability of each label, float32 (N, labels) in the order of `labels`."""
        groups = np.array_split(pixels, _parts(pixels))
        parts = [_likeness(some, self._landmarks, self._rate) @ self._weights.T for some in groups]
        return self._probabilities(torch.cat(parts))

    def predict(self, pixels: NDArray[np.uint8]) -> list[str]:
        """Return the label of each picture."""
        return [labels[0] for labels in self._chosen(self.probabilities(pixels))]

    def state(self) -> dict[str, Any]:
        return {**super().state(), "rate": self._rate}

    def tensors(self) -> dict[str, Tensor]:
        return super().tensors() | ({} if self._landmarks is None else {"landmarks": self._landmarks})

    @classmethod
    def restored(cls, state: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Self:
        landmarks, rate = tensors.get("landmarks"), state.get("rate", 0.0)
        return cls(state["labels"], state["several"], tensors["weights"], tensors["bias"], landmarks, rate)


Baseline.kinds["PictureLogisticRegression"] = PictureKernelRidge  # its name in version 0.1


def _fitted(rows: Any, targets: NDArray[Any], **settings: Any) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the weights and biases of a logistic regression; that it could still improve is no news to the user."""
    with needed(NEEDS_SKLEARN, "train"):
        from sklearn.linear_model import LogisticRegression
    if len(np.unique(targets)) < 2:  # a label that every text has
        return np.zeros((1, rows.shape[1])), np.array([10.0 if targets[0] else -10.0])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = LogisticRegression(**{"max_iter": 1000, **settings}).fit(rows, targets)
    return model.coef_, model.intercept_


def _ratios(rows: Any, has: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return how far each feature's share of the features of texts with a label lies from that of the others.

    Absolute logarithms, smoothed by one occurrence, (labels, features); `has` is bool (texts, labels).
    """
    occurs = rows.copy()
    occurs.data[:] = 1.0
    inside = np.asarray(occurs.T @ has.astype(np.float64)).T
    outside = np.asarray(occurs.sum(0)) - inside
    inside, outside = inside + 1, outside + 1
    shares = np.log(inside / inside.sum(1, keepdims=True)) - np.log(outside / outside.sum(1, keepdims=True))
    found: NDArray[np.float64] = np.abs(shares)
    return found


def _beside(parts: Sequence[Any]) -> Any:
    from scipy.sparse import hstack

    return hstack(parts, "csr")


def _scaled(rows: Any, factors: NDArray[np.float64]) -> Any:
    """Return sparse rows with each column times its factor."""
    found = rows.copy()
    found.data *= factors[found.indices]
    return found


def _for_each(weights: NDArray[Any], bias: NDArray[Any], labels: int) -> tuple[Tensor, Tensor]:
    """Return weights and biases with a row for each label; scikit-learn has one row for two labels."""
    if labels == 2 and len(weights) == 1:
        weights, bias = np.concatenate([-weights, weights]) / 2, np.concatenate([-bias, bias]) / 2
    return torch.from_numpy(weights), torch.from_numpy(bias)


def _some(labels: Sequence[str], most: int) -> NDArray[np.int64]:
    """Return the places of every n-th example, about `most` at most, and of the first of each label."""
    firsts = {label: place for place, label in reversed(list(enumerate(labels)))}
    return np.unique(np.concatenate([np.arange(0, len(labels), -(-len(labels) // most)), list(firsts.values())]))


def _parts(rows: NDArray[Any]) -> int:
    """Return in how many parts rows are computed, 1,000 at a time."""
    return max(1, -(-len(rows) // 1000))


def _likeness(pixels: NDArray[np.uint8], landmarks: Tensor | None, rate: float) -> Tensor:
    """Return how alike pictures are to landmarks, 1 for the same: float32 (N, landmarks); their features without."""
    if landmarks is None:
        return _features(pixels)
    return torch.exp(-rate * _distances(_features(pixels), landmarks))


def _distances(rows: Tensor, others: Tensor) -> Tensor:
    """Return the squared distance of each row to each other row."""
    squares = rows.square().sum(1)[:, None] + others.square().sum(1)
    return torch.addmm(squares, rows, others.T, alpha=-2).clamp_min_(0)


def _features(pixels: NDArray[np.uint8], side: int = 32, cell: int = 4, bins: int = 9) -> Tensor:
    """Return pixels, and histograms of the directions of edges in blocks of 2 x 2 cells, float32 (N, features)."""
    images = torch.from_numpy(np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))).float() / 255
    height, width = (min(side, size) for size in images.shape[2:])
    images = F.adaptive_avg_pool2d(images, (height, width))
    flat = (images.flatten(1) * 2 - 1) * 0.3  # beside blocks of norm 1
    if min(height, width) < 2 * cell:
        return flat
    grey = images.mean(1, keepdim=True)
    across, down = F.pad(grey, (1, 1, 0, 0), mode="replicate"), F.pad(grey, (0, 0, 1, 1), mode="replicate")
    x, y = across[..., 2:] - across[..., :-2], down[..., 2:, :] - down[..., :-2, :]
    strength, angle = (x**2 + y**2).sqrt(), torch.atan2(y, x).remainder(torch.pi) / torch.pi * bins
    low = angle.floor()
    found = torch.zeros(len(grey), bins, height, width)
    found.scatter_add_(1, low.long() % bins, strength * (low + 1 - angle))
    found.scatter_add_(1, (low.long() + 1) % bins, strength * (angle - low))
    cells = F.avg_pool2d(found, cell)
    block = torch.cat([cells[..., :-1, :-1], cells[..., 1:, :-1], cells[..., :-1, 1:], cells[..., 1:, 1:]], 1)
    return torch.cat([flat, (block / (block.norm(dim=1, keepdim=True) + 1e-2)).flatten(1)], 1)
