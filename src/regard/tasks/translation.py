"""Translation of a text into another language, or into another form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from ..corpora import TextPair
from ._lexicon import Lexicon, learn_lexicon
from ._sequence_to_sequence import PairSettings, PairTask
from ._task import Goal
from .baselines import Baseline, NearestSource
from .metrics import translation_scores


@dataclass(frozen=True)
class TranslationSettings(PairSettings):
    """Size of the model, tokenizer, and search for translations."""

    guided_alignment: bool = True
    """Whether, in training, a head of the decoder is told which tokens of the source a token translates, by a lexicon
    that is learnt from the pairs (IBM Model 1): it need not find out by itself where to look."""
    max_source: int = 128
    """Most tokens of a source; longer ones are truncated."""


class Translation(PairTask):
    """Writes a translation of each text."""

    name: ClassVar[str] = "translation"
    headline: ClassVar[str] = "bleu"
    figures: ClassVar[Mapping[str, Goal]] = dict.fromkeys(("bleu", "chrf"), "max")
    Settings = TranslationSettings

    def _learnt_lexicon(self, examples: Sequence[TextPair]) -> Lexicon | None:
        if not self.settings.guided_alignment:
            return None
        return learn_lexicon(*self._rows(examples), self.tokenizer_.vocab_size)

    def _figures(self, examples: Sequence[TextPair], answers: Sequence[str]) -> dict[str, float]:
        return translation_scores([example.target for example in examples], answers).figures()

    def _fit_baseline(self, train_examples: Sequence[TextPair]) -> Baseline:
        return NearestSource.fit(train_examples)
