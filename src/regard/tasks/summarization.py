"""Summaries: a long text becomes a short one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from ..corpora import TextPair
from ._sequence_to_sequence import PairSettings, PairTask
from ._task import Goal
from .baselines import FirstWords
from .metrics import rouge_scores

__all__ = ["Summarization", "SummarizationSettings"]


@dataclass(frozen=True)
class SummarizationSettings(PairSettings):
    """Size of the model, how text becomes tokens, and how summaries are searched for."""

    copying: bool = True
    """Whether words of the source may be written again by pointing at them."""
    max_target: int = 48
    """Tokens of a summary that are learnt or written."""
    no_repeat_ngram_size: int = 3
    """No run of so many tokens is written twice in one summary; 0 allows it."""


class Summarization(PairTask):
    """Writes a summary of each text."""

    name: ClassVar[str] = "summarization"
    headline: ClassVar[str] = "rouge_l"
    figures: ClassVar[Mapping[str, Goal]] = dict.fromkeys(("rouge_1", "rouge_2", "rouge_l"), "max")
    Settings = SummarizationSettings

    def _figures(self, examples: Sequence[TextPair], answers: Sequence[str]) -> dict[str, float]:
        return rouge_scores([example.target for example in examples], answers).figures()

    def _baseline(
        self, train_examples: Sequence[TextPair], examples: Sequence[TextPair]
    ) -> tuple[str, dict[str, float]]:
        baseline = FirstWords.fit(train_examples)
        answers = baseline.predict([example.source for example in examples])
        return baseline.name, self._figures(examples, answers)
