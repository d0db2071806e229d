"""Colours and sizes of letters: ours, unless matplotlib's settings were changed."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from .._values import number

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C6D1F", "#555555")
"""Okabe and Ito's palette, distinguishable by colour-blind readers; the colours with most contrast to white first."""
INK, FAINT = "#1a1a1a", "#666666"

# Points of the words along a matrix, to which all other letters are in proportion.
_WORDS = 7.5
# Width of a letter, in its height: a little more than the mean of DejaVu Sans.
_LETTER = 0.58
_fontsize: ContextVar[float | None] = ContextVar("regard_fontsize", default=None)


@contextmanager
def lettering(fontsize: float | None) -> Iterator[None]:
    """Set the size of words in points for what is drawn in the block; raises `ArgumentError`."""
    if fontsize is not None:
        fontsize = number("fontsize", fontsize, 1)
    token = _fontsize.set(fontsize)
    try:
        yield
    finally:
        _fontsize.reset(token)


def pt(points: float, setting: str | None = None) -> float:
    """Return a size of letters: in proportion to `fontsize=`, or as matplotlib's setting says if it was changed."""
    from matplotlib import rcParams, rcParamsDefault
    from matplotlib.font_manager import FontProperties

    chosen = _fontsize.get()
    if chosen is not None:
        return points * chosen / _WORDS
    ours: Any = rcParams
    theirs: Any = rcParamsDefault
    if setting is not None and ours[setting] != theirs[setting]:
        return float(FontProperties(size=ours[setting]).get_size_in_points())
    return float(points * rcParams["font.size"] / rcParamsDefault["font.size"])


def ink() -> str:
    """Return the colour of words."""
    return _colour(INK)


def faint() -> str:
    """Return the colour of words that may be passed over."""
    return _colour(FAINT)


def _colour(ours: str) -> str:
    from matplotlib import rcParams, rcParamsDefault

    changed = rcParams["text.color"] != rcParamsDefault["text.color"]
    return str(rcParams["text.color"]) if changed else ours


def chosen_cmap(given: str | None) -> str:
    """Return the name of a colour map: as given, as set in matplotlib, or ours."""
    from matplotlib import rcParams, rcParamsDefault

    if given is not None:
        return given
    changed = rcParams["image.cmap"] != rcParamsDefault["image.cmap"]
    return str(rcParams["image.cmap"]) if changed else "cividis"


def wrapped(text: str, inches: float, points: float) -> str:
    """Return a text in lines that fit into this width."""
    return textwrap.fill(text, max(12, int(inches * 72 / (points * _LETTER))))
