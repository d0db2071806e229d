"""ListOps: what an encoder learns on lists in which every token counts, beside cheap baselines."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from .. import corpora
from .._drawing import PALETTE
from .._values import check_sizes
from ..corpora import LabelledText
from ..errors import ArgumentError
from ..models import SequenceClassifier, SequenceClassifierConfig
from ._drawing import key, panels, tidy
from ._fit import Course, Examples, Training, fit
from ._linear_heads import attend_linearly
from ._study import Progress, Study, StudySettings, Table, part, settings_for, silent

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Positions = Literal["rotary", "sinusoidal", "alibi", "relative", "none"]
Attention = Literal["softmax", "linear"]
PUBLISHED = 0.371
"""Accuracy of the plain Transformer on lists of 500 to 2,000 tokens (Tay et al. 2020, table 1)."""
PUBLISHED_LENGTHS = (500, 2000)
WATCHED, TESTED = 300, 2_000
"""Most lists of an evaluation during training, and at the end."""
OPERATORS = ("[MIN", "[MAX", "[MED", "[SM")
WORDS = ("", *OPERATORS, "]", *map(str, range(10)))
IDS = {word: place for place, word in enumerate(WORDS)}


@dataclass(frozen=True)
class LongRangeSettings(StudySettings):
    """Settings of the study of long lists."""

    lengths: tuple[int, int] | None = None
    """Least and most tokens of a list; 20 to 100, or the published 500 to 2,000, unless given."""
    examples: int | None = None
    """Lists to train on; 6,000 or 20,000 unless given. A tenth of it each for dev and test."""
    steps: int | None = None
    """Steps of each training; 150 unless given; in the full size `minutes` alone decides."""
    minutes: float | None = None
    """Wall-clock minutes for all trainings together, 60 in the full size; figures then depend on the machine."""
    positions: tuple[Positions, ...] = ("rotary", "none")
    """Positions of the models that are compared."""
    attentions: tuple[Attention, ...] = ("softmax", "linear")
    """Kinds of attention that are compared."""
    embed_dim: int = 64
    """Width of the models."""
    num_layers: int = 2
    """Layers of the models."""
    num_heads: int = 4
    """Heads of each layer."""
    tokens: int | None = None
    """Tokens of a step; 2,048 or 16,384 unless given."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_sizes(self, "examples", "steps", "embed_dim", "num_layers", "num_heads", "tokens")
        allowed = set(get_args(Positions))
        if not self.positions or not set(self.positions) <= allowed:
            raise ArgumentError(f"positions is {self.positions}; give some of {', '.join(sorted(allowed))}.")
        if not self.attentions or not set(self.attentions) <= set(get_args(Attention)):
            raise ArgumentError(f"attentions is {self.attentions}; give 'softmax', 'linear' or both.")
        if self.minutes is not None and not self.minutes > 0:
            raise ArgumentError(f"minutes is {self.minutes}; it must be above 0.")


@dataclass(frozen=True)
class Lists:
    """Lists as token ids."""

    tokens: tuple[Tensor, ...]
    """int64 `(L,)` of each."""
    labels: Tensor
    """int64, the value of each."""

    @classmethod
    def of(cls, examples: Sequence[LabelledText]) -> Lists:
        """Convert texts to token ids."""
        tokens = tuple(torch.tensor([IDS[word] for word in one.text.split()]) for one in examples)
        return cls(tokens, torch.tensor([int(one.labels[0]) for one in examples]))

    @property
    def lengths(self) -> list[int]:
        """Number of tokens of each."""
        return [len(one) for one in self.tokens]

    def batch(self, indices: Sequence[int] | NDArray[np.int64]) -> tuple[Tensor, Tensor, Tensor]:
        """Return tokens `(B, L)`, lengths and labels `(B,)` of some."""
        chosen = [self.tokens[index] for index in indices]
        padded = nn.utils.rnn.pad_sequence(chosen, batch_first=True)
        return padded, torch.tensor([len(one) for one in chosen]), self.labels[torch.as_tensor(indices)]


def long_range(settings: LongRangeSettings | None = None, *, progress: Progress = silent) -> Study:
    """Train encoders on ListOps (`corpora.nested_operations`) with and without positions, softmax and linear.

    Args:
        settings: see `LongRangeSettings`.
        progress: called with the share done, and a description.

    Returns a `Study`; its table has a row for each model and each baseline: the most frequent answer, and logistic
    regression on the counts of the tokens, which ignores order.

    Source: Nangia and Bowman 2018, arXiv:1804.06028; Tay et al. 2020, arXiv:2011.04006, for lengths and the figure of
    the plain Transformer.
    """
    settings = settings_for(settings, LongRangeSettings, progress)
    lengths = settings.lengths or settings.pick((20, 100), PUBLISHED_LENGTHS)
    count = settings.examples or settings.pick(6_000, 20_000)
    progress(0.0, f"drawing {count} lists")
    split = corpora.nested_operations(size=count, lengths=lengths, seed=settings.seed)
    train, dev, test = (Lists.of(one) for one in (split.train, split.dev[:WATCHED], split.test[:TESTED]))
    baselines = _baselines(train, dev, test)
    kinds = [(position, attention) for position in settings.positions for attention in settings.attentions]
    models = []
    for place, (position, attention) in enumerate(kinds):
        told = part(progress, 0.05 + 0.95 * place / len(kinds), 0.05 + 0.95 * (place + 1) / len(kinds))
        models.append(_one_model(position, attention, (train, dev, test), len(kinds), settings, told))
    data = {
        "lengths": list(lengths), "train": count, "test": len(test.labels), "baselines": baselines, "models": models,
        "published": PUBLISHED if tuple(lengths) == PUBLISHED_LENGTHS else None, "description": split.description,
    }  # fmt: skip
    return Study(
        "long-range", "What does an encoder learn of nested lists in which every token counts?",
        dataclasses.asdict(settings), (_table(data),), _reading(data), data, draw,
    )  # fmt: skip


def _baselines(train: Lists, dev: Lists, test: Lists) -> list[dict[str, Any]]:
    most = Counter(train.labels.tolist()).most_common(1)[0][0]
    guesses = {
        "most frequent answer": [torch.full_like(one.labels, most) for one in (dev, test)],
        "counts of tokens": [bag_of_words(train, one) for one in (dev, test)],
    }
    return [
        {"name": name, "dev": _shares(on_dev, dev)["accuracy"], **_shares(on_test, test)}
        for name, (on_dev, on_test) in guesses.items()
    ]


def bag_of_words(train: Lists, test: Lists) -> Tensor:
    """Return the answers of a logistic regression on the counts of the tokens, int64 `(lists,)`.

    Features are `log(1 + count)`, standardised; fitted by L-BFGS with a penalty of 1e-4 on squared weights.
    """
    seen, asked = (
        torch.stack([one.bincount(minlength=len(WORDS)) for one in part.tokens]).float().log1p()
        for part in (train, test)
    )
    middle, spread = seen.mean(0), seen.std(0) + 1e-6
    seen, asked = (seen - middle) / spread, (asked - middle) / spread
    weight, bias = torch.zeros(len(WORDS), 10, requires_grad=True), torch.zeros(10, requires_grad=True)
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=100, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(seen @ weight + bias, train.labels) + 1e-4 * weight.square().sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    with torch.no_grad():
        return (asked @ weight + bias).argmax(-1)


def _one_model(
    position: Positions,
    attention: Attention,
    parts: tuple[Lists, Lists, Lists],
    share: int,
    settings: LongRangeSettings,
    progress: Progress,
) -> dict[str, Any]:
    train, dev, test = parts
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        model = SequenceClassifier(
            SequenceClassifierConfig(
                vocab_size=len(WORDS), num_labels=10, embed_dim=settings.embed_dim, num_layers=settings.num_layers,
                num_heads=settings.num_heads, positions=position, dropout=0.0,
                pooling="class",
            )
        )  # fmt: skip
        if attention == "linear":
            attend_linearly(model)
    examples = Examples(
        train.lengths, lambda indices, random: train.batch(indices), _loss,
        lambda model: {"accuracy": _shares(answers(model, dev), dev)["accuracy"]},
    )  # fmt: skip
    course = fit(model, examples, _training(settings, share), settings.seed, progress, f"{attention}, {position}")
    with torch.no_grad():
        found = _shares(answers(model.eval(), test), test)
    return {
        "positions": position, "attention": attention, **found, "steps": len(course.losses),
        "seconds": course.seconds, "epochs": _epochs(course, settings, train), "curve": _curve(course),
    }  # fmt: skip


def _training(settings: LongRangeSettings, share: int) -> Training:
    minutes = settings.minutes or settings.pick(None, 60.0)
    steps = settings.steps or (None if settings.minutes else settings.pick(150, None))
    return Training(
        steps, lr=2e-3, tokens=settings.tokens or settings.pick(2048, 16_384), weight_decay=0.01,
        evaluate_every=max(1, steps // 5) if steps else settings.pick(50, 100),
        minutes=None if minutes is None else minutes / share,
    )  # fmt: skip


def _epochs(course: Course, settings: LongRangeSettings, train: Lists) -> float:
    tokens = settings.tokens or settings.pick(2048, 16_384)
    return len(course.losses) * tokens / sum(train.lengths)


def _curve(course: Course) -> dict[str, list[float]]:
    return {"steps": list(map(float, course.steps)), "accuracy": [one["accuracy"] for one in course.figures]}


def _loss(model: nn.Module, batch: tuple[Tensor, Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    tokens, lengths, labels = batch
    logits = model(tokens, lengths)
    return nn.functional.cross_entropy(logits, labels, reduction="sum"), torch.tensor(len(labels))


@torch.no_grad()
def answers(model: nn.Module, lists: Lists, tokens: int = 32_768) -> Tensor:
    """Return a model's answers, int64 `(lists,)`; batches hold lists of similar length, up to a number of tokens."""
    order = sorted(range(len(lists.tokens)), key=lambda index: len(lists.tokens[index]))
    found = torch.empty_like(lists.labels)
    start = 0
    while start < len(order):
        stop = start + max(1, tokens // len(lists.tokens[order[min(len(order) - 1, start + 32)]]))
        chosen = order[start:stop]
        inputs, lengths, _ = lists.batch(chosen)
        found[chosen] = model(inputs, lengths).argmax(-1)
        start = stop
    return found


def _shares(guess: Tensor, lists: Lists) -> dict[str, Any]:
    """Return the accuracy, over all lists and by the outermost operator."""
    right = guess == lists.labels
    first = torch.stack([one[0] for one in lists.tokens])
    by = {
        name[1:]: float(right[first == IDS[name]].float().mean())
        for name in OPERATORS
        if bool((first == IDS[name]).any())
    }
    return {"accuracy": float(right.float().mean()), "operators": by}


def _rows(data: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    models = [(f"{one['attention']}, positions {one['positions']}", one) for one in data["models"]]
    return [*((one["name"], one) for one in data["baselines"]), *models]


def _table(data: Mapping[str, Any]) -> Table:
    names = [name[1:] for name in OPERATORS]
    rows = tuple(
        (name, one["accuracy"], *(one["operators"].get(operator) for operator in names), one.get("steps"),
         one.get("epochs"), one.get("seconds"))
        for name, one in _rows(data)
    )  # fmt: skip
    low, high = data["lengths"]
    return Table(
        f"Accuracy on {data['test']:,} held-out lists of {low:,} to {high:,} tokens, and by the outermost operator",
        ("model", "accuracy", *names, "steps", "epochs", "seconds"), rows,
    )  # fmt: skip


def _reading(data: Mapping[str, Any]) -> tuple[str, ...]:
    models, count = dict(_rows(data)), data["test"]
    majority, bag = (one["accuracy"] for one in data["baselines"])
    trained = {name: models[name] for name in models if "attention" in models[name]}
    best = max(trained, key=lambda name: trained[name]["accuracy"])
    top = trained[best]["accuracy"]
    error = math.sqrt(max(top * (1 - top), 1e-9) / count)
    gap = (top - bag) / error
    easy = max(trained[best]["operators"], key=lambda name: trained[best]["operators"][name])
    hard = min(trained[best]["operators"], key=lambda name: trained[best]["operators"][name])
    verdict = "above" if gap > 2 else "below" if gap < -2 else "not told apart from"
    said = [
        f"The best model, {best}, answers {top:.3f} right (standard error {error:.3f}), {verdict} the counts of tokens "
        f"without order, {bag:.3f}; the most frequent answer gives {majority:.3f}.",
        f"Lists whose outermost operator is {easy} it answers best, {trained[best]['operators'][easy]:.2f}, those of "
        f"{hard} worst, {trained[best]['operators'][hard]:.2f}.",
        *_compared(data),
    ]
    steps = [one["steps"] for one in data["models"]]
    if data["published"] is None:
        said.append(
            f"The published {PUBLISHED:.1%} of the plain Transformer is of lists of 500 to 2,000 tokens and does not "
            "compare with these."
        )
    else:
        said.append(
            f"The plain Transformer is published with {PUBLISHED:.1%} at this size, on the benchmark's own lists and "
            f"after far more training than the {min(steps):,} to {max(steps):,} steps here; ours has {top:.1%}."
        )
    return tuple(said)


def _compared(data: Mapping[str, Any]) -> list[str]:
    """Return sentences about the effect of positions and of the kind of attention, all else equal."""
    said = []
    for what, other in (("positions", "attention"), ("attention", "positions")):
        kinds = list(dict.fromkeys(one[what] for one in data["models"]))
        if len(kinds) != 2:
            continue
        pairs = {(one[what], one[other]): one["accuracy"] for one in data["models"]}
        gains = ", ".join(
            f"{pairs[kinds[0], rest] - pairs[kinds[1], rest]:+.3f} with {other} {rest}"
            for rest in dict.fromkeys(one[other] for one in data["models"])
        )
        said.append(f"{what.capitalize()} {kinds[0]} in place of {kinds[1]} changes the accuracy by {gains}.")
    return said


def draw(data: Mapping[str, Any]) -> Figure:
    """Draw the accuracy during training, at the end, and by the outermost operator."""
    figure, axes = panels(1, 3, width=11.0, height=3.4)
    during, ended, operators = axes[0]
    models = [(name, one) for name, one in _rows(data) if "curve" in one]
    for colour, (name, one) in zip(PALETTE, models, strict=False):
        during.plot(one["curve"]["steps"], one["curve"]["accuracy"], "o-", color=colour, markersize=3, label=name)
    bag = data["baselines"][1]["dev"]
    during.axhline(bag, color="#777777", linewidth=0.9, linestyle=":", label="counts of tokens")
    tidy(during, "During training, dev lists", "step", "accuracy")
    during.set_ylim(bottom=0)
    key(during, loc="lower right")
    _bars(ended, data)
    _by_operator(operators, data)
    return figure


def _bars(axes: Axes, data: Mapping[str, Any]) -> None:
    rows = _rows(data)[::-1]
    colours = [*PALETTE[: len(data["models"])][::-1], "#aaaaaa", "#aaaaaa"]
    values = [one["accuracy"] for _, one in rows]
    errors = [math.sqrt(value * (1 - value) / data["test"]) for value in values]
    axes.barh(range(len(rows)), values, color=colours, xerr=errors, ecolor="#333333", height=0.7)
    for place, value in enumerate(values):
        axes.annotate(f"{value:.3f}", (0.01, place), va="center", fontsize=7, color="white", weight="bold")
    axes.set_yticks(range(len(rows)), [name for name, _ in rows])
    low, high = data["lengths"]
    tidy(axes, f"Test lists of {low:,} to {high:,} tokens", "accuracy ± standard error", "")
    axes.grid(False, axis="y")
    if data["published"] is not None:
        axes.axvline(data["published"], color="#333333", linewidth=0.9, linestyle="--")
        axes.annotate(
            f"published {data['published']:.1%} ", (data["published"], len(rows) - 0.45), ha="right", fontsize=7,
            annotation_clip=False,
        )  # fmt: skip


def _by_operator(axes: Axes, data: Mapping[str, Any]) -> None:
    rows = [data["baselines"][1], *data["models"]]
    names = [name[1:] for name in OPERATORS]
    width = 0.8 / len(rows)
    for place, (colour, one) in enumerate(zip(("#aaaaaa", *PALETTE), rows, strict=False)):
        spots = [column + (place - (len(rows) - 1) / 2) * width for column in range(len(names))]
        axes.bar(spots, [one["operators"].get(name, 0.0) for name in names], width=0.9 * width, color=colour)
    axes.set_xticks(range(len(names)), names)
    tidy(axes, "By the outermost operator (grey: counts)", "", "accuracy")
    axes.grid(False, axis="x")
