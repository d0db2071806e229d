"""Shared code of printed pictures: importing matplotlib on use, colours, and the look of cells."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .._values import described, flag, instance
from ..errors import ArgumentError, MissingExtraError, install_line
from ._cells import MASKED, NOT_RECORDED

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colorbar import Colorbar
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

__all__ = [
    "FAINT",
    "INK",
    "MASKED_COLOUR",
    "PALETTE",
    "check_words",
    "colorbar",
    "draw_cells",
    "note",
    "number_text",
    "sheet",
    "states_key",
]

# Okabe and Ito's palette, distinguishable by colour-blind readers; the colours with most contrast to white first.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C6D1F", "#555555")
INK, FAINT = "#1a1a1a", "#666666"
MASKED_COLOUR = "#e4e4e4"
_MISSING_COLOUR = "#ffffff"


def check_words(title: str | None, caption: bool) -> None:
    """Raise `ArgumentTypeError` unless a title is a string and `caption` True or False."""
    if title is not None:
        instance("title", title, str, "a string")
    flag("caption", caption)


def sheet(width: float, height: float) -> Figure:
    """Return an empty figure of this size in inches, not registered with pyplot."""
    try:
        from ._sheet import Sheet
    except ModuleNotFoundError:
        raise MissingExtraError(f"Pictures need matplotlib. Install it with {install_line('view')}.") from None
    return Sheet(figsize=(width, height), layout="constrained", facecolor="white")


def draw_cells(
    axes: Axes, numbers: NDArray[np.float64], limits: tuple[float, float], cmap: str, log: bool = False
) -> AxesImage:
    """Draw numbers as colours; masked cells grey, cells without a number hatched."""
    from matplotlib import colormaps
    from matplotlib.colors import LogNorm, Normalize

    if not isinstance(cmap, str) or cmap not in colormaps:
        raise ArgumentError(
            f"cmap is {described(cmap)}, which matplotlib does not have; try 'cividis', 'viridis', 'Greys'."
        )
    low, high = limits
    norm = LogNorm(low, high, clip=True) if log else Normalize(low, high)
    real = np.ma.masked_where(~np.isfinite(numbers) | (numbers < 0), numbers)
    colours = colormaps[cmap].with_extremes(bad=(0, 0, 0, 0))
    # On a log scale zero is below every bound; clipping gives it the lowest colour.
    drawn = np.ma.maximum(real, low) if log else real
    _draw_states(axes, numbers)
    image = axes.imshow(drawn, cmap=colours, norm=norm, aspect="equal", interpolation="nearest", zorder=2)
    for spine in axes.spines.values():
        spine.set_color("#bbbbbb")
        spine.set_linewidth(0.6)
    return image


def _draw_states(axes: Axes, numbers: NDArray[np.float64]) -> None:
    from matplotlib.colors import ListedColormap
    from matplotlib.patches import Rectangle

    height, width = numbers.shape
    missing = (numbers == NOT_RECORDED) | ~np.isfinite(numbers)
    if missing.any():
        axes.add_patch(
            Rectangle((-0.5, -0.5), width, height, facecolor=_MISSING_COLOUR, edgecolor="#999999", hatch="////",
                      linewidth=0, zorder=0)
        )  # fmt: skip
    grey = np.ma.masked_where(missing, np.zeros(numbers.shape))
    axes.imshow(grey, cmap=ListedColormap([MASKED_COLOUR]), aspect="equal", interpolation="nearest", zorder=1)


def states_key(every: Sequence[NDArray[np.float64]]) -> list[Any]:
    """Return legend entries for the codes that occur in the pictures: masked, not recorded."""
    from matplotlib.patches import Patch

    found = []
    if any((numbers == MASKED).any() for numbers in every):
        found.append(Patch(facecolor=MASKED_COLOUR, edgecolor="#bbbbbb", label="masked"))
    if any((numbers == NOT_RECORDED).any() for numbers in every):
        found.append(Patch(facecolor=_MISSING_COLOUR, edgecolor="#999999", hatch="////", label="not recorded"))
    if any((~np.isfinite(numbers)).any() for numbers in every):
        found.append(Patch(facecolor=_MISSING_COLOUR, edgecolor="#999999", hatch="////", label="not a number"))
    return found


def colorbar(figure: Figure, image: AxesImage, panels: Any, label: str) -> Colorbar:
    """Add the colour bar, labelled with the quantity."""
    bar = figure.colorbar(image, ax=panels, shrink=0.8, pad=0.02, aspect=24)
    bar.set_label(label, fontsize=8, color=INK)
    bar.ax.tick_params(labelsize=7, color="#bbbbbb", labelcolor=INK)
    bar.outline.set_visible(False)
    return bar


def note(figure: Figure, text: str) -> None:
    """Write the caption below the picture."""
    figure.supxlabel(text, fontsize=7, color=FAINT, x=0.02, ha="left", parse_math=False, wrap=False)


def number_text(number: float) -> str:
    """Format a weight for a cell: two digits; "0" only for exactly zero."""
    if number in (MASKED, NOT_RECORDED):
        return ""
    if not np.isfinite(number):
        return "NaN"
    if number == 0:
        return "0"
    if number < 0.005:
        return "<.01"
    return f"{number:.2f}".replace("0.", ".", 1) if number < 1 else f"{number:.2f}"
