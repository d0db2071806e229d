"""Small models of each kind and inputs for them, shared by the tests."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from regard.models import (
    ImageClassifier,
    ImageClassifierConfig,
    LanguageModel,
    LanguageModelConfig,
    PretrainedModel,
    SequenceClassifier,
    SequenceClassifierConfig,
    SequenceToSequence,
    SequenceToSequenceConfig,
    TokenClassifier,
    TokenClassifierConfig,
)

SIZES: dict[str, Any] = {"embed_dim": 16, "num_heads": 2, "num_layers": 2}
TEXT: dict[str, Any] = {**SIZES, "vocab_size": 11}
POSITIONS = ("rotary", "sinusoidal", "learned", "alibi", "relative", "none")


class Example(NamedTuple):
    """A model and a batch for it."""

    model: PretrainedModel[Any]
    inputs: tuple[Tensor, ...]
    named: dict[str, Tensor]

    def __call__(self, model: Callable[..., Any] | None = None, **more: Any) -> Any:
        """Run the model, or one like it, on the batch."""
        run = self.model if model is None else model
        return run(*self.inputs, **self.named, **more)


def _tokens(*shape: int) -> Tensor:
    return torch.randint(1, 11, shape)


def language_model(**options: Any) -> Example:
    """A language model and a padded batch."""
    model = LanguageModel(LanguageModelConfig(**{**TEXT, **options})).eval()
    return Example(model, (_tokens(2, 6), torch.tensor([6, 4])), {})


def sequence_to_sequence(**options: Any) -> Example:
    """An encoder-decoder and a padded batch."""
    model = SequenceToSequence(SequenceToSequenceConfig(**{**TEXT, **options})).eval()
    return Example(model, (_tokens(2, 6), _tokens(2, 4), torch.tensor([6, 3]), torch.tensor([2, 4])), {})


def pointing(**options: Any) -> Example:
    """An encoder-decoder that may copy words of the source."""
    return sequence_to_sequence(**{"copying": True, **options})


def token_classifier(**options: Any) -> Example:
    """A tagger of words with letters and a padded batch."""
    model = TokenClassifier(TokenClassifierConfig(**{**TEXT, "num_labels": 3, "char_vocab_size": 7, **options})).eval()
    return Example(model, (_tokens(2, 6), torch.tensor([6, 4])), {"characters": torch.randint(0, 7, (2, 6, 5))})


def linked_words(**options: Any) -> Example:
    """A tagger with `RepeatFeatures`; the batch has a repeated word."""
    example = token_classifier(**{"repeats": True, **options})
    example.named["characters"][:, 3] = example.named["characters"][:, 1]
    return example


def sequence_classifier(**options: Any) -> Example:
    """A classifier of texts and a padded batch."""
    model = SequenceClassifier(SequenceClassifierConfig(**{**TEXT, "num_labels": 3, **options})).eval()
    return Example(model, (_tokens(2, 6), torch.tensor([6, 4])), {})


def image_classifier(**options: Any) -> Example:
    """A classifier of images and a batch."""
    sizes = {"height": 8, "width": 12, "in_channels": 1, "num_labels": 3}
    model = ImageClassifier(ImageClassifierConfig(**{**SIZES, **sizes, **options})).eval()
    return Example(model, (torch.randn(2, 1, 8, 12),), {})


KINDS: dict[str, Callable[..., Example]] = {
    "language_model": language_model,
    "sequence_to_sequence": sequence_to_sequence,
    "pointing": pointing,
    "token_classifier": token_classifier,
    "linked_words": linked_words,
    "sequence_classifier": sequence_classifier,
    "image_classifier": image_classifier,
}
