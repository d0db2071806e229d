"""Shared code of printed pictures: importing matplotlib on use, colours, and the look of cells."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .._drawing import chosen_cmap, faint, ink, pt, wrapped
from .._values import described, flag, instance, number
from ..errors import ArgumentError, ArgumentTypeError
from ._cells import MASKED, NOT_RECORDED

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colorbar import Colorbar
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage
    from matplotlib.text import Text

MASKED_COLOUR = "#e4e4e4"
_MISSING_COLOUR = "#ffffff"


def check_words(title: str | None, caption: bool) -> None:
    """Raise `ArgumentTypeError` unless a title is a string and `caption` True or False."""
    if title is not None:
        instance("title", title, str, "a string")
    flag("caption", caption)


def draw_cells(
    axes: Axes, numbers: NDArray[np.float64], limits: tuple[float, float], cmap: str | None, log: bool = False
) -> AxesImage:
    """Draw numbers as colours; masked cells grey, cells without a number hatched."""
    from matplotlib import colormaps
    from matplotlib.colors import LogNorm, Normalize

    cmap = chosen_cmap(cmap)
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


def colorbar(figure: Figure, image: Any, panels: Any, label: str, *, cax: Axes | None = None) -> Colorbar:
    """Add the colour bar of an image or another `ScalarMappable`, with the quantity: beside panels, or in `cax`."""
    place: dict[str, Any] = {"ax": panels, "shrink": 0.8, "pad": 0.02, "aspect": 24} if cax is None else {"cax": cax}
    bar = figure.colorbar(image, **place)
    bar.set_label(label, fontsize=pt(8), color=ink())
    bar.ax.tick_params(labelsize=pt(7), color="#bbbbbb", labelcolor=ink())
    bar.outline.set_visible(False)
    return bar


def axes_of(ax: Any, width: float | None) -> Axes | None:
    """Return the caller's axes, None where none were given; raises `ArgumentError` for what is none."""
    if ax is None:
        return None
    from matplotlib.axes import Axes

    if not isinstance(ax, Axes):
        raise ArgumentTypeError(f"ax is {described(ax)}; give a matplotlib Axes, of plt.subplots() for example.")
    if width is not None:
        raise ArgumentError("width= is that of a new figure; with ax= set the size of your own.")
    return ax


def inches(width: float | None) -> float | None:
    """Return a width given in cm in inches; raises `ArgumentError`."""
    return None if width is None else number("width", width, 1, 200) / 2.54


def entitle(drawn: Any, title: str | None) -> None:
    """Add the title, if there is one, to a figure or to axes."""
    if title is None:
        return
    if hasattr(drawn, "suptitle"):
        size = pt(10, "figure.titlesize")
        lines = _with_room(drawn, title, size)
        drawn.suptitle(lines, fontsize=size, color=ink(), parse_math=False)
    else:
        drawn.set_title(title, fontsize=pt(10, "axes.titlesize"), color=ink(), parse_math=False)


def _with_room(figure: Figure, text: str, points: float) -> str:
    """Return a text in lines, after making the figure higher by those beyond the first."""
    lines = wrapped(text, 0.96 * figure.get_figwidth(), points)
    more = lines.count("\n") + 2 * bool(figure.legends)  # beside a key there is less room
    figure.set_figheight(figure.get_figheight() + more * 1.3 * points / 72)
    return lines


def note(drawn: Any, text: str) -> Text:
    """Write the caption below a figure, or below axes, and return it."""
    if hasattr(drawn, "supxlabel"):
        lines = _with_room(drawn, text, pt(7))
        written = drawn.supxlabel(lines, fontsize=pt(7), color=faint(), x=0.02, ha="left", parse_math=False)
        drawn.caption = written, text
        return written  # type: ignore[no-any-return]
    width = drawn.get_window_extent().width / drawn.figure.dpi
    below = -pt(7) * (4.5 if drawn.xaxis.get_label_position() == "bottom" else 0.8)
    return drawn.annotate(  # type: ignore[no-any-return]
        wrapped(text, width, pt(7)), (0, 0), (0, below), xycoords="axes fraction", textcoords="offset points", va="top",
        fontsize=pt(7), color=faint(), annotation_clip=False, parse_math=False,
    )  # fmt: skip


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
