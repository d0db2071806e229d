"""The picture of the study of positions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from .._drawing import INK, PALETTE, sheet
from ._drawing import doubling, key, tidy
from ._study import mean

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, FigureBase

NAMES = {
    "sinusoidal": "Sinusoidal", "learned": "Learned, trained up to - -", "rotary": "Rotary, cosines",
    "alibi": "ALiBi, e to the bias", "relative": "Relative, e to the bias",
}  # fmt: skip
COLOURS = dict(zip((*NAMES, "none"), PALETTE, strict=False))


def draw(data: Mapping[str, Any]) -> Figure:
    """Draw each kind of positions, similarity and attention by distance, and the loss by length."""
    figure = sheet(11.0, 7.2)
    upper, lower = figure.subfigures(2, 1, squeeze=False, height_ratios=(1.2, 1.0))[:, 0]
    for axes, name in zip(upper.subplots(1, len(NAMES)), NAMES, strict=True):
        _picture(upper, axes, name, data)
    below = lower.subplots(1, 3)
    _similarity(below[0], data)
    _attention(below[1], data)
    _lengths(below[2], data)
    return figure


def _picture(figure: FigureBase, axes: Axes, name: str, data: Mapping[str, Any]) -> None:
    """Draw a table, positions downwards, with a line at the trained length; biases with one column a head."""
    numbers = np.array(data["pictures"][name])
    if name in ("alibi", "relative"):
        image = axes.imshow(np.exp(numbers).T, aspect="auto", cmap="cividis", vmin=0.0, interpolation="nearest")
        labels = ("head", "distance back")
        axes.set_xticks(range(len(numbers)))
    else:
        most = float(np.abs(numbers).max())
        image = axes.imshow(numbers, aspect="auto", cmap="RdBu", vmin=-most, vmax=most, interpolation="nearest")
        labels = ("pair of features" if name == "rotary" else "feature", "position")
    axes.axhline(data["length"] - 0.5, color=INK, linewidth=0.8, linestyle="--")
    bar = figure.colorbar(image, ax=axes, location="bottom", pad=0.02, aspect=18, shrink=0.95)
    bar.ax.tick_params(labelsize=6, color="#bbbbbb", labelcolor=INK)
    bar.outline.set_visible(False)
    tidy(axes, NAMES[name], *labels)
    axes.grid(False)


def _similarity(axes: Axes, data: Mapping[str, Any]) -> None:
    for name, values in data["similarity"].items():
        axes.plot(values, color=COLOURS[name], linewidth=1.4, label=name)
    axes.axhline(0.0, color="#dddddd", linewidth=0.8, zorder=0)
    tidy(axes, "Similarity of two positions", "distance", "1 at distance 0")
    key(axes)


def _attention(axes: Axes, data: Mapping[str, Any]) -> None:
    for name, colour in COLOURS.items():
        runs = [run["attends"] for run in data["runs"] if run["kind"] == name]
        axes.plot([mean(each) for each in zip(*runs, strict=True)], color=colour, linewidth=1.4, label=name)
    axes.set_yscale("log")
    tidy(axes, f"What trained models attend to, {data['length']} tokens", "distance back", "mean weight")


def _lengths(axes: Axes, data: Mapping[str, Any]) -> None:
    """Draw a line through the means for each kind, and a thin one from the lowest to the highest seed."""
    for name, colour in COLOURS.items():
        runs = [run["losses"] for run in data["runs"] if run["kind"] == name]
        lengths = [data["length"] << power for power in range(len(runs[0]))]
        columns = list(zip(*runs, strict=True))
        axes.plot(
            lengths, [mean(each) for each in columns], "o-", color=colour, markersize=4, linewidth=1.4, label=name
        )
        for x, each in zip(lengths, columns, strict=True):
            axes.plot([x, x], [min(each), max(each)], color=colour, linewidth=1.0)
    doubling(axes, lengths)
    tidy(axes, f"Held-out loss, trained on {data['length']} tokens", "tokens of context", "nats a byte")
    key(axes)
