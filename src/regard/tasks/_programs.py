"""Each task's model as programs of tensors alone, for exporters: what goes in, what comes out, and what it means.

What a task computes from its input in NumPy (evidence, standardised pixels, the best path of tags) is part of the
program, so that whoever runs it needs no more than a tokenizer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch._higher_order_ops.scan import scan

from ..models import ImageClassifier, LanguageModel, SequenceClassifier, SequenceToSequence, TokenClassifier
from ..models.conditional_field import viterbi
from ._classes import ClassTask, Settled
from ._outside import SettledTags
from ._sequence_to_sequence import PairTask
from ._task import Task
from .image_classification import ImageClassification
from .language_modeling import LanguageModeling
from .ner import NamedEntities
from .sentiment import UNKNOWN, Sentiment
from .tokenizers import BOS, EOS


@dataclass(frozen=True)
class Port:
    """An input or output of a program."""

    name: str
    dtype: str
    axes: tuple[str | int, ...]
    """The name of each axis of free length, the size of each other."""
    meaning: str


@dataclass(frozen=True)
class Program:
    """A module that takes and returns tensors alone."""

    name: str
    module: nn.Module
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    example: Callable[[int, int], tuple[Tensor, ...]]
    """Inputs for so many examples of at most so many tokens, drawn at random."""


@dataclass(frozen=True)
class Described:
    """A task's programs, and what else whoever runs them has to know."""

    programs: tuple[Program, ...]
    values: dict[str, Any] = field(default_factory=dict)
    """How inputs become numbers, and numbers answers: JSON values."""
    tokenizer: str | None = None
    """In the format of the package tokenizers."""


def _ids(batch: int, length: int, size: int) -> Tensor:
    return torch.randint(min(4, size - 1), size, (batch, length))


def _lengths(batch: int, length: int) -> Tensor:
    lengths = torch.randint(1, length + 1, (batch,))
    lengths[-1] = length
    return lengths


LENGTHS = Port("lengths", "int64", ("batch",), "how many tokens of each row are real; what follows is padding")


def _label_ports(labels: int) -> tuple[Port, Port]:
    axes = ("batch", labels)
    probabilities = Port("probabilities", "float32", axes, "of each label, calibrated")
    return Port("scores", "float32", axes, "of each label: logits"), probabilities


class Part(nn.Module):
    """One use of a model."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model


class TagWords(Part):
    """Scores of tags, and the best tags, with the score of O lowered as development data chose."""

    def __init__(self, model: TokenClassifier, outside: Tensor) -> None:
        super().__init__(model)
        self.outside = nn.Buffer(outside)  # (T,)
        self.start, self.between, self.end = (nn.Buffer(one.detach()) for one in model.transitions())

    def forward(self, words: Tensor, characters: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Run the model, then the search for the best path."""
        scores = self.model(words, lengths, characters=characters)
        search = best_path if torch.compiler.is_exporting() else viterbi
        return scores, search(scores.float() - self.outside, self.start, self.between, self.end, lengths)


def best_path(scores: Tensor, start: Tensor, between: Tensor, end: Tensor, lengths: Tensor) -> Tensor:
    """Return what `models.conditional_field.viterbi` returns, as loops that programs can hold: (B, L)."""
    stay = torch.arange(scores.shape[2]).expand(scores.shape[0], -1)

    def forth(best: Tensor, now: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        here, going = now
        longer, pointer = (best[:, :, None] + between).max(1)
        best = torch.where(going[:, None], longer + here, best)
        return best, torch.where(going[:, None], pointer, stay)

    def back(label: Tensor, pointer: Tensor) -> tuple[Tensor, Tensor]:
        return pointer.gather(1, label[:, None])[:, 0], label.clone()

    # The first place is looped over too, and leaves all as it is: a loop has at least one step.
    place = torch.arange(scores.shape[1])[:, None]
    best, pointers = scan(forth, start + scores[:, 0], (scores.transpose(0, 1), (place > 0) & (place < lengths)))
    _, labels = scan(back, (best + end).argmax(-1), pointers.flip(0))
    path: Tensor = labels.flip(0).transpose(0, 1)
    return path


class ClassifyTexts(Part):
    """Scores and probabilities of labels, from tokens alone."""

    def __init__(
        self, model: SequenceClassifier, evidence: nn.Module | None, several: bool, temperature: float
    ) -> None:
        super().__init__(model)
        self.evidence, self.several, self.temperature = evidence, several, temperature

    def forward(self, tokens: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Look the evidence up, and run the model."""
        evidence = None if self.evidence is None else self.evidence(tokens)
        scores = self.model(tokens, lengths, evidence=evidence).float()
        cooled = scores / self.temperature
        shares = cooled.sigmoid() if self.several else cooled.softmax(-1)
        real = torch.arange(tokens.shape[1]) < lengths[:, None]
        speaks = ((tokens > UNKNOWN) & real).any(1, keepdim=True)
        return scores, torch.where(speaks, shares, 0.5 if self.several else 1 / scores.shape[1])


class ClassifyPictures(Part):
    """Scores and probabilities of labels, from bytes."""

    def __init__(self, model: ImageClassifier, mean: Sequence[float], std: Sequence[float], temperature: float) -> None:
        super().__init__(model)
        self.temperature = temperature
        self.mean, self.std = (nn.Buffer(torch.tensor(x)[:, None, None]) for x in (mean, std))

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Standardise the pixels, and run the model."""
        scaled = (pixels.permute(0, 3, 1, 2).float() / 255 - self.mean) / self.std
        scores = self.model(scaled).float()
        return scores, (scores / self.temperature).softmax(-1)


class PredictNext(Part):
    """Scores of the next token at every place."""

    def forward(self, tokens: Tensor) -> Tensor:
        """Run the model."""
        scores: Tensor = self.model(tokens)
        return scores.float()


class ReadSource(Part):
    """The encoder."""

    def forward(self, source: Tensor, lengths: Tensor) -> Tensor:
        """Run it."""
        memory: Tensor = self.model.encode(source, lengths)
        return memory


class WriteNext(Part):
    """The decoder's log-probabilities of the next token."""

    def forward(self, target: Tensor, memory: Tensor, source: Tensor, lengths: Tensor) -> Tensor:
        """Run it over the whole target so far."""
        scores: Tensor = self.model.decode(target, memory, source, lengths)[:, -1]
        return scores.float().log_softmax(-1)


def _of_ner(task: NamedEntities, model: TokenClassifier) -> Described:
    sizes = model.config.vocab_size, model.config.char_vocab_size

    def example(batch: int, length: int) -> tuple[Tensor, ...]:
        letters = torch.randint(0, sizes[1], (batch, length, 1 + length % task.settings.max_characters))
        return _ids(batch, length, sizes[0]), letters.sort(-1, descending=True).values, _lengths(batch, length)

    outside = torch.zeros(len(task.tags_))
    outside[task._outside()] = task.settled_.get(1.0, SettledTags()).outside
    inputs = (
        Port("words", "int64", ("batch", "length"), "the number of each word; 0 fills up"),
        Port("characters", "int64", ("batch", "length", "width"), "those of its letters; 0 fills up"),
        LENGTHS,
    )
    outputs = (
        Port("scores", "float32", ("batch", "length", len(task.tags_)), "of each tag, for each word alone"),
        Port("tags", "int64", ("batch", "length"), "numbers of the best sequence of tags; ignore padding"),
    )
    return Described(
        (Program("model", TagWords(model, outside), inputs, outputs, example),),
        {
            "tags": task.tags_,
            "words": ["", "<unknown>", *task.words_.things],
            "characters": ["", "<unknown>", *task.characters_.things],
            "lowercase": task.settings.lowercase,
            "max_characters": task.settings.max_characters,
            "reading": "A text is cut into words and marks of punctuation. Number of a word: its place in `words`, in "
            "lower case if `lowercase`, else 1. Numbers of its letters, in their case: places in `characters`, else 1; "
            "of a word longer than 2 * (max_characters // 2) the first and last max_characters // 2 letters are read.",
        },
    )


def _alone(task: ClassTask[Any]) -> tuple[float, list[float]]:
    """Return the temperature and the thresholds of the transformer where it answers alone."""
    settled = task.settled_.get(1.0, Settled())
    return task.heat_[0] * settled.temperature, list(settled.thresholds) or [0.5] * len(task.labels_)


def _of_sentiment(task: Sentiment, model: SequenceClassifier) -> Described:
    def example(batch: int, length: int) -> tuple[Tensor, ...]:
        return _ids(batch, length, model.config.vocab_size), _lengths(batch, length)

    evidence = task.evidence_.module() if task.settings.evidence else None
    temperature, thresholds = _alone(task)
    classify = ClassifyTexts(model, evidence, task.several_, temperature)
    inputs = (Port("tokens", "int64", ("batch", "length"), "the tokenizer's numbers; 0 fills up"), LENGTHS)
    return Described(
        (Program("model", classify, inputs, _label_ports(len(task.labels_)), example),),
        {
            "labels": task.labels_,
            "several": task.several_,
            "thresholds": thresholds if task.several_ else None,
            "always_one": task.always_one_,
            "commonest": max(task.labels_, key=lambda label: task.counts_.get(label, 0)),
            "max_length": task.settings.max_length,
            "reading": "The tokens of a text; 1 for a text without any. Of more than max_length, windows of so many "
            "that overlap by half, and the mean of their scores. If `several`, a text has "
            "each label whose probability is above its threshold (if none is and `always_one`: the most probable), "
            "else the most probable label. A text without a known token (above 1) has even probabilities, and the "
            "`commonest` label.",
        },
        task.tokenizer_.definition,
    )


def _of_images(task: ImageClassification, model: ImageClassifier) -> Described:
    def example(batch: int, length: int) -> tuple[Tensor, ...]:
        return (torch.randint(0, 256, (batch, *task.shape_), dtype=torch.uint8),)

    classify = ClassifyPictures(model, task.mean_, task.std_, _alone(task)[0])
    pixels = Port("pixels", "uint8", ("batch", *task.shape_), "height, width, channels (RGB, or 1 for grey)")
    return Described(
        (Program("model", classify, (pixels,), _label_ports(len(task.labels_)), example),),
        {"labels": task.labels_, "reading": "A picture is brought to this size; its label is the most probable."},
    )


def _of_language(task: LanguageModeling, model: LanguageModel) -> Described:
    size = model.config.vocab_size

    def example(batch: int, length: int) -> tuple[Tensor, ...]:
        return (_ids(batch, min(length, task.settings.context), size),)

    tokens = Port("tokens", "int64", ("batch", "length"), "the tokenizer's numbers; row by row as long")
    scores = Port("scores", "float32", ("batch", "length", size), "of the token after each place: logits")
    return Described(
        (Program("model", PredictNext(model), (tokens,), (scores,), example),),
        {
            "context": task.settings.context,
            "end": EOS,
            "reading": "Training read `context` tokens at once; longer texts than that are cut at the front. A text "
            "ends where the token `end` is drawn.",
        },
        task.tokenizer_.definition,
    )


def _of_pairs(task: PairTask, model: SequenceToSequence) -> Described:
    size, width = model.config.vocab_size, model.config.embed_dim
    source = Port("source", "int64", ("batch", "length"), "the tokenizer's numbers and `end`; 0 fills up")
    memory = Port("memory", "float32", ("batch", "length", width), "what the encoder made of the source")
    target = Port("target", "int64", ("batch", "written"), "`begin` and the tokens so far")
    following = Port("log_probabilities", "float32", ("batch", size), "of the next token")

    def sources(batch: int, length: int) -> tuple[Tensor, Tensor]:
        return _ids(batch, length, size), _lengths(batch, length)

    def targets(batch: int, length: int) -> tuple[Tensor, ...]:
        rows, lengths = sources(batch, length)
        return _ids(batch, 1 + 2 * length // 3, size), model.encode(rows, lengths), rows, lengths

    return Described(
        (
            Program("encoder", ReadSource(model), (source, LENGTHS), (memory,), sources),
            Program("decoder", WriteNext(model), (target, memory, source, LENGTHS), (following,), targets),
        ),
        {
            "begin": BOS,
            "end": EOS,
            "max_source": task.settings.max_source,
            "max_target": task.settings.max_target,
            "reading": "A source is its first max_source - 1 tokens and `end`. The encoder runs once; the decoder runs "
            "for each token, with `begin` and all tokens so far, until `end` or max_target tokens. The most probable "
            "token each time is the greedy search; predict uses beams unless --beams is 1.",
        },
        task.tokenizer_.definition,
    )


DESCRIBE: tuple[tuple[type[Any], type[nn.Module], Callable[[Any, Any], Described]], ...] = (
    (NamedEntities, TokenClassifier, _of_ner),
    (Sentiment, SequenceClassifier, _of_sentiment),
    (ImageClassification, ImageClassifier, _of_images),
    (LanguageModeling, LanguageModel, _of_language),
    (PairTask, SequenceToSequence, _of_pairs),
)


def described(task: Task[Any, Any]) -> Described | None:
    """Return the programs of a fitted task; None where its model is not one of `regard.models`."""
    model = task._fitted()
    return next(
        (of(task, model) for kind, body, of in DESCRIBE if isinstance(task, kind) and isinstance(model, body)), None
    )
