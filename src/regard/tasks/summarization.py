"""Summarization: a short text from a long one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from ..corpora import TextPair
from ._sequence_to_sequence import PairSettings, PairTask
from ._task import Goal
from .baselines import Baseline, FirstWords
from .metrics import rouge_scores


@dataclass(frozen=True)
class SummarizationSettings(PairSettings):
    """Size of the model, tokenizer, and search for summaries."""

    copying: bool = True
    """Whether the decoder may copy words of the source (pointer-generator)."""
    max_target: int = 48
    """Most tokens of a summary, in training and when writing."""
    no_repeat_ngram_size: int = 3
    """No n-gram of this many tokens is written twice in one summary; 0: no restriction."""


class Summarization(PairTask):
    """Writes a summary of each text."""

    name: ClassVar[str] = "summarization"
    headline: ClassVar[str] = "rouge_l"
    figures: ClassVar[Mapping[str, Goal]] = dict.fromkeys(("rouge_1", "rouge_2", "rouge_l"), "max")
    Settings = SummarizationSettings

    def _figures(self, examples: Sequence[TextPair], answers: Sequence[str]) -> dict[str, float]:
        return rouge_scores([example.target for example in examples], answers).figures()

    def _fit_baseline(self, train_examples: Sequence[TextPair]) -> Baseline:
        return FirstWords.fit(train_examples)
