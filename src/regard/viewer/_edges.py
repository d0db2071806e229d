"""The axes of a printed matrix: tokens or positions, and coloured runs of labelled tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from .._drawing import Labelled, ink, pt
from ._label_colours import label_colours
from ._tokens import Axis, shown

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def label_edges(
    panel: Axes, queries: Axis, keys: Axis, cell: int, most: int, *, top: bool = True, across: bool = True
) -> list[Labelled]:
    """Label both sides: by tokens if there are at most `most`, else by positions; labelled runs in colour."""
    colours = _colours((queries, keys))
    _ticks(panel, "y", queries, cell, most)
    if across:
        _ticks(panel, "x", keys, cell, most)
    panel.tick_params(
        length=0 if cell == 1 else 3, pad=7 if queries.labels or keys.labels else 2, color="#bbbbbb",
        top=top, bottom=not top and across, labeltop=top and across, labelbottom=not top and across,
    )  # fmt: skip
    _colour_labels(panel.get_yticklabels(), queries, most, colours)
    if across:
        _colour_labels(panel.get_xticklabels(), keys, most, colours)
    _strip(panel, queries, cell, colours, "left")
    if across:
        _strip(panel, keys, cell, colours, "top" if top else "bottom")
    sides = [(panel.yaxis, queries, True), (panel.xaxis, keys, False)][: 1 + across]
    return [Labelled(one.size <= most and cell == 1, upright, axis.get_ticklabels()) for axis, one, upright in sides]


def class_key(sides: Sequence[Axis]) -> list[Any]:
    """Return legend entries for the classes of the labels along the sides."""
    from matplotlib.patches import Patch

    return [Patch(facecolor=colour, label=name) for name, colour in _colours(sides).items()]


def _colours(sides: Sequence[Axis]) -> dict[str, str]:
    return label_colours(name for side in sides for labels in side.labels for name in labels.classes)


def _ticks(panel: Axes, side: str, given: Axis, cell: int, most: int) -> None:
    axis = panel.yaxis if side == "y" else panel.xaxis
    if given.size <= most and cell == 1:
        texts = [shown(text) for text in given.texts()]
        small = pt(7.5 if given.size <= 40 else 5.5, f"{side}tick.labelsize")
        axis.set_ticks(range(given.size), texts, fontsize=small, color=ink(), parse_math=False)
        if side == "x" and max(len(text) for text in texts) > 2:
            panel.tick_params(axis="x", labelrotation=90)
        return
    step = _round_step(given.size / 6)
    places = range(0, given.size, step)
    # The middle of the cell that contains the position, in units of cells.
    axis.set_ticks(
        [(p + 0.5) / cell - 0.5 for p in places],
        [f"{p:,}" for p in places],
        fontsize=pt(7, f"{side}tick.labelsize"),
        color=ink(),
    )


def _round_step(wanted: float) -> int:
    step = 1
    while True:
        for factor in (1, 2, 5):
            if step * factor >= wanted:
                return step * factor
        step *= 10


def _colour_labels(labels: Sequence[Any], given: Axis, most: int, colours: dict[str, str]) -> None:
    if not given.labels or given.size > most or given.tokens is None:
        return
    first = given.labels[0]
    for label, number in zip(labels, first.ids, strict=True):
        if number >= 0:
            label.set_color(colours[first.classes[number]])
            label.set_fontweight("bold")


def _strip(panel: Axes, given: Axis, cell: int, colours: dict[str, str], side: str) -> None:
    # A bar beside each labelled run, between the matrix and its tokens; its width is in points.
    if not given.labels:
        return
    first = given.labels[0]
    vertical = side == "left"
    transform = panel.get_yaxis_transform() if vertical else panel.get_xaxis_transform()
    offset = panel.figure.dpi_scale_trans.frozen()
    for start, stop, number in first.runs():
        a, b = start / cell - 0.5, stop / cell - 0.5
        inset = min(0.08, (b - a) / 6)
        run = (a + inset, b - inset)
        beyond = (1.0, 1.0) if side == "top" else (0.0, 0.0)
        line, = panel.plot(
            beyond if vertical else run, run if vertical else beyond, transform=transform, clip_on=False,
            color=colours[first.classes[number]], linewidth=3, solid_capstyle="butt", zorder=4,
        )  # fmt: skip
        shift = (-4 / 72, 0.0) if vertical else (0.0, 4 / 72 if side == "top" else -4 / 72)
        line.set_transform(transform + _moved(shift, offset))


def _moved(shift: tuple[float, float], scale: Any) -> Any:
    from matplotlib.transforms import ScaledTranslation

    return ScaledTranslation(*shift, scale)
