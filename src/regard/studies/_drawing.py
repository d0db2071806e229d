"""Shared code of the studies' pictures: empty figures, colours, plain axes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from .._drawing import faint, ink, pt, sheet

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def panels(rows: int, columns: int, *, width: float = 9.0, height: float = 3.0) -> tuple[Figure, Any]:
    """Return a figure `width` inches wide with rows `height` inches high, and its axes as an array (rows, columns)."""
    figure = sheet(width, height * rows)
    figure.get_layout_engine().set(w_pad=0.08, h_pad=0.08)  # type: ignore[union-attr, call-arg]
    return figure, figure.subplots(rows, columns, squeeze=False)


def tidy(axes: Axes, title: str, x: str, y: str) -> None:
    """Set title and labels, and remove unnecessary lines."""
    axes.set_title(title, fontsize=pt(9), color=ink(), loc="left")
    axes.set_xlabel(x, fontsize=pt(8), color=ink())
    axes.set_ylabel(y, fontsize=pt(8), color=ink())
    axes.tick_params(labelsize=pt(7), color="#bbbbbb", labelcolor=ink(), which="both")
    axes.grid(True, color="#ececec", linewidth=0.6)
    axes.set_axisbelow(True)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color("#bbbbbb")


def key(axes: Axes, **places: Any) -> None:
    """Add the legend of one panel."""
    axes.legend(fontsize=pt(7), frameon=False, labelcolor=ink(), **places)


def smooth(losses: Sequence[float], points: int = 40) -> tuple[list[float], list[float]]:
    """Return the losses of a run as means over this many segments, and the middle step of each."""
    width = max(1, len(losses) // points)
    starts = range(0, len(losses) - width + 1, width)
    return [start + (width + 1) / 2 for start in starts], [
        sum(losses[start : start + width]) / width for start in starts
    ]


def doubling(axes: Axes, values: Sequence[int]) -> None:
    """Make the horizontal axis logarithmic to base 2, with plain numbers."""
    axes.set_xscale("log", base=2)
    axes.set_xticks(list(values), [f"{value:,}" for value in values])
    axes.minorticks_off()


def dotted(axes: Axes, height: float, text: str) -> None:
    """Draw a labelled horizontal reference line."""
    axes.axhline(height, color=faint(), linewidth=0.8, linestyle=":")
    axes.annotate(
        text, (0.99, height), xycoords=("axes fraction", "data"), xytext=(0, 2), textcoords="offset points", ha="right",
        fontsize=pt(7), color=faint(),
    )  # fmt: skip
