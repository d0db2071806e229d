"""Linear against softmax attention: the cost by length, the crossover, and what is lost."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from .._attention import attention
from .._drawing import FAINT, INK, PALETTE
from .._values import check_sizes
from ..errors import ArgumentError
from ..linear import linear_attention
from ._drawing import doubling, key, panels, tidy
from ._linear_cost import CALLS, PAIRS, chosen_backend, costs, crossover
from ._recall import Recall, RecallModel, draw_batch, train_recall
from ._study import Progress, Study, StudySettings, Table, mean, part, settings_for, silent

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAPS = {"softmax": None, "linear, elu + 1": "elu", "linear, softmax features": "softmax"}
"""The models trained on recall: name of the attention to feature map."""


@dataclass(frozen=True)
class LinearSettings(StudySettings):
    """Settings of the study of linear attention."""

    shortest: int = 128
    """Fewest tokens; lengths double from here on."""
    longest: int | None = None
    """Most tokens; 16,384 or 65,536 unless given."""
    head_dim: int = 64
    """Width of the head that is timed."""
    embed_dim: int = 32
    """Width of the models of the recall task, which is also that of their only head."""
    steps: int | None = None
    """Steps of training on recall; 400 or 2,000 unless given."""
    runs: int | None = None
    """Number of trainings of each kind, with different seeds; 1 or 3 unless given."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_sizes(self, "head_dim", "embed_dim", "steps", "runs")
        if self.shortest < 16 or (self.longest is not None and self.longest < 2 * self.shortest):
            raise ArgumentError(
                f"shortest is {self.shortest} and longest {self.longest}; give 16 tokens or more, and at least twice "
                "as many for the longest."
            )


def linear(settings: LinearSettings | None = None, *, progress: Progress = silent) -> Study:
    """Compare linear with softmax attention: time and memory over lengths, the weights, and what can be recalled.

    Three parts. Calls of one head over doubling lengths: CPU seconds and peak memory. Models of one head trained to
    recall the value of a key among 4 to 128 pairs, with each kind of attention. The weights of both kinds for the same
    queries and keys, those of the model trained with softmax.

    Args:
        settings: see `LinearSettings`.
        progress: called with the share done, and a description.

    Returns a `Study` with two tables: cost by length, and recall by the number of pairs.

    Source: Katharopoulos et al. 2020, arXiv:2006.16236; Schlag et al. 2021, arXiv:2102.11174, section 4.1, for why a
    sum of keys and values holds about as many pairs as there are features.
    """
    settings = settings_for(settings, LinearSettings, progress)
    longest = settings.longest or settings.pick(16_384, 65_536)
    sizes = [settings.shortest]
    while 2 * sizes[-1] <= longest:
        sizes.append(2 * sizes[-1])
    measured = costs(sizes, settings.head_dim, settings.seed, part(progress, 0.0, 0.5))
    trained, weights = _recalled(settings, part(progress, 0.5, 1.0))
    data = {
        "sizes": sizes, "costs": measured, "crossover": _crossovers(sizes, measured), "recall": trained,
        "pairs": list(Recall().pairs), "weights": weights, "head_dim": settings.head_dim,
        "embed_dim": settings.embed_dim, "backend": chosen_backend(settings.head_dim),
    }  # fmt: skip
    return Study(
        "linear", "From which length on is linear attention cheaper than softmax, and what does it lose?",
        dataclasses.asdict(settings), _tables(data), _reading(data), data, draw,
    )  # fmt: skip


def _crossovers(sizes: list[int], measured: list[dict[str, Any]]) -> dict[str, float | None]:
    def seconds(name: str) -> list[float]:
        return [row["seconds"] for row in measured if row["call"] == name]

    return {slow: crossover(sizes, seconds(slow), seconds(fast)) for slow, fast in PAIRS}


def _recalled(settings: LinearSettings, progress: Progress) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Return the recall of each kind and seed, and the weights of the first seed's models."""
    steps, count = settings.steps or settings.pick(400, 2_000), settings.runs or settings.pick(1, 3)
    found: list[dict[str, Any]] = []
    models: dict[str, RecallModel] = {}
    kinds = [(name, run) for run in range(count) for name in MAPS]
    for place, (name, run) in enumerate(kinds):
        told = part(progress, place / len(kinds), (place + 1) / len(kinds))
        seed = settings.seed + run
        model, course = train_recall(
            Recall(), settings.embed_dim, MAPS[name], steps, seed, told, f"recall, {name}"  # type: ignore[arg-type]
        )  # fmt: skip
        models.setdefault(name, model)
        found.append({"kind": name, "seed": seed, "accuracy": course.last, "losses": course.losses})
    return found, _weights(models, settings.seed)


@torch.no_grad()
def _weights(models: Mapping[str, RecallModel], seed: int, pairs: int = 24) -> dict[str, Any]:
    """Return the weights of one sequence whose keys are asked in order: right answers are on the diagonal."""
    sequence = draw_batch(Recall(), pairs, 1, np.random.default_rng(seed + 2))
    asked = (sequence.keys, sequence.values, sequence.keys)
    heads = models["softmax"].heads(*asked)
    own = models["linear, elu + 1"].heads(*asked)
    shown = {
        "softmax, as trained": attention(*heads, need_weights=True)[1],
        "linear, the same queries and keys": linear_attention(*heads, need_weights=True)[1],
        "linear, trained so": linear_attention(*own, need_weights=True)[1],
    }
    return {name: weights.dense()[0, 0].tolist() for name, weights in shown.items()}


def _on_the_diagonal(matrix: list[list[float]]) -> float:
    return mean([row[place] for place, row in enumerate(matrix)])


def _recall_means(data: Mapping[str, Any]) -> dict[str, list[float]]:
    return {
        name: [
            mean([run["accuracy"][str(pairs)] for run in data["recall"] if run["kind"] == name])
            for pairs in data["pairs"]
        ]
        for name in MAPS
    }


def _tables(data: Mapping[str, Any]) -> tuple[Table, ...]:
    by = {(row["call"], row["tokens"]): row for row in data["costs"]}
    rows = []
    for size in data["sizes"]:
        cells = [by.get((name, size)) for name in CALLS]
        times = [None if row is None else 1e3 * row["seconds"] for row in cells]
        memory = [None if row is None or row["bytes"] is None else row["bytes"] / 2**20 for row in cells]
        rows.append((size, *times, *memory))
    names = tuple(CALLS)
    means = _recall_means(data)
    return (
        Table(
            f"One head of {data['head_dim']}, forward: ms of the processor, and MiB of memory at the peak",
            ("tokens", *(f"{name} ms" for name in names), *(f"{name} MiB" for name in names)), tuple(rows),
        ),
        Table(
            f"Recall: share of asked keys whose value is said, one head of {data['embed_dim']}",
            ("pairs", *means),
            tuple((pairs, *(means[name][place] for name in means)) for place, pairs in enumerate(data["pairs"])),
        ),
    )  # fmt: skip


def _reading(data: Mapping[str, Any]) -> tuple[str, ...]:
    last = data["sizes"][-1]
    at_end = {row["call"]: row for row in data["costs"] if row["tokens"] == last}
    said = []
    for slow, fast in PAIRS:
        cross = data["crossover"][slow]
        kind = "Causal" if "causal" in slow else "Without a mask"
        ratio = at_end[slow]["seconds"] / at_end[fast]["seconds"]
        if cross is None:
            where = "linear attention is not faster at any length measured"
        elif cross <= data["sizes"][0]:
            where = f"linear attention is faster at every length from {data['sizes'][0]:,} tokens on"
        else:
            where = f"linear attention is faster from {cross:,.0f} tokens on (interpolated)"
        said.append(f"{kind}, {where}; at {last:,} it takes 1/{ratio:.1f} of the time.")
    said += _on_memory(data, at_end)
    means = _recall_means(data)
    few, many = data["pairs"][0], data["pairs"][-1]
    said.append(
        f"Recall among {few} and among {many} pairs: "
        + "; ".join(f"{name} {found[0]:.2f} and {found[-1]:.2f}" for name, found in means.items())
        + f". A guess among the {Recall().values} values is right {1 / Recall().values:.2f} of the time."
    )
    diagonal = ", ".join(f"{_on_the_diagonal(one):.2f} ({name})" for name, one in data["weights"].items())
    size = len(next(iter(data["weights"].values())))
    said.append(
        f"Of {size} pairs the right one gets a mean weight of {diagonal}; uniform weights would give {1 / size:.2f}."
    )
    return tuple(said)


def _on_memory(data: Mapping[str, Any], at_end: Mapping[str, Any]) -> list[str]:
    if at_end["softmax"]["bytes"] is None:
        return ["This system does not tell the peak of memory, so none is given."]
    mib = {name: row["bytes"] / 2**20 for name, row in at_end.items()}
    text = (
        f"Peak memory at {data['sizes'][-1]:,} tokens, output included: softmax by the {data['backend']} backend "
        f"{mib['softmax']:.0f} MiB, linear {mib['linear']:.0f} MiB"
    )
    stored = [row for row in data["costs"] if row["call"] == "softmax, matrix stored"]
    if stored:
        text += f"; a softmax that stores its matrix takes {stored[-1]['bytes'] / 2**20:,.0f} MiB at "
        text += f"{stored[-1]['tokens']:,} already"
    return [text + "."]


def draw(data: Mapping[str, Any]) -> Figure:
    """Draw time, memory and recall, and below them the weights."""
    figure, axes = panels(2, 3, width=11.0, height=3.3)
    _costs(axes[0, 0], data, "seconds", 1e3, "Time of one head, forward", "ms of the processor")
    _costs(axes[0, 1], data, "bytes", 2**-20, "Memory at the peak", "MiB")
    for place, cross in enumerate(data["crossover"].values()):
        if cross is not None and cross > data["sizes"][0]:
            axes[0, 0].axvline(cross, color=FAINT, linewidth=0.8, linestyle=":" if place else "--")
    key(axes[0, 1], loc="upper left")  # the same lines as in the panel beside it; here there is room
    _recall_panel(axes[0, 2], data)
    largest = max(max(map(max, one)) for one in data["weights"].values())
    for place, (name, matrix) in zip(axes[1], data["weights"].items(), strict=True):
        image = place.imshow(matrix, cmap="Blues", vmin=0, vmax=largest, interpolation="nearest")
        place.set_title(f"{name}\nright pair {_on_the_diagonal(matrix):.2f}", fontsize=9, color=INK, loc="left")
        place.set_xlabel("pair", fontsize=8, color=INK)
        place.set_ylabel("asked key", fontsize=8, color=INK)
        place.tick_params(labelsize=7, color="#bbbbbb")
    bar = figure.colorbar(image, ax=list(axes[1]), shrink=0.8)
    bar.set_label("weight", fontsize=8)
    bar.ax.tick_params(labelsize=7)
    return figure


def _costs(axes: Axes, data: Mapping[str, Any], what: str, factor: float, title: str, unit: str) -> None:
    styles = {"softmax": "-", "linear": "-", "softmax, causal": "--", "linear, causal": "--"}
    colours = {"softmax": PALETTE[0], "softmax, causal": PALETTE[0], "softmax, matrix stored": PALETTE[7]}
    for name in CALLS:
        rows = [row for row in data["costs"] if row["call"] == name and row[what]]
        axes.plot(
            [row["tokens"] for row in rows], [factor * row[what] for row in rows], styles.get(name, "-"), marker="o",
            color=colours.get(name, PALETTE[1]), markersize=3, linewidth=1.3, label=name,
        )  # fmt: skip
    axes.set_yscale("log")
    tidy(axes, title, "tokens", unit)
    doubling(axes, data["sizes"][::2])


def _recall_panel(axes: Axes, data: Mapping[str, Any]) -> None:
    for colour, (name, found) in zip(PALETTE, _recall_means(data).items(), strict=False):
        runs = [
            [run["accuracy"][str(pairs)] for run in data["recall"] if run["kind"] == name] for pairs in data["pairs"]
        ]
        axes.plot(data["pairs"], found, "o-", color=colour, markersize=3, linewidth=1.4, label=name)
        axes.fill_between(
            data["pairs"], [min(one) for one in runs], [max(one) for one in runs], color=colour, alpha=0.15
        )
    axes.axvline(data["embed_dim"], color=FAINT, linewidth=0.8, linestyle=":")
    axes.annotate(" width of the head", (data["embed_dim"], 1.03), fontsize=7, color=FAINT)
    tidy(axes, "Recall by the number of pairs", "pairs in the sequence", "share right")
    doubling(axes, data["pairs"])
    axes.set_ylim(0, 1.1)
    key(axes, loc="lower left")
