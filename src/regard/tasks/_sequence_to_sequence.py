"""What summarization and translation share: a source text becomes a target text."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from .._values import check_shares, check_sizes, number
from ..corpora import TextPair
from ..models import Hypothesis, SequenceToSequence, SequenceToSequenceConfig
from ..training import Batches, Budget, Evaluation, Optimizer, TrainingSettings
from ._answering import AnsweringTask
from ._batches import by_length, padded
from ._choice import SHARES, choose
from ._lexicon import Lexicon
from ._recipe import Advice, epochs_for, largest, products_in
from ._remarks import cut_note
from ._report import MISTAKES, Mistake, Report, shortened
from ._task import Attention, MakeBatch, Positions, TaskSettings
from .baselines import NearestSource
from .tokenizers import BOS, EOS, PAD, SPECIAL, Kind, Tokenizer, train_tokenizer

# Sizes (embed_dim, num_layers) with the bytes of text from which on they are worth their cost.
SIZES = (((256, 4), 500e6), ((192, 3), 100e6), ((128, 3), 8e6), ((128, 2), 2e6), ((96, 2), 0.5e6), ((64, 2), 0.0))
# Bytes of a token of byte-pair encoding, about; bytes of text for each token of the vocabulary, and for each of its
# first FEW: with fewer, words are pieces that stand for nothing.
BYTES_OF_TOKEN, BYTES_FOR_TOKEN, BYTES_FOR_FIRST, FEW = 3.5, 1000, 250, 3000
# So many of the examples are compared one by one for a report.
COMPARED = 200


@dataclass(frozen=True)
class PairSettings(TaskSettings):
    """Size of the model, tokenizer, and search for targets."""

    embed_dim: int | None = None
    """Width of the model; None: as the amount of text and the minutes allow."""
    num_heads: int = 4
    """Attention heads of each layer."""
    num_layers: int | None = None
    """Layers of the encoder, and as many of the decoder; None: as `embed_dim`."""
    dropout: float = 0.1
    """Dropout of the layers, a probability."""
    positions: Positions = "rotary"
    """The kind of positional encoding."""
    tokenizer: Kind = "bpe"
    """The kind of tokenizer; source and target share one vocabulary."""
    vocab_size: int | None = None
    """Largest size of the vocabulary; None: a token for each kilobyte of text, or for each 250 bytes up to 3,000; 1,000
    to 8,000."""
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
            optimizer=Optimizer(lr=None),
            batches=Batches(tokens_per_step=None),
            budget=Budget(epochs="auto"),
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


def _cost(size: tuple[int, int], read: float, written: float, vocabulary: float) -> float:
    """Return the multiply-adds of an epoch's forward passes, attention itself not counted."""
    width, layers = size
    return read * 12 * layers * width**2 + written * (16 * layers * width**2 + vocabulary * width)


class PairTask(AnsweringTask[Sequence[TextPair], str]):
    """An encoder reads the source; a decoder with cross-attention writes the target."""

    bounds_: Mapping[float, float] = MappingProxyType({})
    """By the share of the answers that are the transformer's: how like a training source the others are at least."""

    def _advice(self, examples: Sequence[TextPair]) -> Sequence[Advice]:
        """Decide by the bytes of text: what a network can learn is limited by those, not by the number of pairs."""
        read, written = (
            sum(min(len(text.encode("utf-8", errors="replace")) / BYTES_OF_TOKEN, most) for text in texts)
            for texts, most in (
                ((one.source for one in examples), self.settings.max_source),
                ((one.target for one in examples), self.settings.max_target),
            )
        )
        size = (read + written) * BYTES_OF_TOKEN
        text = f"{size / 1e6:.2g} MB of text"
        wanted = max(size / BYTES_FOR_TOKEN, min(size / BYTES_FOR_FIRST, FEW), 1000)
        vocabulary = self.settings.vocab_size or round(min(wanted, 8000), -2)
        sizes = [(one, _cost(one, read, written, vocabulary)) for one, least in SIZES if size >= least]
        (width, layers), held = largest(sizes, products_in(self.settings.training))
        step = min(max(2 ** round(math.log2((read + written) / 1000)), 1024), 4096)
        return (
            Advice({"vocab_size": int(vocabulary)}, f"{text}, a token for each kilobyte, or 250 bytes of a small one"),
            Advice({"embed_dim": width, "num_layers": layers}, f"{text}{held}"),
            Advice({"optimizer.lr": 2e-3}, "with a step of few tokens"),
            Advice({"batches.tokens_per_step": step}, "about 1,000 steps an epoch, of 1,024 to 4,096 tokens"),
            Advice({"budget.epochs": epochs_for(len(examples), 10, 50_000, 40)}, f"{len(examples):,} pairs"),
        )

    def _learn(self, examples: Sequence[TextPair]) -> None:
        texts = (text for example in examples for text in (example.source, example.target))
        kind, size = self.settings.tokenizer, self.settings.vocab_size
        self.tokenizer_ = self._known("tokenizer_", lambda: train_tokenizer(kind, texts, vocab_size=size))
        self._lexicon = self._learnt_lexicon(examples)

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

    def _learnt_lexicon(self, examples: Sequence[TextPair]) -> Lexicon | None:
        """Return what stands for what, which guides the decoder's attention in training; None: nothing guides it."""
        return None

    def _load_model(self, folder: Path) -> nn.Module:
        return SequenceToSequence.from_pretrained(folder)

    def _watched_part(self, dev_examples: Sequence[TextPair]) -> Sequence[TextPair]:
        count, most = len(dev_examples), self.settings.dev_limit
        return dev_examples if not 0 < most < count else [dev_examples[i * count // most] for i in range(most)]

    def _rows(self, examples: Sequence[TextPair]) -> tuple[list[list[int]], list[list[int]]]:
        """Return the tokens of sources and targets."""
        encode, settings = self.tokenizer_.encode_batch, self.settings
        sources, targets = encode([one.source for one in examples]), encode([one.target for one in examples])
        return (
            [[*row[: settings.max_source - 1], EOS] for row in sources],
            [[*row[: settings.max_target - 1], EOS] for row in targets],
        )

    def _source(self, text: str) -> list[int]:
        return [*self.tokenizer_.encode(text)[: self.settings.max_source - 1], EOS]

    def _encode(self, examples: Sequence[TextPair]) -> tuple[list[int], MakeBatch]:
        sources, targets = self._rows(examples)

        def batch(indices: NDArray[np.int64], random: np.random.Generator) -> tuple[Tensor, ...]:
            source, source_lengths = padded([sources[i] for i in indices], PAD)
            target, target_lengths = padded([[BOS, *targets[i]] for i in indices], PAD)
            return source, target, source_lengths, target_lengths

        return [len(s) + len(t) for s, t in zip(sources, targets, strict=True)], batch

    def _loss(self, model: nn.Module, batch: Any) -> tuple[Tensor, Tensor]:
        source, target = batch[:2]
        guide = None if self._lexicon is None else self._lexicon.alignment(source, target[:, 1:])
        found: tuple[Tensor, Tensor] = model.loss(  # type: ignore[operator]
            *batch, label_smoothing=self.settings.label_smoothing, guide=guide
        )
        return found

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

    def _used(self, inputs: Sequence[Any], share: float) -> list[str]:
        """Return answers; of a mix the baseline's where a source is so like one of training that it is surer."""
        if share in (0.0, 1.0):
            return super()._used(inputs, share)
        baseline: Any = self.baseline_
        written: list[str]
        written, likeness = baseline.nearest(inputs)
        places = [place for place, one in enumerate(likeness) if one < self.bounds_[share]]
        own = self._answers(self._fitted(), [inputs[place] for place in places])
        for place, answer in zip(places, own, strict=True):
            written[place] = answer
        return written

    def _settle(self, dev_examples: Sequence[TextPair]) -> None:
        """Choose how many of the sources the transformer answers: those that are least like the training sources."""
        some, shares = self._watched_part(dev_examples), self._shares()
        if not isinstance(self.baseline_, NearestSource) or len(shares) == 1:
            super()._settle(some)
            return
        sources = self._inputs(some)
        theirs, likeness = self.baseline_.nearest(sources)
        ours = self._answers(self._fitted(), sources)
        bounds = {share: float(np.quantile(likeness, share)) for share in SHARES} | {0.0: -math.inf, 1.0: math.inf}
        trials = {}
        for share, bound in bounds.items():
            mixed = [a if one < bound else b for a, b, one in zip(ours, theirs, likeness, strict=True)]
            trials[share] = self._figures(some, mixed)
        self.choice_, self.bounds_ = choose(trials, self.watched, self.goal), bounds

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
        return {"tokenizer": self.tokenizer_.to_dict(), "bounds": self._kept_bounds()}

    def _restore(self, state: dict[str, Any]) -> None:
        self.tokenizer_ = Tokenizer.from_dict(state["tokenizer"])
        self.bounds_ = dict(state.get("bounds", ()))

    def _kept_bounds(self) -> list[tuple[float, float]]:
        """Return the bound of the mix that answers, if it is one; with its share, as JSON has no numbers for keys."""
        return [one for one in self.bounds_.items() if self.choice_.name == "mix" and one[0] == self.choice_.share]
