"""What the pictures of studies share: an empty sheet, colours, axes without clutter."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..errors import MissingExtraError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["FAINT", "INK", "PALETTE", "key", "panels", "tidy"]

# Okabe and Ito's colours, told apart by colour-blind readers; first those that stand out most on white.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C6D1F", "#555555")
INK, FAINT = "#1a1a1a", "#666666"


def panels(rows: int, columns: int, *, width: float = 9.0, height: float = 3.0) -> tuple[Figure, Any]:
    """Return a figure `width` inches wide with rows `height` inches high, and its axes as an array (rows, columns).

    The figure stands apart from pyplot's list of open ones.
    """
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError:
        raise MissingExtraError('Pictures need matplotlib. Install it with `pip install "regard[view]"`.') from None
    figure = Figure(figsize=(width, height * rows), layout="constrained", facecolor="white")
    figure.get_layout_engine().set(w_pad=0.08, h_pad=0.08)  # type: ignore[union-attr, call-arg]
    return figure, figure.subplots(rows, columns, squeeze=False)


def tidy(axes: Axes, title: str, x: str, y: str) -> None:
    """Write title and labels, and leave only what helps to read."""
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
    """Name the lines of one panel."""
    axes.legend(fontsize=7, frameon=False, labelcolor=INK, **places)
