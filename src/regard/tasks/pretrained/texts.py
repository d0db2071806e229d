"""Labels of texts by a pretrained encoder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..._values import check_shares
from ...corpora import LabelledText
from ...training import TrainingSettings
from .._batches import by_length
from .._task import Attention, MakeBatch
from ..sentiment import Sentiment
from ._fine_tuned import FineTunedTexts, numbered
from ._models import named_weights
from ._settings import FineTuning, recipe


@dataclass(frozen=True, kw_only=True)
class FineTunedSentimentSettings(FineTuning):
    """Labels of texts from a pretrained encoder."""

    label_smoothing: float = 0.0
    """Label smoothing: the share of the target's probability that is spread over all labels."""
    class_weights: bool = False
    """Whether rare labels count more in the loss (balanced, at most 20-fold), and in the baseline's."""
    training: TrainingSettings = field(default_factory=recipe(epochs=3, tokens_per_step=1024))
    """How to train."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_shares(self, "label_smoothing")


class FineTunedSentiment(FineTunedTexts, Sentiment, of=Sentiment):
    """Gives a text its label, or its labels, by a pretrained encoder: BERT and its kin, DeBERTa, ModernBERT, ...

    A text longer than the model reads is cut into windows that overlap by half. An epoch of training reads one of
    them, drawn at random, and an answer is the mean of the logits of all: each window was taught the text's
    label by itself, and the mean counts a window by how sure it is.
    """

    head: ClassVar[str] = "AutoModelForSequenceClassification"
    Settings = FineTunedSentimentSettings  # type: ignore[assignment]

    def _changes(self) -> dict[str, Any]:
        kind = "multi_label_classification" if self.several_ else "single_label_classification"
        return {**numbered(self.labels_), "problem_type": kind}

    def _encode(self, examples: Sequence[LabelledText]) -> tuple[list[int], MakeBatch]:
        windows = self._cut(self.model_, [example.text for example in examples])
        targets = self._targets(examples)
        own: list[list[int]] = [[] for _ in examples]
        for index, window in enumerate(windows):
            own[window.text].append(index)

        def batch(indices: NDArray[np.int64], random: np.random.Generator) -> tuple[dict[str, Tensor], Tensor]:
            drawn = [own[i][int(random.integers(len(own[i])))] for i in indices]
            return self._stacked([windows[i].tokens for i in drawn]), targets[torch.from_numpy(indices)]

        return [max(len(windows[i].tokens) for i in some) for some in own], batch

    def _loss(self, model: nn.Module, batch: Any) -> tuple[Tensor, Tensor]:
        inputs, targets = batch
        return self._label_cost(model(**inputs).logits.float(), targets)

    @torch.no_grad()
    def _logits(self, model: nn.Module, inputs: Sequence[str]) -> Tensor:
        windows = self._cut(model, inputs)
        total, count = torch.zeros(len(inputs), len(self.labels_)), torch.zeros(len(inputs), 1)
        for group in self._going(by_length([len(window.tokens) for window in windows], at_once=8192), len(windows)):
            given = self._stacked([windows[i].tokens for i in group], model)
            owners = torch.tensor([windows[i].text for i in group])
            total.index_add_(0, owners, model(**given).logits.float().cpu())
            count.index_add_(0, owners, torch.ones(len(group), 1))
        return total / count

    def _speaks(self, inputs: Sequence[str]) -> Tensor:
        return torch.tensor([bool(text.strip()) for text in inputs])

    def _note(self, examples: Sequence[LabelledText]) -> str:
        return ""  # long texts are read in windows

    def _attention(self, model: nn.Module, one: Any) -> Attention:
        window = self._cut(model, [one])[0]
        weights = named_weights(model(**self._stacked([window.tokens], model), output_attentions=True), "attentions")
        return Attention(weights, self._shown(window, one))

    def _state(self) -> dict[str, Any]:
        return self._label_state()

    def _restore(self, state: dict[str, Any]) -> None:
        self._restore_labels(state)

    def _tensors(self) -> dict[str, Tensor]:
        return {}
