"""ROUGE-1, ROUGE-2 and ROUGE-L (F1), counted as by the package rouge-score, with which tests compare.

Source: Lin 2004, "ROUGE: A Package for Automatic Evaluation of Summaries".
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ...errors import ArgumentError, MissingExtraError

OTHER = re.compile(r"[^a-z0-9]+")


@dataclass(frozen=True)
class RougeScores:
    """Means over texts of the F1 of words, of pairs of words, and of the longest common subsequence; 0 to 1."""

    rouge_1: float
    rouge_2: float
    rouge_l: float

    def figures(self) -> dict[str, float]:
        """Return the three figures."""
        return {"rouge_1": self.rouge_1, "rouge_2": self.rouge_2, "rouge_l": self.rouge_l}

    def __str__(self) -> str:
        """One line."""
        return f"ROUGE-1/2/L {100 * self.rouge_1:.1f} / {100 * self.rouge_2:.1f} / {100 * self.rouge_l:.1f}"


def rouge_scores(true: Sequence[str], found: Sequence[str], *, stem: bool = False) -> RougeScores:
    """Compare summaries with the true ones, word by word (letters and digits of English, lower case).

    `stem` reduces words to their stems first (Porter), which needs the package nltk.

    >>> print(rouge_scores(["the cat sat on the mat"], ["the cat on the mat"]))
    ROUGE-1/2/L 90.9 / 66.7 / 90.9
    """
    if len(true) != len(found) or not true:
        raise ArgumentError(f"There are {len(true)} true texts and {len(found)} found; give one for each.")
    stemmed = _stemmer() if stem else _unchanged
    sums = [0.0, 0.0, 0.0]
    for one, other in zip(true, found, strict=True):
        a, b = _words(one, stemmed), _words(other, stemmed)
        for place, score in enumerate((_overlap(a, b, 1), _overlap(a, b, 2), _longest(a, b))):
            sums[place] += score
    return RougeScores(*(total / len(true) for total in sums))


def _words(text: str, stemmed: Callable[[str], str]) -> list[str]:
    words = OTHER.sub(" ", text.lower()).split()
    return [stemmed(word) if len(word) > 3 else word for word in words]


def _unchanged(word: str) -> str:
    return word


def _stemmer() -> Callable[[str], str]:
    try:
        from nltk.stem.porter import PorterStemmer
    except ImportError:
        raise MissingExtraError("ROUGE with stems needs the package nltk: `pip install nltk`.") from None
    stem: Callable[[str], str] = PorterStemmer().stem
    return stem


def _f1(common: int, true: int, found: int) -> float:
    return 2 * common / (true + found) if common else 0.0


def _overlap(true: list[str], found: list[str], size: int) -> float:
    """Return the F1 of n-grams of `size` words."""
    a, b = (Counter(zip(*(words[i:] for i in range(size)), strict=False)) for words in (true, found))
    return _f1((a & b).total(), a.total(), b.total())


def _longest(true: list[str], found: list[str]) -> float:
    """Return the F1 of the longest common subsequence."""
    row = [0] * (len(found) + 1)
    for word in true:
        diagonal = 0
        for place, other in enumerate(found, start=1):
            above = row[place]
            row[place] = diagonal + 1 if word == other else max(above, row[place - 1])
            diagonal = above
    return _f1(row[-1], len(true), len(found))
