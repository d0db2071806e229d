"""What the tasks share that start from a pretrained model of Hugging Face transformers."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from ...training import TrainingSettings
from .._batches import padded
from .._recipe import Advice
from .._task import Task
from ._models import choose_weights, fitting_rate, load_model, load_tokenizer, merged
from ._windows import Window, longest, windows_of


def numbered(labels: Sequence[str]) -> dict[str, Any]:
    """Return what the configuration of a model says of its labels."""
    numbers = dict(enumerate(labels))
    return {"id2label": numbers, "label2id": {label: number for number, label in numbers.items()}}


class FineTuned(Task[Any, Any]):
    """A task whose model is one of transformers: `model_` is a `PreTrainedModel`.

    The task's own class says what examples, answers, figures and baseline are; this one replaces its model. A run's
    folder holds the model in the format of transformers, so that `from_pretrained(folder)` opens it.
    """

    files: ClassVar[str] = "config.json, model.safetensors, README.md"
    head: ClassVar[str]
    """The class of transformers that loads the model with its head: `AutoModelFor...`."""

    def __init_subclass__(cls, of: type[Task[Any, Any]] | None = None, **more: Any) -> None:
        super().__init_subclass__(**more)
        if of is not None:
            of.fine_tuned, of.FineTuning = cls, cls.Settings

    def _advice(self, examples: Any) -> Sequence[Advice]:
        return ()  # sizes are the pretrained model's

    def _build(self) -> nn.Module:
        model = load_model(self.head, self.settings.model, **self._changes())
        self._rate = fitting_rate(model, self.settings)
        return choose_weights(model, self.settings)

    def _changes(self) -> dict[str, Any]:
        """Return what the configuration of the model must say: its labels."""
        return {}

    def _training_settings(self, lengths: Sequence[int]) -> TrainingSettings:
        settings = super()._training_settings(lengths)
        if settings.optimizer.lr is not None:
            return settings
        return dataclasses.replace(settings, optimizer=dataclasses.replace(settings.optimizer, lr=self._rate))

    def _start(self, model: nn.Module, objective: Any) -> None:
        """Freeze weights that no loss reaches (a pooler, a mask token): processes would wait for their gradients."""
        shortest = np.array([int(np.argmin(objective.lengths))])
        loss, _ = self._loss(model, objective.batch(shortest, np.random.default_rng(0)))
        loss.backward()
        for weight in model.parameters():
            weight.requires_grad_(weight.requires_grad and weight.grad is not None)
            weight.grad = None

    def _settle(self, dev_examples: Any) -> None:
        if hasattr(self, "model_"):  # not with the baseline alone
            self.model_ = merged(self.model_)
        super()._settle(dev_examples)

    def _place(self, folder: Path) -> Path:
        return folder

    def _load_model(self, folder: Path) -> nn.Module:
        return load_model(self.head, str(folder))


class FineTunedTexts(FineTuned):
    """A task whose model reads texts, with its own tokenizer."""

    def _learn(self, examples: Any) -> None:
        self.tokenizer_ = load_tokenizer(self.settings.model)
        self._learn_labels(examples)

    def _state(self) -> dict[str, Any]:
        return {}

    def _restore(self, state: dict[str, Any]) -> None:
        """The tokenizer comes with the model."""

    def _save_model(self, model: nn.Module, folder: Path) -> None:
        super()._save_model(model, folder)
        self.tokenizer_.save_pretrained(folder)

    def _load_model(self, folder: Path) -> nn.Module:
        self.tokenizer_ = load_tokenizer(str(folder))
        return super()._load_model(folder)

    def _build(self) -> nn.Module:
        model = super()._build()
        if model.config.pad_token_id is None:  # type: ignore[union-attr]
            model.config.pad_token_id = self.tokenizer_.pad_token_id  # type: ignore[union-attr]
        return model

    def _cut(self, model: nn.Module, texts: Sequence[str]) -> list[Window]:
        """Cut texts into windows that the model can read."""
        return windows_of(self.tokenizer_, texts, longest(self.tokenizer_, model.config, self.settings.max_length))

    def _stacked(self, rows: Sequence[Sequence[int]], model: nn.Module | None = None) -> dict[str, Tensor]:
        """Return rows of ids as the model's input, on its device: ids and mask, int64 `(B, L)`."""
        ids, lengths = padded(rows, self.tokenizer_.pad_token_id)
        inputs = {"input_ids": ids, "attention_mask": (torch.arange(ids.shape[1]) < lengths[:, None]).long()}
        if model is None:
            return inputs
        device = next(model.parameters()).device
        return {name: tensor.to(device) for name, tensor in inputs.items()}

    def _shown(self, window: Window, text: str) -> tuple[str, ...]:
        """Return the text of each token; special tokens have their names."""
        names = self.tokenizer_.convert_ids_to_tokens(list(window.tokens))
        return tuple(text[start:stop].strip() or name for (start, stop), name in zip(window.spans, names, strict=True))
