"""All heads of a model in one small picture, drawn at once: what a saved notebook shows where it may run nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .._drawing import faint, ink, pt, sheet
from ._cells import MASKED
from ._maps import Map
from ._paper import MASKED_COLOUR, colorbar, note

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Dots of the longer side, of a head at least and at most, and between two; cells of all heads together.
_SIDE, _FEWEST, _MOST, _GAP, _CELLS = 720, 8, 96, 2, 40_000
# Inches of a dot; names of layers and of heads that have room; dots for the bar of colours and above the maps, and the
# least of a picture's width.
_DOT, _NAMES, _BAR, _ABOVE, _LEAST = 1 / 90, 24, 96, 64, 360
_GAP_CODE = -3.0


def mosaic(maps: Sequence[Map], names: Sequence[str], quantity: str, title: str) -> Figure:
    """Draw each map as a row of heads, on one range of colours; time of `pooled` and of one image."""
    from matplotlib import colormaps
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize, to_rgba

    columns = max(one.heads for one in maps)
    side = min(_MOST, max(_FEWEST, _SIDE // max(columns, len(maps)) - _GAP))
    cells = min(side, max(_FEWEST, int((_CELLS / sum(one.heads for one in maps)) ** 0.5)))
    # Every cell of the longest map has as many dots as the next, which keeps the file small.
    longest = max(max(one.sizes) for one in maps)
    side -= side % min(side, -(-longest // _cell(longest, cells)))
    pitch = side + _GAP
    numbers = np.full((len(maps) * pitch - _GAP, columns * pitch - _GAP), _GAP_CODE)
    for row, one in enumerate(maps):
        for column, head in enumerate(_squares(one, cells, side)):
            numbers[row * pitch :, column * pitch :][:side, :side] = head
    real = np.isfinite(numbers) & (numbers >= 0)
    norm = Normalize(0.0, float(numbers[real].max(initial=0.0)) or 1.0)
    drawn = colormaps["cividis"](norm(np.where(real, numbers, 0.0)), bytes=True)
    for code, colour in ((MASKED, MASKED_COLOUR), (_GAP_CODE, "white")):
        drawn[numbers == code] = np.multiply(to_rgba(colour), 255).astype(np.uint8)
    drawn[~np.isfinite(numbers)] = 255
    figure = sheet(1, 1)
    figure.set_layout_engine("none")  # matplotlib's would take half of the time, and give a dot no whole pixel
    figure.set_dpi(1 / _DOT)
    panel = figure.add_axes((0, 0, 1, 1), frame_on=False, xticks=[], yticks=[])
    panel.imshow(drawn, interpolation="nearest", aspect="auto")
    words: dict[str, Any] = {"color": ink(), "fontsize": pt(7), "parse_math": False}
    for column in range(0, columns, -(-columns // _NAMES)):
        panel.text(column * pitch + side / 2, -4, str(column), ha="center", va="bottom", **words)
    rows = [
        panel.text(-4, row * pitch + side / 2, names[row], ha="right", va="center_baseline", **words)
        for row in range(0, len(maps), -(-len(maps) // _NAMES))
    ]
    height, width = drawn.shape[:2]
    panel.text(width / 2, -20, "head", ha="center", va="bottom", color=faint(), fontsize=pt(8))
    left = max(round(text.get_window_extent().width) for text in rows) + 16
    across = max(left + width + _BAR, _LEAST)
    figure.set_size_inches(across * _DOT, 1)
    caption = note(figure, "Every head as a small map: queries down, keys across; masked pairs are grey.")
    below = round(caption.get_window_extent().height) + 16
    room = max(height, 6 * len(quantity))  # which stands beside the bar
    down = below + room + _ABOVE
    figure.set_size_inches(across * _DOT, down * _DOT)
    panel.set_position((left / across, (below + room - height) / down, width / across, height / down))
    place = (left + width + 14) / across, (below + 0.1 * room) / down, 20 / across, 0.8 * room / down
    colorbar(figure, ScalarMappable(norm, "cividis"), None, quantity, cax=figure.add_axes(place))
    figure.suptitle(title, y=1 - 8 / down, fontsize=pt(10), color=ink(), parse_math=False)
    return figure


def _squares(one: Map, most: int, side: int) -> NDArray[np.float64]:
    """Return each head in at most so many cells, repeated to fill `(heads, side, side)`."""
    cell = max(one.kept_cell, _cell(max(one.sizes), most))
    every = one.part(slice(None))
    cells = every.pooled(cell).double().masked_fill(every.masked(cell), MASKED).cpu().numpy()
    rows, columns = (np.arange(side) * count // side for count in cells.shape[1:])
    return np.asarray(cells[:, rows[:, None], columns[None, :]])


def _cell(length: int, most: int) -> int:
    return 1 << (-(-length // most) - 1).bit_length()
