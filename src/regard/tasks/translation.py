"""Translation of a text into another language, or into another form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from ..corpora import TextPair
from ._lexicon import learn_lexicon
from ._sequence_to_sequence import PairSettings, PairTask
from ._task import Goal
from .baselines import Baseline, NearestSource
from .metrics import translation_scores


@dataclass(frozen=True)
class TranslationSettings(PairSettings):
    """Size of the model, tokenizer, and search for translations."""

    copying: bool = True
    """Whether the decoder may write what a lexicon, learnt from the pairs (IBM Model 1), says for words of the source:
    what is rare needs not be learnt by the network."""
    max_source: int = 128
    """Most tokens of a source; longer ones are truncated."""


class Translation(PairTask):
    """Writes a translation of each text."""

    name: ClassVar[str] = "translation"
    headline: ClassVar[str] = "bleu"
    figures: ClassVar[Mapping[str, Goal]] = dict.fromkeys(("bleu", "chrf"), "max")
    Settings = TranslationSettings

    def _learnt_lexicon(self, examples: Sequence[TextPair]) -> tuple[Tensor, Tensor] | None:
        return learn_lexicon(*self._rows(examples), self.tokenizer_.vocab_size) if self.settings.copying else None

    def _figures(self, examples: Sequence[TextPair], answers: Sequence[str]) -> dict[str, float]:
        return translation_scores([example.target for example in examples], answers).figures()

    def _fit_baseline(self, train_examples: Sequence[TextPair]) -> Baseline:
        return NearestSource.fit(train_examples)
