"""Sentiment, and any other classification of texts into one or several labels."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from .._values import check_shares, check_sizes
from ..corpora import LabelledText
from ..errors import ArgumentError
from ..models import SequenceClassifier, SequenceClassifierConfig
from ..training import Batches, Budget, Evaluation, Optimizer, TrainingSettings
from ._batches import by_length, padded, stacked, windows
from ._classes import ClassTask
from ._evidence import Evidence
from ._overlap import groups
from ._task import Attention, Goal, MakeBatch, Positions, TaskSettings
from .baselines import Baseline, TfidfLogisticRegression
from .tokenizers import Kind, Tokenizer, train_tokenizer

UNKNOWN = 1


@dataclass(frozen=True)
class SentimentSettings(TaskSettings):
    """Size of the model, tokenizer, and what training hides at random."""

    embed_dim: int = 128
    """Width of the model."""
    num_heads: int = 4
    """Attention heads of each layer."""
    num_layers: int = 2
    """Encoder layers."""
    dropout: float = 0.5
    """Dropout of the layers, a probability."""
    positions: Positions = "rotary"
    """The kind of positional encoding."""
    pooling: Literal["mean", "class"] = "mean"
    """How a text becomes one vector: the `mean` of its tokens, or a `class` token."""
    tokenizer: Kind = "words"
    """The kind of tokenizer."""
    vocab_size: int = 20_000
    """Largest size of the vocabulary."""
    lowercase: bool = True
    """Whether the tokenizer ignores case."""
    max_length: int = 512
    """Most tokens that are read at once; longer texts are read in windows that overlap by half."""
    evidence: bool = True
    """Whether each token also has naive Bayes features, of the words, pairs and triples of the training
    texts: worth two to three points on ten thousand texts."""
    hide_tokens: float = 0.3
    """Share of the tokens that training replaces by "unknown"."""
    label_smoothing: float = 0.1
    """Label smoothing: the share of the target's probability that is spread over all labels."""
    class_weights: bool = False
    """Whether rare labels count more in the loss (balanced, at most 20-fold), and in the baseline's."""
    training: TrainingSettings = field(
        default_factory=lambda: TrainingSettings(
            optimizer=Optimizer(lr=1e-3, weight_decay=0.1),
            batches=Batches(tokens_per_step=2048),
            budget=Budget(epochs=3),  # small data sets overfit after that
            evaluation=Evaluation(patience=4),
        )
    )
    """How to train."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_sizes(self, "embed_dim", "num_heads", "vocab_size", "max_length")
        check_sizes(self, "num_layers", low=0)
        check_shares(self, "dropout", "hide_tokens", "label_smoothing")


class Sentiment(ClassTask[Sequence[LabelledText]]):
    """Gives a text its label, or its labels if training texts have several or none.

    With exactly one label a text, labels exclude each other (softmax). Otherwise each label is decided by
    itself: sigmoid above a threshold chosen on the development texts; if no label is above and every
    training text has one, the most likely. A linear map of naive Bayes evidence is part of the model's input.

    Of a long text an epoch of training reads one window, drawn at random; an answer is the mean of all windows' logits.
    """

    name: ClassVar[str] = "sentiment"
    headline: ClassVar[str] = "macro_f1"
    figures: ClassVar[Mapping[str, Goal]] = dict.fromkeys(("accuracy", "macro_f1"), "max")
    Settings = SentimentSettings

    def _learn_labels(self, examples: Sequence[LabelledText]) -> None:
        self._count_labels(self._labels(examples))
        if len(self.labels_) < 2:
            raise ArgumentError(
                f"Training texts have {len(self.labels_)} label ({', '.join(self.labels_)}); two are the least."
            )

    def _learn(self, examples: Sequence[LabelledText]) -> None:
        self._learn_labels(examples)
        settings = self.settings
        self.tokenizer_ = self._known(
            "tokenizer_",
            lambda: train_tokenizer(
                settings.tokenizer,
                (example.text for example in examples),
                vocab_size=settings.vocab_size,
                lowercase=settings.lowercase,
            ),
        )

        if self.settings.evidence:
            rows = self._numbers([example.text for example in examples])
            targets = self._targets(examples).numpy()
            self.evidence_, self._own = Evidence.learnt(rows, targets, self.tokenizer_.vocab_size)

    def _build(self) -> nn.Module:
        settings = self.settings
        return SequenceClassifier(
            SequenceClassifierConfig(
                vocab_size=self.tokenizer_.vocab_size,
                num_labels=len(self.labels_),
                evidence_dim=self.evidence_.width if self.settings.evidence else 0,
                embed_dim=settings.embed_dim,
                num_heads=settings.num_heads,
                num_layers=settings.num_layers,
                dropout=settings.dropout,
                positions=settings.positions,
                pooling=settings.pooling,
            )
        )

    def _load_model(self, folder: Path) -> nn.Module:
        return SequenceClassifier.from_pretrained(folder)

    def _numbers(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the tokens of each text; an empty text is one unknown token."""
        return [row or [UNKNOWN] for row in self.tokenizer_.encode_batch(texts)]

    def _windows(self, row: Sequence[int]) -> list[slice]:
        """Return the parts of a text that are read one by one."""
        return windows(len(row), self.settings.max_length)

    def _encode(self, examples: Sequence[LabelledText]) -> tuple[list[int], MakeBatch]:
        rows = self._numbers([example.text for example in examples])
        targets = self._targets(examples)
        parts = [self._windows(row) for row in rows]
        evidence = self._own if self.settings.evidence else None

        def batch(indices: NDArray[np.int64], random: np.random.Generator) -> tuple[Tensor | None, ...]:
            drawn = [(i, parts[i][int(random.integers(len(parts[i])))]) for i in indices]
            tokens, lengths = padded([rows[i][part] for i, part in drawn])
            hidden = torch.from_numpy(random.random(tuple(tokens.shape)) < self.settings.hide_tokens)
            given = None
            if evidence is not None:
                given = stacked([evidence[i][part] for i, part in drawn]).masked_fill(hidden[..., None], 0)
            tokens = tokens.masked_fill(hidden & (tokens > UNKNOWN), UNKNOWN)
            return tokens, lengths, given, targets[torch.from_numpy(indices)]

        return [min(len(row), self.settings.max_length) for row in rows], batch

    def _loss(self, model: nn.Module, batch: Any) -> tuple[Tensor, Tensor]:
        tokens, lengths, evidence, targets = batch
        return self._label_cost(model(tokens, lengths, evidence=evidence).float(), targets)

    def _inputs(self, examples: Sequence[LabelledText]) -> Sequence[Any]:
        return [example.text for example in examples]

    def _contents(self, examples: Any) -> list[bytes]:
        """Return the same for texts that overlap: the first, by its bytes, of the group."""
        texts = [one.text.encode("utf-8", errors="backslashreplace") for one in examples]
        rows = [[zlib.crc32(word) for word in text.lower().split()] for text in texts]
        heads: dict[int, bytes] = {}
        found = groups(rows, self.settings.dev_share / 2).tolist()
        for group, text in zip(found, texts, strict=True):
            heads[group] = min(heads.get(group, text), text)
        return [heads[group] for group in found]

    def _labels(self, examples: Sequence[LabelledText]) -> list[tuple[str, ...]]:
        return [example.labels for example in examples]

    def _speaks(self, inputs: Sequence[str]) -> Tensor:
        return torch.tensor([any(token > UNKNOWN for token in self.tokenizer_.encode(text)) for text in inputs])

    @torch.no_grad()
    def _logits(self, model: nn.Module, inputs: Sequence[str]) -> Tensor:
        rows = self._numbers(inputs)
        parts = [(number, part) for number, row in enumerate(rows) for part in self._windows(row)]
        device = next(model.parameters()).device
        total, count = torch.zeros(len(rows), len(self.labels_)), torch.zeros(len(rows), 1)
        for group in self._going(by_length([part.stop - part.start for _, part in parts], at_once=8192), len(parts)):
            some = [parts[i] for i in group]
            tokens, lengths = padded([rows[number][part] for number, part in some])
            evidence = self._evidence([rows[number] for number, _ in some], [part for _, part in some])
            given = None if evidence is None else evidence.to(device)
            owners = torch.tensor([number for number, _ in some])
            total.index_add_(0, owners, model(tokens.to(device), lengths.to(device), evidence=given).float().cpu())
            count.index_add_(0, owners, torch.ones(len(some), 1))
        return total / count

    def _evidence(self, rows: Sequence[Sequence[int]], parts: Sequence[slice]) -> Tensor | None:
        """Return the evidence of a part of each text: of its n-grams in the whole text."""
        if not self.settings.evidence:
            return None
        return stacked([one[part] for one, part in zip(self.evidence_.of(rows), parts, strict=True)])

    def _attention(self, model: nn.Module, one: Any) -> Attention:
        row = self._numbers([one])[0]
        part = self._windows(row)[0]
        numbers = [row[part]]
        pieces = [one[start:stop] for start, stop in self.tokenizer_.pieces(one)][: len(numbers[0])]
        device = next(model.parameters()).device
        tokens, lengths = (tensor.to(device) for tensor in padded(numbers))
        evidence = self._evidence([row], [part])
        evidence = None if evidence is None else evidence.to(device)
        _, weights = model(tokens, lengths, evidence=evidence, need_weights=True)
        front = ["[class]"] if self.settings.pooling == "class" else []
        return Attention(weights, tuple(front + (pieces or ["?"])))

    def _fit_baseline(self, train_examples: Sequence[LabelledText]) -> Baseline:
        return TfidfLogisticRegression.fit(train_examples, balanced=self.settings.class_weights)

    def _state(self) -> dict[str, Any]:
        return {**self._label_state(), "tokenizer": self.tokenizer_.to_dict()}

    def _restore(self, state: dict[str, Any]) -> None:
        self._restore_labels(state)
        self.tokenizer_ = Tokenizer.from_dict(state["tokenizer"])

    def _tensors(self) -> dict[str, Tensor]:
        return self.evidence_.tensors() if self.settings.evidence else {}

    def _restore_tensors(self, tensors: dict[str, Tensor]) -> None:
        self.evidence_ = Evidence.from_tensors(tensors, self.tokenizer_.vocab_size)
