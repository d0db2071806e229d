"""The picture of the study of heads: scores, costs, and the weights of each."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from .._drawing import FAINT, INK, PALETTE
from ._drawing import key, panels, tidy
from ._head_scores import KINDS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = dict(zip((*KINDS, "spread", "mixed"), PALETTE, strict=False))


def draw(data: Mapping[str, Any]) -> Figure:
    """Draw the scores, the cost of each head, scores against costs, and the heads' weights."""
    rows = data["heads"]
    per_row = 8
    lines = -(-len(rows) // per_row)
    figure, _ = panels(1, 1, width=11.0, height=3.9 + 1.6 * lines)
    figure.clear()
    figure.set_layout_engine("constrained")
    grid = figure.add_gridspec(2, 1, height_ratios=[3.9, 1.6 * lines])
    above, below = figure.add_subfigure(grid[0]), figure.add_subfigure(grid[1])
    scores, costs, plane = above.subplots(1, 3)
    _scores(scores, rows)
    _costs(costs, data)
    _plane(plane, data)
    cells = below.subplots(lines, per_row, squeeze=False)
    for place, axes in enumerate(cells.flat):
        if place >= len(rows):
            axes.set_axis_off()
            continue
        row = rows[place]
        image = axes.imshow(_past(data["shown"][place]), cmap="Blues", vmin=0, vmax=1, interpolation="nearest")
        axes.set_facecolor("#e8e4dc")
        axes.set_title(f"{_name(row)} {row['kind']}  {row['rise']:+.3f}", fontsize=6.5, color=INK, loc="left")
        axes.set_xticks([])
        axes.set_yticks([])
    bar = below.colorbar(image, ax=cells, shrink=0.9, fraction=0.02, pad=0.01)
    bar.set_label("weight", fontsize=7)
    bar.ax.tick_params(labelsize=6)
    return figure


def _past(matrix: list[list[float]]) -> list[list[float]]:
    """Return the matrix with its future (hidden by the causal mask) as NaN, which has a separate colour."""
    return [[*row[: place + 1], *[math.nan] * (len(row) - place - 1)] for place, row in enumerate(matrix)]


def _name(row: Mapping[str, Any]) -> str:
    return f"{row['layer']}.{row['head']}"


def _scores(axes: Axes, rows: list[dict[str, Any]]) -> None:
    shown = (*KINDS, "entropy")
    values = [[row[name] for name in shown] for row in rows]
    axes.imshow(values, cmap="Blues", vmin=0, vmax=1, aspect="auto", interpolation="nearest")
    small = 6.5 if len(rows) <= 12 else 5
    for line, row in enumerate(values):
        for column, value in enumerate(row):
            axes.annotate(
                f"{value:.2f}", (column, line), ha="center", va="center", fontsize=small,
                color="white" if value > 0.55 else INK,
            )  # fmt: skip
    tidy(axes, "What each head does (share of a row)", "", "layer.head")
    axes.grid(False)
    axes.set_xticks(range(len(shown)), shown, rotation=30, ha="right")
    axes.set_yticks(range(len(rows)), [_name(row) for row in rows])
    axes.tick_params(axis="y", labelsize=small)


def _costs(axes: Axes, data: Mapping[str, Any]) -> None:
    rows = data["heads"]
    axes.barh(range(len(rows)), [row["rise"] for row in rows], color=[COLOURS[row["kind"]] for row in rows])
    axes.invert_yaxis()
    axes.axvline(0, color=FAINT, linewidth=0.8)
    put = "its mean" if data["ablation"] == "mean" else "zero"
    tidy(axes, f"Loss gained when a head gives {put}", f"nats a token, from {data['loss']['code']:.3f}", "layer.head")
    axes.set_yticks(range(len(rows)), [_name(row) for row in rows])
    axes.tick_params(axis="y", labelsize=6.5 if len(rows) <= 12 else 5)
    axes.grid(False, axis="y")


def _plane(axes: Axes, data: Mapping[str, Any]) -> None:
    for kind, colour in COLOURS.items():
        rows = [row for row in data["heads"] if row["kind"] == kind]
        if rows:
            axes.plot([row["sharpness"] for row in rows], [row["rise"] for row in rows], "o", color=colour, label=kind)
    for row in data["heads"] if len(data["heads"]) <= 12 else ():
        axes.annotate(
            _name(row), (row["sharpness"], row["rise"]), xytext=(4, 3), textcoords="offset points", fontsize=6.5
        )
    found = data["correlation"]["sharpness"]
    title = "Look and cost" + ("" if found is None else f": rank correlation {found:+.2f}")
    tidy(axes, title, "sharpness of its picture (1 - entropy share)", "loss gained without it, nats")
    key(axes)
