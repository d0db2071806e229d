"""Named entities by a pretrained encoder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from ...corpora import TaggedWords
from ...models.conditional_field import follows
from ...models.token_classifier import IGNORED
from .._batches import by_length, padded
from .._chains import Chains
from .._task import Attention, MakeBatch
from ..ner import NamedEntities
from ._fine_tuned import FineTunedTexts, numbered
from ._models import named_weights
from ._settings import FineTuning
from ._windows import Window, place_words

# A tag that no word may have.
NEVER = -1e4


@dataclass(frozen=True, kw_only=True)
class FineTunedEntitiesSettings(FineTuning):
    """Named entities from a pretrained encoder."""

    class_weights: bool = False
    """Whether words of rare labels count more in the loss, up to 20-fold."""


class FineTunedEntities(FineTunedTexts, NamedEntities, of=NamedEntities):
    """Tags every word by a pretrained encoder: BERT and its kin, DeBERTa, ModernBERT, ELECTRA, ...

    Words are found again among the model's tokens by character offsets; a word's first token carries its tag. A
    text longer than the model reads is cut into windows that overlap by half, and a word is decided in the window where
    it is furthest from an edge. The best sequence of tags is one that IOB2 allows.
    """

    head: ClassVar[str] = "AutoModelForTokenClassification"
    Settings = FineTunedEntitiesSettings  # type: ignore[assignment]

    def _changes(self) -> dict[str, Any]:
        return numbered(self.tags_)

    def _placed(self, model: nn.Module, rows: Sequence[Sequence[str]]) -> tuple[list[Window], list[dict[int, int]]]:
        """Return the windows of sentences, and which word is decided where in each."""
        joined = [" ".join(words) for words in rows]
        windows = self._cut(model, joined)
        return windows, place_words(windows, rows, joined)

    def _encode(self, examples: Sequence[TaggedWords]) -> tuple[list[int], MakeBatch]:
        windows, placed = self._placed(self.model_, [example.words for example in examples])
        number = {tag: index for index, tag in enumerate(self.tags_)}
        kept = [index for index, words in enumerate(placed) if words]
        targets = []
        for index in kept:
            row = [IGNORED] * len(windows[index].tokens)
            for place, word in placed[index].items():
                row[place] = number[examples[windows[index].text].tags[word]]
            targets.append(row)

        def batch(indices: NDArray[np.int64], random: np.random.Generator) -> tuple[dict[str, Tensor], Tensor]:
            tags, _ = padded([targets[i] for i in indices], fill=IGNORED)
            return self._stacked([windows[kept[i]].tokens for i in indices]), tags

        return [len(row) for row in targets], batch

    def _loss(self, model: nn.Module, batch: Any) -> tuple[Tensor, Tensor]:
        inputs, tags = batch
        scores = model(**inputs).logits.float()
        weights = self._tag_weights().to(scores.device) if self.settings.class_weights else None
        loss = F.cross_entropy(scores.flatten(0, 1), tags.flatten(), weights, ignore_index=IGNORED, reduction="sum")
        return loss, (tags != IGNORED).sum()

    def _chains(self, model: nn.Module, sentences: Sequence[Any]) -> Chains:
        """Return the log-probabilities of the tags of sentences, with the sequences that IOB2 forbids very low."""
        scores = self._scores(model, sentences)
        first, after = follows(self.tags_)
        table = nn.utils.rnn.pad_sequence(scores, batch_first=True)
        lengths = torch.tensor([len(some) for some in scores])
        return Chains(table, lengths, NEVER * ~first, NEVER * ~after, torch.zeros(len(self.tags_)))

    def _scores(self, model: nn.Module, rows: Sequence[Sequence[str]]) -> list[Tensor]:
        """Return the log-probability of each tag for each word of sentences: (words, tags) each."""
        outside = torch.full((len(self.tags_),), NEVER)
        outside[self._outside()] = 0.0
        found = [outside.repeat(len(words), 1) for words in rows]
        windows, placed = self._placed(model, rows)
        for group in self._going(by_length([len(window.tokens) for window in windows], at_once=8192), len(windows)):
            inputs = self._stacked([windows[i].tokens for i in group], model)
            logits = model(**inputs).logits.float().log_softmax(-1).cpu()
            for row, i in zip(logits, group, strict=True):
                if placed[i]:
                    found[windows[i].text][list(placed[i].values())] = row[list(placed[i])]
        return found

    def _attention(self, model: nn.Module, one: Any) -> Attention:
        windows, placed = self._placed(model, [one])
        inputs = self._stacked([windows[0].tokens], model)
        weights = named_weights(model(**inputs, output_attentions=True), "attentions")
        tags = self._used([one], 1.0)[0].tags
        at = placed[0]
        labels = tuple(tags[at[place]] if place in at else "" for place in range(len(windows[0].tokens)))
        return Attention(weights, self._shown(windows[0], " ".join(one)), labels=labels)

    def _state(self) -> dict[str, Any]:
        return self._tag_state()

    def _restore(self, state: dict[str, Any]) -> None:
        self._restore_tags(state)
