"""Pictures of attention for paper: matplotlib figures with labels as text, one named quantity, one colour range."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from .._drawing import faint, ink, lettering, pt, settle, sheet
from .._values import choice, flag, number
from ..errors import ArgumentError, ShapeError
from ..weights import AttentionWeights
from ._cells import Cells, Matrix, cells_of, heads_of, pick
from ._curves import distance_profile, positional_encoding
from ._edges import class_key, label_edges
from ._paper import (
    axes_of,
    check_words,
    colorbar,
    draw_cells,
    entitle,
    inches,
    note,
    number_text,
    states_key,
)
from ._tokens import Axis, Labels, Tokens, axis

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

__all__ = ["distance_profile", "heads_grid", "heatmap", "positional_encoding"]

# Up to this many tokens a side each has a row and a label; beyond it, positions are shown.
_LABELLED = 80
# Numbers fit into the cells up to this many tokens a side.
_NUMBERED = 16
# Most cells a side of a map in a grid.
_SMALL = 64
# Inches for each word, and most inches of all maps together.
_LINE, _WIDEST = 0.115, 16.0
# Inches beside the cells of one matrix; of a cell that a number fits into.
_MARGIN, _NUMBER_FITS = 2.1, 0.24
_QUANTITY = "attention weight"


def heatmap(  # noqa: PLR0913  # each is one choice of the picture
    weights: Matrix,
    tokens: Tokens | None = None,
    *,
    key_tokens: Tokens | None = None,
    labels: Labels | Mapping[str, Labels] | None = None,
    key_labels: Labels | Mapping[str, Labels] | None = None,
    head: int | None = None,
    batch: int = 0,
    average: bool = False,
    numbers: bool | None = None,
    scale: str = "linear",
    highest: float | None = None,
    title: str | None = None,
    caption: bool = True,
    cmap: str | None = None,
    ax: Axes | None = None,
    width: float | None = None,
    fontsize: float | None = None,
) -> Figure:
    """Draw one attention matrix: queries down, keys across, both labelled by their tokens.

    Args:
        weights: `AttentionWeights`, a tensor or an array, `(L, S)` up to `(batch, heads, L, S)`; NaN in an array is
            drawn as not recorded. More than 512 tokens are drawn in cells, said in the caption.
        tokens: text of each token of the queries, and of the keys too where both have as many.
        key_tokens: text of the keys, for cross-attention.
        labels, key_labels: class of each token, or IOB2 tags: coloured along the sides, named in a key.
        head, batch: which matrix, counted from 0; not needed for a single head.
        average: draw the mean over all heads, which the colour bar states.
        numbers: write numbers into the cells; by default up to 16 tokens a side.
        scale: "linear" or "log" colours.
        highest: top of the colour range; by default the largest number drawn. The range begins at 0.
        title: a line above. caption: write cells and row sums below.
        cmap: matplotlib's name of the colour map; that of its settings (`image.cmap`) if they were changed.
        ax: axes of a figure of your own to draw into; its size, fonts and files are then yours to set.
        width: of the figure, in cm. fontsize: of the words along the sides, in points; others are in proportion.

    Letters and colours follow matplotlib's settings where these were changed. Labels that would touch are left out, and
    the caption says so. Masked pairs are grey, what was not recorded is hatched, 0 has the lowest colour. Returns a
    matplotlib `Figure`. Raises `ArgumentError`, `ShapeError`, `MissingExtraError`. Cost of `pooled`.

    >>> import regard, torch
    >>> q = torch.randn(1, 1, 3, 4)
    >>> _, weights = regard.attention(q, q, q, causal=True, need_weights=True)
    >>> figure = regard.viewer.static.heatmap(weights, ["a", "b", "c"])
    >>> len(figure.axes) >= 2
    True
    """
    check_words(title, caption)
    average = flag("average", average)
    numbers = None if numbers is None else flag("numbers", numbers)
    cells, quantity = _chosen(weights, batch, head, average)
    queries, keys = _sides(cells.shape, tokens, key_tokens, labels, key_labels)
    panel, wide = axes_of(ax, width), inches(width)
    with lettering(fontsize):
        count = max(cells.numbers.shape)
        each = 0.24 if count <= _LABELLED else 5.2 / count
        if count <= 2 * _NUMBERED and (numbers or (numbers is None and count <= _NUMBERED)):
            each = 0.34
        each *= pt(10) / 10
        if wide is not None:
            each = max(0.8, wide - _MARGIN) / cells.numbers.shape[1]
        if numbers is None:
            numbers = count <= _NUMBERED and each >= _NUMBER_FITS
        height, across = (min(12.0, max(1.2, size * each)) for size in cells.numbers.shape)
        figure: Any = sheet(wide or across + _MARGIN, height + 1.5) if panel is None else panel.figure
        drawn: Any = figure if panel is None else panel
        panel = figure.add_subplot() if panel is None else panel
        limits, log = _limits(scale, cells.highest if highest is None else highest)
        image = draw_cells(panel, cells.numbers, limits, cmap, log)
        labelled = label_edges(panel, queries, keys, cells.cell, _LABELLED)
        panel.set_ylabel(_side_name("query", queries), fontsize=pt(8, "axes.labelsize"), color=ink())
        panel.set_xlabel(_side_name("key", keys), fontsize=pt(8, "axes.labelsize"), color=ink())
        panel.xaxis.set_label_position("top")
        if numbers:
            _write_numbers(panel, cells.numbers, image, each)
        colorbar(figure, image, panel, quantity + (" (log scale)" if log else ""))
        _keys(drawn, [cells.numbers], (queries, keys))
        entitle(drawn, title)
        said = [_caption([cells]), *_remarks([(queries, keys)], cells.cell, _LABELLED)]
        if drawn is figure:
            figure.labelled += labelled
        else:
            said.append(settle(figure, labelled))
        if caption:
            note(drawn, " ".join(filter(None, said)))
    return cast("Figure", figure)


def heads_grid(
    weights: Matrix | Mapping[str, AttentionWeights],
    tokens: Tokens | None = None,
    *,
    key_tokens: Tokens | None = None,
    labels: Labels | Mapping[str, Labels] | None = None,
    key_labels: Labels | Mapping[str, Labels] | None = None,
    batch: int = 0,
    scale: str = "linear",
    highest: float | None = None,
    title: str | None = None,
    caption: bool = True,
    cmap: str | None = None,
    width: float | None = None,
    fontsize: float | None = None,
) -> Figure:
    """Draw every head as a small map, all on one colour range: the heads of a call, or layers by heads.

    Args:
        weights: as in `heatmap`, with heads; or a mapping of layers' names to `AttentionWeights`, drawn a row each
            (side by side under their names where each has one head).
        tokens, key_tokens: as in `heatmap`; written along the outer maps, up to 16 tokens, and up to 64 if there are
        few
            maps; if there are more, the caption states their number.
        labels, key_labels: as in `heatmap`, coloured along the outer maps.
        batch, scale, highest, title, caption, cmap, width, fontsize: as in `heatmap`.

    Returns a matplotlib `Figure`. Raises `ArgumentError`, `ShapeError`, `MissingExtraError`. Maps have at most 64
    cells a side. Cost of `pooled` for each.
    """
    check_words(title, caption)
    rows = _grid_rows(weights, batch)
    given = (tokens, key_tokens, labels, key_labels)
    if any(one is not None for one in given):
        shapes = {cells.shape for row in rows for cells in row.maps.values()}
        if len(shapes) > 1:
            raise ShapeError(f"tokens or labels are given for matrices of {len(shapes)} sizes; draw those of one size.")
        sides = _sides(next(iter(shapes)), *given)
        rows = [row._replace(sides=sides) for row in rows]
    first = next(iter(weights.values())) if isinstance(weights, Mapping) else weights
    wide = inches(width)
    with lettering(fontsize):
        figure = draw_rows(
            rows, quantity_of(first), scale=scale, highest=highest, caption=caption, cmap=cmap, wide=wide
        )
        entitle(figure, title)
    return figure


class Row(NamedTuple):
    """A row of maps, with their tokens and labels."""

    name: str
    maps: dict[str, Cells]
    sides: tuple[Axis, Axis] | None = None


def rows_of(layers: Mapping[str, AttentionWeights], sides: Mapping[str, tuple[Axis, Axis]], batch: int) -> list[Row]:
    """Return the rows of maps of layers; layers with one head and the same tokens share a row."""
    if len(set(sides.values())) == 1:
        rows = _grid_rows(layers if len(layers) > 1 else next(iter(layers.values())), batch)
        return [row._replace(sides=next(iter(sides.values()))) for row in rows]
    return [row._replace(sides=sides[name]) for name, one in layers.items() for row in _grid_rows({name: one}, batch)]


def draw_rows(
    rows: Sequence[Row],
    quantity: str = _QUANTITY,
    *,
    scale: str = "linear",
    highest: float | None = None,
    caption: bool = True,
    cmap: str | None = None,
    wide: float | None = None,
) -> Figure:
    """Draw rows of maps with one colour range; tokens and labels of each row along its outer maps; `wide` in inches."""
    every = [cells for row in rows for cells in row.maps.values()]
    limits, log = _limits(scale, max(cells.highest for cells in every) if highest is None else highest)
    columns = max(len(row.maps) for row in rows)
    # Maps grow until every word fits, as long as the picture stays within the limit.
    most = max(_NUMBERED, min(_SMALL, int(_WIDEST / (_LINE * max(columns, len(rows))))))
    named = [max(one.size for one in row.sides) for row in rows if row.sides and _has_words(row.sides)]
    words = max((count for count in named if count <= most), default=0)
    each = max(min(1.7, max(0.7, 11.0 / columns)), _LINE * words) * pt(10) / 10
    margin = 1.6 + (0.6 if rows[0].name else 0.0)
    if wide is not None:
        each = max(0.3, (wide - margin) / columns)
    figure: Any = sheet(wide or each * columns + margin, each * len(rows) + 1.0)
    panels = figure.subplots(len(rows), columns, squeeze=False)
    for row, line in zip(rows, panels, strict=True):
        for panel in line[len(row.maps) :]:
            panel.set_axis_off()
        for label, panel in zip(row.maps, line, strict=False):
            image = draw_cells(panel, row.maps[label].numbers, limits, cmap, log)
            panel.set_xticks([])
            panel.set_yticks([])
            if not row.name or row is rows[0]:
                panel.set_title(label, fontsize=pt(7), color=ink(), pad=3, parse_math=False)
        if row.sides is not None:
            below = row is rows[-1] or rows[rows.index(row) + 1].sides != row.sides
            cell = next(iter(row.maps.values())).cell
            figure.labelled += label_edges(line[0], *row.sides, cell, most, top=False, across=below)
        if row.name:
            line[0].set_ylabel(
                row.name, fontsize=pt(7), color=ink(), rotation=0, ha="right", va="center", parse_math=False
            )
    colorbar(figure, image, panels, quantity + (" (log scale)" if log else ""))
    sides = list(dict.fromkeys(row.sides for row in rows if row.sides is not None))
    _keys(figure, [cells.numbers for cells in every], [side for pair in sides for side in pair])
    if caption:
        cell = max(cells.cell for cells in every)
        note(figure, " ".join(["Queries down, keys across.", _caption(every), *_remarks(sides, cell, most)]))
    return cast("Figure", figure)


def _chosen(weights: Matrix, batch: int, head: int | None, average: bool) -> tuple[Cells, str]:
    _, heads = heads_of(weights)
    if average and head is not None:
        raise ArgumentError(f"head={head} and average=True were given; ask for one head or for the mean of all.")
    if heads == 1 or not average:
        if head is None and heads > 1:
            raise ArgumentError(
                f"the weights have {heads} heads and none was named; give head=0 … {heads - 1}, or average=True for "
                "their mean, or draw them all with heads_grid()."
            )
        return cells_of(pick(weights, batch, 0 if head is None else head)), quantity_of(weights)
    every = [cells_of(pick(weights, batch, number)) for number in range(heads)]
    mean = np.mean([cells.numbers for cells in every], 0)
    states = np.stack([cells.numbers < 0 for cells in every])
    if states.any(0).sum() != states.all(0).sum():
        raise ArgumentError("the heads are not masked alike, so their mean would mix states; draw them one by one.")
    sums = [cells.row_sums for cells in every if cells.row_sums is not None]
    extremes = (min(low for low, _ in sums), max(high for _, high in sums)) if len(sums) == heads else None
    return Cells(mean, every[0].shape, every[0].cell, extremes), f"{quantity_of(weights)}, mean of {heads} heads"


def quantity_of(weights: Matrix) -> str:
    """Return the name of the quantity."""
    shares = not isinstance(weights, AttentionWeights) or weights.sums_to_one
    return _QUANTITY if shares else f"{_QUANTITY} × length of the value"


def _grid_rows(weights: Matrix | Mapping[str, AttentionWeights], batch: int) -> list[Row]:
    layers: Mapping[str, Matrix] = weights if isinstance(weights, Mapping) else {"": weights}
    if not layers:
        raise ArgumentError("weights holds no layers; there is nothing to draw.")
    rows = [
        Row(name, {f"head {n}": cells_of(pick(layer, batch, n), _SMALL) for n in range(heads_of(layer)[1])})
        for name, layer in layers.items()
    ]
    if isinstance(weights, Mapping):
        if any(len(row.maps) > 1 for row in rows) or len(rows) == 1:
            return rows
        every = [(row.name, cells) for row in rows for cells in row.maps.values()]
    else:
        every = [*rows[0].maps.items()]
    count = len(every)
    across = count if count <= 4 else next((n for n in (4, 6, 5, 8, 3) if count % n == 0 and count // n <= n + 2), 6)
    return [Row("", dict(every[a : a + across])) for a in range(0, count, across)]


def _limits(scale: str, highest: float) -> tuple[tuple[float, float], bool]:
    choice("scale", scale, ("linear", "log"))
    highest = number("highest", highest, 0)
    top = highest if highest > 0 else 1.0
    # The log scale has four decades: smaller weights are negligible in a picture.
    return ((top * 1e-4, top), True) if scale == "log" else ((0.0, top), False)


def _sides(
    shape: tuple[int, int],
    tokens: Tokens | None,
    key_tokens: Tokens | None,
    labels: Labels | Mapping[str, Labels] | None,
    key_labels: Labels | Mapping[str, Labels] | None,
) -> tuple[Axis, Axis]:
    queries, keys = shape
    if queries == keys:
        key_tokens = tokens if key_tokens is None else key_tokens
        key_labels = labels if key_labels is None else key_labels
    return axis("queries", queries, tokens, labels), axis("keys", keys, key_tokens, key_labels)


def _side_name(side: str, given: Axis) -> str:
    return side if given.tokens is not None and given.size <= _LABELLED else f"{side} (position)"


def _has_words(sides: tuple[Axis, Axis]) -> bool:
    return any(side.tokens is not None for side in sides)


def _remarks(sides: Sequence[tuple[Axis, Axis]], cell: int, most: int) -> list[str]:
    """Return remarks on tokens and labels that were given but not drawn."""
    every = [side for pair in sides for side in pair]
    found = []
    counts = sorted({side.size for side in every if side.tokens is not None and (side.size > most or cell > 1)})
    if counts:
        rule = f"up to {most} are named" if counts[-1] > most else "a cell holds several"
        found.append(f"Tokens are counted ({' and '.join(map(str, counts))}; {rule}).")
    others = list(dict.fromkeys(labels.name for side in every for labels in side.labels[1:]))
    if others:
        found.append(f"Labels drawn: {every[0].labels[0].name}; not drawn: {', '.join(others)}.")
    return found


def _write_numbers(panel: Axes, numbers: NDArray[np.float64], image: AxesImage, each: float) -> None:
    size = min(7.0, each * 20)
    colours = image.to_rgba(np.where(np.isfinite(numbers), np.maximum(numbers, 0.0), 0.0))
    luminance = colours[..., :3] @ np.array([0.299, 0.587, 0.114])
    for row, column in np.ndindex(*numbers.shape):
        text = number_text(float(numbers[row, column]))
        if text:
            dark = luminance[row, column] < 0.55 and text != "NaN"
            panel.text(column, row, text, ha="center", va="center", fontsize=size, zorder=3,
                       color="white" if dark else "black")  # fmt: skip


def _keys(drawn: Any, every: Sequence[NDArray[np.float64]], sides: Sequence[Axis]) -> None:
    entries = class_key(sides) + states_key(every)
    if entries:
        place: dict[str, Any] = {"loc": "outside lower right"}
        entry = (max(len(one.get_label()) for one in entries) + 5) * pt(7, "legend.fontsize") / 120  # inches
        across = (drawn if hasattr(drawn, "suptitle") else drawn.figure).get_figwidth()
        columns = max(1, min(len(entries), int(0.94 * across / entry)))
        if not hasattr(drawn, "suptitle"):
            place = {"loc": "upper right", "bbox_to_anchor": (1, -0.02)}
        drawn.legend(
            handles=entries, ncols=columns, fontsize=pt(7, "legend.fontsize"), frameon=False,
            handlelength=1.2, columnspacing=1.2, labelcolor=faint(), **place,
        )  # fmt: skip


def _caption(every: Sequence[Cells]) -> str:
    parts = []
    cells = sorted({cells.cell for cells in every})
    if cells[-1] > 1:
        size = " or ".join(f"{cell} × {cell}" for cell in cells)
        parts.append(f"A cell is {size} tokens: mean over its queries of the sum over its keys.")
    sums = [cells.row_sums for cells in every if cells.row_sums is not None]
    if not sums:
        parts.append("Row sums unknown: not all was recorded.")
    else:
        low, high = np.min([s[0] for s in sums]), np.max([s[1] for s in sums])
        if np.isnan(low + high):
            parts.append("Some rows hold NaN.")
        elif max(abs(1 - low), abs(high - 1)) < 1e-3:
            parts.append("Rows sum to 1.")
        else:
            parts.append(f"Rows sum to {low:.3g} … {high:.3g}.")
    return " ".join(parts)
