"""All heads of a model in one small picture, drawn at once: what a saved notebook shows where it may run nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

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
# Inches of a dot; names of layers and of heads that have room.
_DOT, _NAMES = 1 / 90, 24
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
    height, width = (size * _DOT for size in numbers.shape)
    figure = sheet(width + 2.4, height + 1.2)
    panel = figure.add_subplot()
    panel.imshow(drawn, interpolation="nearest", aspect="equal")
    panel.set_frame_on(False)
    for axis, count, texts in ((panel.xaxis, columns, range(columns)), (panel.yaxis, len(maps), names)):
        every = range(0, count, -(-count // _NAMES))
        marked = [str(texts[place]) for place in every]
        axis.set_ticks(
            [place * pitch + side / 2 for place in every], marked, fontsize=pt(7), color=ink(), parse_math=False
        )
    panel.tick_params(length=0, top=True, labeltop=True, bottom=False, labelbottom=False)
    panel.set_xlabel("head", fontsize=pt(8), color=faint())
    panel.xaxis.set_label_position("top")
    colorbar(figure, ScalarMappable(norm, "cividis"), panel, quantity)
    figure.suptitle(title, fontsize=pt(10), color=ink(), parse_math=False)
    note(figure, "Every head as a small map: queries down, keys across; masked pairs are grey.")
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
