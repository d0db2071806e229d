"""BLEU and chrF by sacrebleu, with the signature that says how they were counted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ...errors import ArgumentError, needed


@dataclass(frozen=True)
class TranslationScores:
    """BLEU and chrF over the whole set, 0 to 100."""

    bleu: float
    chrf: float
    signature: str
    """How BLEU was counted, in sacrebleu's words."""

    def figures(self) -> dict[str, float]:
        """Return both figures."""
        return {"bleu": self.bleu, "chrf": self.chrf}

    def __str__(self) -> str:
        """One line."""
        return f"BLEU {self.bleu:.1f}, chrF {self.chrf:.1f} ({self.signature})"


def translation_scores(true: Sequence[str], found: Sequence[str]) -> TranslationScores:
    """Compare translations with the true ones.

    Source: Papineni et al. 2002; Popović 2015; Post 2018, arXiv:1804.08771.

    >>> round(translation_scores(["the cat sat on the mat"], ["the cat sat on the mat"]).bleu)
    100
    """
    if len(true) != len(found) or not true:
        raise ArgumentError(f"There are {len(true)} true texts and {len(found)} found; give one for each.")
    with needed("BLEU needs sacrebleu:", "train"):
        from sacrebleu.metrics.bleu import BLEU
        from sacrebleu.metrics.chrf import CHRF
    bleu, chrf = BLEU(), CHRF()
    score = bleu.corpus_score(list(found), [list(true)]).score
    return TranslationScores(score, chrf.corpus_score(list(found), [list(true)]).score, str(bleu.get_signature()))
