"""Why the products of queries and keys are divided by the square root of a head's width."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from .._attention import attention
from .._drawing import PALETTE
from .._values import check_sizes
from ..errors import ArgumentError
from ..layers import MultiHeadAttention
from ..models import TokenClassifier, TokenClassifierConfig
from ._code import CodeNames, attends, code_names, names_judge, names_loss
from ._drawing import dotted, doubling, key, panels, smooth, tidy
from ._fit import Examples, Training, fit
from ._study import Progress, Study, StudySettings, Table, mean, part, settings_for, silent

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SCALES = {"1": 0.0, "1/√E": -0.5, "1/E": -1.0}
"""The exponent of the width, by the name of the factor."""


@dataclass(frozen=True)
class ScalingSettings(StudySettings):
    """Settings of the study of scaling."""

    widths: tuple[int, ...] = (4, 8, 16, 32, 64, 128, 256, 512)
    """Widths of a head."""
    keys: int = 128
    """Number of keys and of queries of a call."""
    calls: int | None = None
    """Number of calls with random inputs for each width; 8 or 32 unless given."""
    steps: int | None = None
    """Steps of training for each factor; 90 or 180 unless given."""
    runs: int | None = None
    """Number of trainings of each factor, with different seeds; 1 or 3 unless given."""
    embed_dim: int = 256
    """Width of the trained models, which have one head of this width."""
    files: int | None = None
    """Files of code to train on; 24 or 48 unless given."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_sizes(self, "calls", "steps", "runs", "embed_dim", "files")
        if len(self.widths) < 2 or any(width < 1 for width in self.widths):
            raise ArgumentError(f"widths is {self.widths}; give at least two widths of 1 or more.")
        if self.keys < 2:
            raise ArgumentError(f"keys is {self.keys}; give 2 or more, of one key the weight is always 1.")


def scaling(settings: ScalingSettings | None = None, *, progress: Progress = silent) -> Study:
    """Compare products of queries and keys that are scaled by 1, 1/√E and 1/E, over widths E of a head.

    Two parts. Queries, keys and values with independent normal features: how far the scores spread, the entropy of
    the weights, the largest weight, and the gradients for queries and keys of a random loss. Then a model with one
    wide head, trained with each factor on the names in Python code (`corpora.code_entities`).

    Args:
        settings: see `ScalingSettings`.
        progress: called with the share done, and a description.

    Returns a `Study`; its table has a row for each factor and width, then one for each trained model.

    Source: Vaswani et al. 2017, arXiv:1706.03762, section 3.2.1, footnote 4.
    """
    settings = settings_for(settings, ScalingSettings, progress)
    measured = _measured(settings, part(progress, 0.0, 0.15))
    trained, about = _trained(settings, part(progress, 0.15, 1.0))
    data = {"keys": settings.keys, "measured": measured, "trained": trained, **about}
    return Study(
        "scaling", "Why is the product of a query and a key divided by the square root of its width?",
        dataclasses.asdict(settings), _tables(measured, trained, settings.keys), _reading(data), data, draw,
    )  # fmt: skip


def _measured(settings: ScalingSettings, progress: Progress) -> list[dict[str, Any]]:
    """Return the measures on random queries and keys, a row for each factor and width."""
    found = []
    calls = settings.calls or settings.pick(8, 32)
    pairs = [(name, width) for name in SCALES for width in settings.widths]
    for done, (name, width) in enumerate(pairs):
        progress(done / len(pairs), f"random inputs, factor {name}, width {width}")
        found.append({"factor": name, "width": width, **_one_width(width, width ** SCALES[name], calls, settings)})
    return found


def _one_width(width: int, scale: float, calls: int, settings: ScalingSettings) -> dict[str, float]:
    """Return the spread of the scores, measures of the weights, and the gradients of a random loss."""
    generator = torch.Generator().manual_seed(settings.seed)
    shape = (calls, 1, settings.keys, width)
    query, value, pull = (torch.randn(shape, generator=generator) for _ in range(3))
    key = torch.randn(shape, generator=generator)
    query.requires_grad_()
    key.requires_grad_()
    out, weights = attention(query, key, value, scale=scale, need_weights=True)
    (out * pull).sum().div(math.sqrt(width)).backward()
    with torch.no_grad():
        of_query, of_key = (tensor.grad.norm(dim=-1).flatten() for tensor in (query, key))  # type: ignore[union-attr]
        return {
            "score_std": float((query @ key.mT * scale).std()),
            "entropy": float(weights.entropy().mean()),
            "largest": float(weights.peak().values.mean()),
            "gradient_query": float(of_query.mean()),
            "gradient_key": float(of_key.mean()),
            "gradient_tenth": float(of_query.quantile(0.1)),
        }


def _trained(settings: ScalingSettings, progress: Progress) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Return a trained model for each factor and seed, and what they were trained on."""
    data = code_names(settings.files or settings.pick(24, 48), 64)
    runs = [(name, run) for run in range(settings.runs or settings.pick(1, 3)) for name in SCALES]
    found = []
    for place, (name, run) in enumerate(runs):
        told = part(progress, place / len(runs), (place + 1) / len(runs))
        found.append({"factor": name, "seed": settings.seed + run, **_one_model(name, run, data, settings, told)})
    return found, {"description": data.description, "baseline": data.baseline, "embed_dim": settings.embed_dim}


def _one_model(name: str, run: int, data: CodeNames, settings: ScalingSettings, progress: Progress) -> dict[str, Any]:
    seed = settings.seed + run
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = TokenClassifier(
            TokenClassifierConfig(
                vocab_size=len(data.vocabulary), num_labels=len(data.kinds), embed_dim=settings.embed_dim,
                num_heads=1, num_layers=2, ffn_dim=settings.embed_dim, dropout=0.0,
            )
        )  # fmt: skip
    for module in model.modules():
        if isinstance(module, MultiHeadAttention):
            module.scale = module.head_dim ** SCALES[name]
    before = attends(model, data)
    examples = Examples(
        data.train.lengths, lambda indices, random: data.train.padded(indices), names_loss,
        lambda model: names_judge(model, data.test),
    )  # fmt: skip
    steps = settings.steps or settings.pick(90, 180)
    course = fit(model, examples, Training(steps), seed, progress, f"a model with factor {name}, seed {seed}")
    return {
        "losses": course.losses, **course.last, "seconds": course.seconds,
        "entropy_before": before[0], "largest_before": before[1],
        **dict(zip(("entropy", "largest"), attends(model, data), strict=True)),
    }  # fmt: skip


def _tables(measured: list[dict[str, Any]], trained: list[dict[str, Any]], keys: int) -> tuple[Table, ...]:
    columns = {
        "score_std": "deviation of scores", "entropy": "entropy, nats", "largest": "largest weight",
        "gradient_query": "gradient of q", "gradient_key": "gradient of k", "gradient_tenth": "of q, lowest tenth",
    }  # fmt: skip
    random = Table(
        f"Random queries and keys, {keys} keys, entropy of uniform weights {math.log(keys):.4g}",
        ("factor", "width E", *columns.values()),
        tuple((row["factor"], row["width"], *(row[name] for name in columns)) for row in measured),
    )
    columns = {
        "accuracy": "accuracy", "loss": "loss, nats", "entropy_before": "entropy / log n at the start",
        "entropy": "… at the end", "largest_before": "largest weight at the start", "largest": "largest at the end",
    }  # fmt: skip
    models = Table(
        "Models trained on names in code, held-out files",
        ("factor", "seed", *columns.values()),
        tuple((row["factor"], row["seed"], *(row[name] for name in columns)) for row in trained),
    )
    return random, models


def _reading(data: Mapping[str, Any]) -> tuple[str, ...]:
    rows = {name: [row for row in data["measured"] if row["factor"] == name] for name in SCALES}
    first, last = rows["1"][0]["width"], rows["1"][-1]["width"]

    def ends(name: str, what: str) -> str:
        return f"{rows[name][0][what]:.2g} to {rows[name][-1][what]:.2g}"

    def each(what: str) -> str:
        return ", ".join(f"{ends(name, what)} (factor {name})" for name in SCALES)

    growth = math.log(rows["1"][-1]["score_std"] / rows["1"][0]["score_std"]) / math.log(last / first)
    kept = [row["score_std"] for row in rows["1/√E"]]
    uniform = math.log(data["keys"])
    shares = ", ".join(
        f"{found[0]['entropy'] / uniform:.2f} to {found[-1]['entropy'] / uniform:.2f} (factor {name})"
        for name, found in rows.items()
    )
    return (
        f"From width {first} to {last} the deviation of unscaled scores goes from {ends('1', 'score_std')}: as E to "
        f"the power {growth:.2f}, for a sum of E independent products of variance 1 has variance E. Times 1/√E it "
        f"stays between {min(kept):.3f} and {max(kept):.3f}.",
        f"The entropy, as a share of that of uniform weights, goes from {shares}; the largest weight of a row from "
        f"{each('largest')}.",
        f"The mean gradient of a query goes from {each('gradient_query')}; what the tenth of the queries with the "
        f"smallest gradients stays below, from {each('gradient_tenth')}.",
        _reading_of_models(data),
    )


def _reading_of_models(data: Mapping[str, Any]) -> str:
    said = []
    for name in SCALES:
        runs = [row for row in data["trained"] if row["factor"] == name]
        figures = sorted(row["accuracy"] for row in runs)
        spread = f" ({figures[0]:.3f} to {figures[-1]:.3f})" if len(figures) > 1 else ""
        start = mean([row["entropy_before"] for row in runs])
        said.append(f"{name}: {mean(figures):.3f}{spread}, from weights with {start:.2f} of the entropy")
    count, steps = len(data["trained"]) // len(SCALES), len(data["trained"][0]["losses"])
    return (
        f"Models with one head of {data['embed_dim']}, {steps} steps, {count} seed{'s' if count > 1 else ''}, share of "
        f"names in held-out files whose kind is right: {'; '.join(said)}. The most frequent kind of each word gives "
        f"{data['baseline']:.3f}."
    )


def draw(data: Mapping[str, Any]) -> Figure:
    """Draw spread, entropy, largest weight, gradients, and the training of the models."""
    figure, axes = panels(2, 3, width=10.0, height=3.0)
    rows = {name: [row for row in data["measured"] if row["factor"] == name] for name in SCALES}
    shown = (
        ("score_std", "Deviation of the scores", "deviation", True),
        ("entropy", f"Entropy of the weights, {data['keys']} keys", "nats", False),
        ("largest", "Largest weight of a row", "weight", False),
        ("gradient_query", "Gradient of a query, mean", "norm", True),
        ("gradient_tenth", "The same, lowest tenth of queries", "norm", True),
    )
    for place, (what, title, unit, log) in zip(axes.flat, shown, strict=False):
        _lines(place, rows, what, log)
        tidy(place, title, "width E of the head", unit)
    dotted(axes[0, 1], math.log(data["keys"]), "uniform")
    key(axes[0, 0], title="factor", title_fontsize=7)
    _training(axes[1, 2], data)
    return figure


def _lines(axes: Axes, rows: Mapping[str, list[dict[str, Any]]], what: str, log: bool) -> None:
    for colour, (name, found) in zip(PALETTE, rows.items(), strict=False):
        axes.plot(
            [row["width"] for row in found], [row[what] for row in found], "o-", color=colour, markersize=3,
            linewidth=1.4, label=name,
        )  # fmt: skip
    doubling(axes, [row["width"] for row in next(iter(rows.values()))])
    if log:
        axes.set_yscale("log")


def _training(axes: Axes, data: Mapping[str, Any]) -> None:
    for colour, name in zip(PALETTE, SCALES, strict=False):
        runs = [row for row in data["trained"] if row["factor"] == name]
        steps, losses = smooth([mean(each) for each in zip(*(row["losses"] for row in runs), strict=True)])
        right = mean([row["accuracy"] for row in runs])
        axes.plot(steps, losses, color=colour, linewidth=1.4, label=f"{name}: {right:.3f} right")
    tidy(axes, f"Training on names in code, E = {data['embed_dim']}", "step", "loss, nats")
    key(axes, title="factor, held-out names", title_fontsize=7)
