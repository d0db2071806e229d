"""Shared code of the studies' pictures: empty figures, colours, plain axes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..errors import MissingExtraError, install_line

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["FAINT", "INK", "PALETTE", "dotted", "doubling", "key", "panels", "sheet", "smooth", "tidy"]

# Okabe and Ito's palette, distinguishable by colour-blind readers; the colours with most contrast to white first.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C6D1F", "#555555")
INK, FAINT = "#1a1a1a", "#666666"


def sheet(width: float, height: float) -> Figure:
    """Return an empty figure of this size in inches, not registered with pyplot."""
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError:
        raise MissingExtraError(f"Pictures need matplotlib. Install it with {install_line('view')}.") from None
    figure = Figure(figsize=(width, height), layout="constrained", facecolor="white")
    figure.get_layout_engine().set(w_pad=0.08, h_pad=0.08)  # type: ignore[union-attr, call-arg]
    return figure


def panels(rows: int, columns: int, *, width: float = 9.0, height: float = 3.0) -> tuple[Figure, Any]:
    """Return a figure `width` inches wide with rows `height` inches high, and its axes as an array (rows, columns)."""
    figure = sheet(width, height * rows)
    return figure, figure.subplots(rows, columns, squeeze=False)


def tidy(axes: Axes, title: str, x: str, y: str) -> None:
    """Set title and labels, and remove unnecessary lines."""
    axes.set_title(title, fontsize=9, color=INK, loc="left")
    axes.set_xlabel(x, fontsize=8, color=INK)
    axes.set_ylabel(y, fontsize=8, color=INK)
    axes.tick_params(labelsize=7, color="#bbbbbb", labelcolor=INK, which="both")
    axes.grid(True, color="#ececec", linewidth=0.6)
    axes.set_axisbelow(True)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color("#bbbbbb")


def key(axes: Axes, **places: Any) -> None:
    """Add the legend of one panel."""
    axes.legend(fontsize=7, frameon=False, labelcolor=INK, **places)


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
    axes.axhline(height, color=FAINT, linewidth=0.8, linestyle=":")
    axes.annotate(
        text, (0.99, height), xycoords=("axes fraction", "data"), xytext=(0, 2), textcoords="offset points", ha="right",
        fontsize=7, color=FAINT,
    )  # fmt: skip
