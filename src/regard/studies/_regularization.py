"""The effect of dropout and layer norm on a model trained on few real examples, and on its attention."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from .. import masks
from .._drawing import FAINT, PALETTE
from .._values import check_sizes
from ..errors import ArgumentError
from ..layers import Encoder, EncoderLayer, Projection, Rotary, Weights
from ._code import CodeNames, attends, code_names, names_judge, names_loss
from ._drawing import dotted, key, panels, smooth, tidy
from ._fit import Examples, Training, fit
from ._study import Progress, Study, StudySettings, Table, deviation, mean, part, settings_for, silent

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NORMS = ("none", "before", "after")


@dataclass(frozen=True)
class RegularizationSettings(StudySettings):
    """Settings of the study of dropout and layer norm."""

    rates: tuple[float, ...] | None = None
    """Rates of dropout: of attention weights, of residuals, and inside the feed-forward; 0 and 0.2, or 0, 0.1 and 0.3,
    unless given."""
    runs: int | None = None
    """Number of trainings of each rate and norm, with different seeds; 2 or 3 unless given."""
    steps: int | None = None
    """Steps of training; 80 or 200 unless given."""
    embed_dim: int = 64
    """Width of the models, which have 4 heads."""
    num_layers: int = 2
    """Layers of the models."""
    files: int | None = None
    """Files of code to train on; 24 or 48 unless given."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_sizes(self, "runs", "steps", "embed_dim", "num_layers", "files")
        if self.rates is not None and (not self.rates or any(not 0 <= rate < 1 for rate in self.rates)):
            raise ArgumentError(f"rates is {self.rates}; give at least one probability in [0, 1).")


class _Model(nn.Module):
    """A model from words to kinds of names, with the chosen place of the norm."""

    def __init__(self, data: CodeNames, norm: str, rate: float, embed_dim: int, num_layers: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(len(data.vocabulary), embed_dim)
        layer = EncoderLayer(
            embed_dim, 4, activation="gelu", norm="none" if norm == "none" else "layer", norm_first=norm == "before",
            dropout=rate, position=Rotary(),
        )  # fmt: skip
        self.encoder = Encoder(layer, num_layers)
        self.head = Projection(embed_dim, len(data.kinds))

    def forward(self, words: Tensor, lengths: Tensor, need_weights: bool = False) -> Tensor | tuple[Tensor, Weights]:
        x = self.encoder(self.embedding(words), mask=masks.padding(lengths), need_weights=need_weights)
        return (self.head(x[0]), x[1]) if need_weights else self.head(x)


def regularization(settings: RegularizationSettings | None = None, *, progress: Progress = silent) -> Study:
    """Train models without layer norm, with pre-norm and with post-norm, at several rates of dropout.

    They learn the kinds of the names in Python code (`corpora.code_entities`: real code, whole packages held out),
    over several seeds. Compared are the loss while training, the accuracy on held-out files with its spread, and the
    weights of the trained models: their entropy and the largest weight of a row.

    Args:
        settings: see `RegularizationSettings`.
        progress: called with the share done, and a description.

    Returns a `Study`; its table has a row for each norm and rate. "before" is pre-norm, with a final norm.

    Source: Srivastava et al. 2014 for dropout; Ba et al. 2016, arXiv:1607.06450, for the norm; Xiong et al. 2020,
    arXiv:2002.04745, for its place.
    """
    settings = settings_for(settings, RegularizationSettings, progress)
    data = code_names(settings.files or settings.pick(24, 48), 64)
    runs = settings.runs or settings.pick(2, 3)
    rates = settings.rates or settings.pick((0.0, 0.2), (0.0, 0.1, 0.3))
    cells = [(norm, rate, run) for run in range(runs) for norm in NORMS for rate in rates]
    found = []
    for place, (norm, rate, run) in enumerate(cells):
        told = part(progress, place / len(cells), (place + 1) / len(cells))
        found.append({"norm": norm, "rate": rate, **_one(norm, rate, settings.seed + run, data, settings, told)})
    shown = {"runs": found, "rates": list(rates), "baseline": data.baseline, "description": data.description}
    return Study(
        "regularization", "What do dropout and layer norm do to self-attention that learns from real examples?",
        dataclasses.asdict(settings), (_table(shown),), _reading(shown), shown, draw,
    )  # fmt: skip


def _one(
    norm: str, rate: float, seed: int, data: CodeNames, settings: RegularizationSettings, progress: Progress
) -> dict[str, Any]:
    """Return the history of one model, and the measures of its attention at the end."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = _Model(data, norm, rate, settings.embed_dim, settings.num_layers)
    examples = Examples(
        data.train.lengths, lambda indices, random: data.train.padded(indices), names_loss,
        lambda model: names_judge(model, data.test),
    )  # fmt: skip
    steps = settings.steps or settings.pick(80, 200)
    training = Training(steps, lr=4e-3, tokens=1024, evaluate_every=-(-steps // settings.pick(4, 8)))
    text = f"norm {norm}, dropout {rate:g}, seed {seed}"
    course = fit(model, examples, training, seed, progress, text)
    entropy, largest = attends(model, data)
    return {
        "seed": seed, "losses": course.losses, "steps": course.steps,
        "held_out": [figures["loss"] for figures in course.figures], **course.last,
        "best": max(figures["accuracy"] for figures in course.figures), "entropy": entropy, "largest": largest,
    }  # fmt: skip


def _cells(data: Mapping[str, Any]) -> list[tuple[str, float, list[dict[str, Any]]]]:
    """Return the runs of each norm and rate."""
    return [
        (norm, rate, [run for run in data["runs"] if run["norm"] == norm and run["rate"] == rate])
        for norm in NORMS
        for rate in data["rates"]
    ]


def _table(data: Mapping[str, Any]) -> Table:
    rows = []
    for norm, rate, runs in _cells(data):
        accuracy = [run["accuracy"] for run in runs]
        final = [sum(run["losses"][-10:]) / len(run["losses"][-10:]) for run in runs]
        means = [mean(final), *(mean([run[name] for run in runs]) for name in ("loss", "entropy", "largest"))]
        rows.append((norm, rate, mean(accuracy), deviation(accuracy), min(accuracy), max(accuracy), *means))
    count = len(data["runs"]) // len(rows)
    return Table(
        f"Kinds of names in held-out files, {count} seed{'s' if count > 1 else ''} each",
        ("norm", "dropout", "accuracy", "deviation", "lowest", "highest", "training loss", "held-out loss",
         "entropy / log n", "largest weight"),
        tuple(rows),
    )  # fmt: skip


def _reading(data: Mapping[str, Any]) -> tuple[str, ...]:
    cells = {(norm, rate): runs for norm, rate, runs in _cells(data)}
    accuracy = {place: mean([run["accuracy"] for run in runs]) for place, runs in cells.items()}
    entropy = {place: mean([run["entropy"] for run in runs]) for place, runs in cells.items()}
    best = max(accuracy, key=lambda place: accuracy[place])
    noise = mean([deviation([run["accuracy"] for run in runs]) for runs in cells.values()])
    count = len(next(iter(cells.values())))
    by_norm = {norm: [accuracy[norm, rate] for rate in data["rates"]] for norm in NORMS}
    low, high = data["rates"][0], data["rates"][-1]
    gains = ", ".join(f"{accuracy[norm, high] - accuracy[norm, low]:+.3f} with norm {norm}" for norm in NORMS)
    changes = ", ".join(f"{entropy[norm, low]:.2f} to {entropy[norm, high]:.2f} with norm {norm}" for norm in NORMS)
    places = "; ".join(f"{norm} {mean(figures):.3f}" for norm, figures in by_norm.items())
    largest = {norm: mean([run["largest"] for run in data["runs"] if run["norm"] == norm]) for norm in NORMS}
    return (
        f"The best mean accuracy on held-out files is {accuracy[best]:.3f}, with norm {best[0]} and dropout "
        f"{best[1]:g}; the most frequent kind of each word gives {data['baseline']:.3f}.",
        f"The mean over all rates of dropout is, by the place of the norm: {places}. Seeds of one setting differ by "
        f"{noise:.3f} (standard deviation, {count} seeds): smaller differences say nothing.",
        f"Dropout {high:g} in place of {low:g} changes the accuracy by {gains}, and the entropy of the weights, as a "
        f"share of that of uniform ones, from {changes}.",
        "The largest weight of a row is, on average, "
        + ", ".join(f"{value:.2f} with norm {norm}" for norm, value in largest.items())
        + ".",
    )


def draw(data: Mapping[str, Any]) -> Figure:
    """Draw the loss for each norm, the accuracy with its spread, and what the weights are like."""
    figure, axes = panels(2, 3, width=10.0, height=3.0)
    highest = max(max(run["losses"]) for run in data["runs"])
    for place, norm in zip(axes[0], NORMS, strict=True):
        _curves(place, data, norm)
        place.set_ylim(0, 1.05 * highest)
    key(axes[0, 0], title="dropout", title_fontsize=7)
    for place, (name, title, unit) in zip(
        axes[1],
        (
            ("accuracy", "Held-out names whose kind is right", "accuracy"),
            ("entropy", "Entropy of the weights", "share of log n"),
            ("largest", "Largest weight of a row", "weight"),
        ),
        strict=True,
    ):
        _points(place, data, name)
        tidy(place, title, "place of the norm", unit)
        place.grid(False, axis="x")
    return figure


def _curves(axes: Axes, data: Mapping[str, Any], norm: str) -> None:
    for colour, rate in zip(PALETTE, data["rates"], strict=False):
        runs = [run for run in data["runs"] if run["norm"] == norm and run["rate"] == rate]
        steps, losses = smooth([mean(each) for each in zip(*(run["losses"] for run in runs), strict=True)])
        axes.plot(steps, losses, color=colour, linewidth=1.4, label=f"{rate:g}")
        held_out = [mean(each) for each in zip(*(run["held_out"] for run in runs), strict=True)]
        axes.plot(runs[0]["steps"], held_out, color=colour, linewidth=1.0, linestyle="--")
    axes.plot([], [], color=FAINT, linewidth=1.0, linestyle="--", label="held-out")
    tidy(axes, {"none": "No norm: loss"}.get(norm, f"Norm {norm}: loss"), "step", "nats")


def _points(axes: Axes, data: Mapping[str, Any], name: str) -> None:
    """Draw the mean of each cell with a line from its lowest to its highest seed."""
    rates = data["rates"]
    for place, (colour, rate) in enumerate(zip(PALETTE, rates, strict=False)):
        for column, norm in enumerate(NORMS):
            values = [run[name] for run in data["runs"] if run["norm"] == norm and run["rate"] == rate]
            x = column + (place - (len(rates) - 1) / 2) * 0.6 / len(rates)
            axes.plot([x, x], [min(values), max(values)], color=colour, linewidth=1.2)
            axes.plot([x], [mean(values)], "o", color=colour, markersize=5)
    axes.set_xticks(range(len(NORMS)), NORMS)
    if name == "accuracy":
        dotted(axes, data["baseline"], "most frequent kind")
