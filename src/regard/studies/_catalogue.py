"""The table of all studies, which the command line and `redraw` use."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ArgumentError, DataError, nearest
from . import _heads, _heads_picture, _linear, _long_range, _positions, _positions_picture, _regularization, _scaling
from ._study import Study, StudySettings, from_dict

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Entry:
    """One study: its settings, the function that runs it, the function that draws it."""

    settings: type[StudySettings]
    run: Callable[..., Study]
    """Called with settings and `progress=`."""
    draw: Callable[[Mapping[str, Any]], Figure]
    """Draws a study's `data`."""
    text: str
    """Description in one line."""


STUDIES: dict[str, Entry] = {
    "scaling": Entry(
        _scaling.ScalingSettings, _scaling.scaling, _scaling.draw, "dot products scaled and not, over widths of heads"
    ),
    "regularization": Entry(
        _regularization.RegularizationSettings,
        _regularization.regularization,
        _regularization.draw,
        "dropout and the place of the layer norm, trained on real code",
    ),
    "positions": Entry(
        _positions.PositionsSettings,
        _positions.positions,
        _positions_picture.draw,
        "sinusoidal, learned, rotary, ALiBi, relative: pictures, similarity, longer texts than trained on",
    ),
    "linear": Entry(
        _linear.LinearSettings,
        _linear.linear,
        _linear.draw,
        "linear against softmax attention: time, memory, crossover, weights, recall",
    ),
    "heads": Entry(
        _heads.HeadsSettings,
        _heads.heads,
        _heads_picture.draw,
        "what the heads of a trained model do, and what it loses without each",
    ),
    "long-range": Entry(
        _long_range.LongRangeSettings,
        _long_range.long_range,
        _long_range.draw,
        "ListOps, nested lists whose every token counts: positions, softmax and linear, cheap baselines",
    ),
}
"""Every study by its name."""


def load(path: str | Path) -> Study:
    """Load a study from a JSON file of `Study.save`. Raises `DataError`, `ArgumentError`."""
    path = Path(path)
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        name = values["name"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} cannot be read as a study: {error}. Give a NAME.json that a study wrote.") from None
    if name not in STUDIES:
        known = ", ".join(STUDIES)
        raise ArgumentError(f"{path} holds the study {name!r}.{nearest(str(name), STUDIES)} There are: {known}.")
    return from_dict(values, STUDIES[name].draw)


def redraw(path: str | Path) -> Figure:
    """Draw the picture of a study, a matplotlib `Figure`, from its JSON file, without running it.

    Raises `DataError`, `ArgumentError`, `MissingExtraError`.
    """
    return load(path).figure()
