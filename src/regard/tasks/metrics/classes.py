"""Accuracy and macro F1 of labels; tests compare them with scikit-learn's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ...errors import ArgumentError


@dataclass(frozen=True)
class ClassScores:
    """Share of examples whose labels are exactly right, and the mean of the labels' F1; 0 to 1."""

    accuracy: float
    macro_f1: float
    labels: dict[str, float]
    """F1 of each label."""

    def figures(self) -> dict[str, float]:
        """Return the figures over all labels."""
        return {"accuracy": self.accuracy, "macro_f1": self.macro_f1}

    def __str__(self) -> str:
        """One line."""
        return f"accuracy {self.accuracy:.1%}, macro F1 {self.macro_f1:.3f}"


def classification_scores(true: Sequence[Sequence[str]], found: Sequence[Sequence[str]]) -> ClassScores:
    """Compare true and predicted labels; each example has one or several.

    >>> print(classification_scores([("good",), ("bad",), ("bad",)], [("good",), ("good",), ("bad",)]))
    accuracy 66.7%, macro F1 0.667
    """
    if len(true) != len(found) or not true:
        raise ArgumentError(f"There are labels of {len(true)} examples and answers to {len(found)}; give one for each.")
    pairs = [(set(one), set(other)) for one, other in zip(true, found, strict=True)]
    labels = {}
    for label in sorted({label for pair in pairs for side in pair for label in side}):
        right = sum(label in one and label in other for one, other in pairs)
        either = sum((label in one) + (label in other) for one, other in pairs)
        labels[label] = 2 * right / either
    return ClassScores(
        sum(one == other for one, other in pairs) / len(pairs), sum(labels.values()) / max(1, len(labels)), labels
    )
