"""What summarization and translation share: a source text becomes a target text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from .._values import check_shares, check_sizes, number
from ..corpora import TextPair
from ..models import Hypothesis, SequenceToSequence, SequenceToSequenceConfig
from ..training import Batches, Budget, Evaluation, Optimizer, TrainingSettings
from ._answering import AnsweringTask
from ._batches import by_length, padded
from ._remarks import cut_note
from ._report import MISTAKES, Mistake, Report, shortened
from ._task import Attention, MakeBatch, Positions, TaskSettings
from .tokenizers import BOS, EOS, PAD, SPECIAL, Kind, Tokenizer, train_tokenizer

# So many of the examples are compared one by one for a report.
COMPARED = 200


@dataclass(frozen=True)
class PairSettings(TaskSettings):
    """Size of the model, tokenizer, and search for targets."""

    embed_dim: int = 128
    """Width of the model."""
    num_heads: int = 4
    """Attention heads of each layer."""
    num_layers: int = 3
    """Layers of the encoder, and as many of the decoder."""
    dropout: float = 0.1
    """Dropout of the layers, a probability."""
    positions: Positions = "rotary"
    """The kind of positional encoding."""
    tokenizer: Kind = "bpe"
    """The kind of tokenizer; source and target share one vocabulary."""
    vocab_size: int = 8000
    """Largest size of the vocabulary."""
    max_source: int = 512
    """Most tokens of a source; longer ones are truncated."""
    max_target: int = 128
    """Most tokens of a target, in training and when writing."""
    copying: bool = False
    """Whether the decoder may copy words of the source (pointer-generator)."""
    beams: int = 4
    """Beams of the search; 1 is greedy."""
    length_penalty: float = 0.6
    """Exponent of the length penalty that divides a hypothesis's score; 0 favours short ones."""
    no_repeat_ngram_size: int = 0
    """No n-gram of this many tokens is written twice in one target; 0: no restriction."""
    label_smoothing: float = 0.1
    """Label smoothing: the share of the target's probability that is spread over all tokens."""
    dev_limit: int = 200
    """Development examples that each evaluation during training writes targets for, spread evenly; the search is slow.
    0: all."""
    training: TrainingSettings = field(
        default_factory=lambda: TrainingSettings(
            optimizer=Optimizer(lr=1e-3),
            batches=Batches(tokens_per_step=4096),
            budget=Budget(epochs=10),
            evaluation=Evaluation(patience=4),
        )
    )
    """How to train."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_sizes(self, "embed_dim", "num_heads", "num_layers", "vocab_size", "max_source", "max_target", "beams")
        check_sizes(self, "no_repeat_ngram_size", "dev_limit", low=0)
        check_shares(self, "dropout", "label_smoothing")
        number("length_penalty", self.length_penalty, -100, 100)


class PairTask(AnsweringTask[Sequence[TextPair], str]):
    """An encoder reads the source; a decoder with cross-attention writes the target."""

    def _learn(self, examples: Sequence[TextPair]) -> None:
        texts = (text for example in examples for text in (example.source, example.target))
        kind, size = self.settings.tokenizer, self.settings.vocab_size
        self.tokenizer_ = self._known("tokenizer_", lambda: train_tokenizer(kind, texts, vocab_size=size))

    def _build(self) -> nn.Module:
        settings = self.settings
        return SequenceToSequence(
            SequenceToSequenceConfig(
                vocab_size=self.tokenizer_.vocab_size,
                embed_dim=settings.embed_dim,
                num_heads=settings.num_heads,
                num_layers=settings.num_layers,
                dropout=settings.dropout,
                positions=settings.positions,
                copying=settings.copying,
                pad_id=PAD,
                bos_id=BOS,
                eos_id=EOS,
            )
        )

    def _load_model(self, folder: Path) -> nn.Module:
        return SequenceToSequence.from_pretrained(folder)

    def _watched_part(self, dev_examples: Sequence[TextPair]) -> Sequence[TextPair]:
        count, most = len(dev_examples), self.settings.dev_limit
        return dev_examples if not 0 < most < count else [dev_examples[i * count // most] for i in range(most)]

    def _source(self, text: str) -> list[int]:
        return [*self.tokenizer_.encode(text)[: self.settings.max_source - 1], EOS]

    def _encode(self, examples: Sequence[TextPair]) -> tuple[list[int], MakeBatch]:
        sources = [self._source(example.source) for example in examples]
        most = self.settings.max_target
        targets = [[*self.tokenizer_.encode(example.target)[: most - 1], EOS] for example in examples]

        def batch(indices: NDArray[np.int64], random: np.random.Generator) -> tuple[Tensor, ...]:
            source, source_lengths = padded([sources[i] for i in indices], PAD)
            target, target_lengths = padded([[BOS, *targets[i]] for i in indices], PAD)
            return source, source_lengths, target, target_lengths

        return [len(s) + len(t) for s, t in zip(sources, targets, strict=True)], batch

    def _loss(self, model: nn.Module, batch: Any) -> tuple[Tensor, Tensor]:
        source, source_lengths, target, target_lengths = batch
        scores = model(source, target[:, :-1], source_lengths, target_lengths - 1)
        loss = F.cross_entropy(
            scores.flatten(0, 1).float(),
            target[:, 1:].flatten(),
            ignore_index=PAD,
            label_smoothing=self.settings.label_smoothing,
            reduction="sum",
        )
        return loss, (target_lengths - 1).sum()

    def _inputs(self, examples: Sequence[TextPair]) -> Sequence[Any]:
        return [example.source for example in examples]

    @torch.no_grad()
    def _answers(self, model: nn.Module, inputs: Sequence[Any]) -> list[str]:
        rows = [self._source(text) for text in inputs]
        device = next(model.parameters()).device
        written = [""] * len(rows)
        groups = by_length([len(row) for row in rows], at_once=8192 // self.settings.beams)
        for group in self._going(groups, len(rows)):
            source, lengths = padded([rows[i] for i in group], PAD)
            hypotheses = self._search(model, source.to(device), lengths.to(device))
            for i, hypothesis in zip(group, hypotheses, strict=True):
                if inputs[i].strip():  # of nothing, nothing is written
                    written[i] = self.tokenizer_.decode(hypothesis.tokens)
        return written

    def _note(self, examples: Sequence[TextPair]) -> str:
        encoded, settings = self.tokenizer_.encode, self.settings
        sources = [len(encoded(one.source)) + 1 for one in examples]
        targets = [len(encoded(one.target)) + 1 for one in examples]
        sides = (
            cut_note(sources, settings.max_source, "sources", "--max-source"),
            cut_note(targets, settings.max_target, "targets", "--max-target"),
        )
        return " ".join(side for side in sides if side)

    def _report(self, examples: Sequence[TextPair], answers: Sequence[str]) -> Report:
        """Return the texts least like the true ones, of the first examples."""
        pairs = list(zip(examples, answers, strict=False))[:COMPARED]
        alike = [SequenceMatcher(None, one.target, answer, autojunk=False).ratio() for one, answer in pairs]
        worst = sorted(range(len(pairs)), key=lambda place: alike[place])[:MISTAKES]
        return Report(
            mistakes=tuple(Mistake(shortened(pairs[i][0].source), pairs[i][0].target, pairs[i][1]) for i in worst)
        )

    def _baseline_answers(self, inputs: Sequence[Any]) -> list[str]:
        baseline: Any = self.baseline_
        written: list[str] = baseline.predict(inputs)
        return written

    def _progress(self, model: nn.Module, dev_examples: Sequence[TextPair]) -> dict[str, float]:
        return super()._progress(model, dev_examples[: self.settings.dev_limit or None])

    def _settle(self, dev_examples: Sequence[TextPair]) -> None:
        super()._settle(dev_examples[: self.settings.dev_limit or None])

    def _search(self, model: nn.Module, source: Tensor, lengths: Tensor) -> list[Hypothesis]:
        settings = self.settings
        found: list[Hypothesis] = model.generate(  # type: ignore[operator]
            source, lengths, max_length=settings.max_target, beams=settings.beams,
            length_penalty=settings.length_penalty, no_repeat_ngram_size=settings.no_repeat_ngram_size,
        )  # fmt: skip
        return found

    def _attention(self, model: nn.Module, one: Any) -> Attention:
        source = self._source(one)
        device = next(model.parameters()).device
        rows, lengths = (tensor.to(device) for tensor in padded([source], PAD))
        best = self._search(model, rows, lengths)[0]
        target = torch.tensor([[BOS, *best.tokens]], device=device)
        _, weights = model(rows, target, lengths, None, need_weights=True)
        return Attention(weights, self._pieces([BOS, *best.tokens]), self._pieces(source))

    def _pieces(self, numbers: Sequence[int]) -> tuple[str, ...]:
        """Return the text of each token; special tokens have names."""
        return tuple(
            SPECIAL[number] if number < len(SPECIAL) else self.tokenizer_.decode([number]) for number in numbers
        )

    def _state(self) -> dict[str, Any]:
        return {"tokenizer": self.tokenizer_.to_dict()}

    def _restore(self, state: dict[str, Any]) -> None:
        self.tokenizer_ = Tokenizer.from_dict(state["tokenizer"])
