"""Labels along the sides of a picture that leave room for each other."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Points between two labels: letters are hinted, so they are up to a point wider at another resolution.
_BETWEEN = 2.0


class Labelled(NamedTuple):
    """The labels along one side of a picture."""

    tokens: bool
    """They name tokens. Of numbers nobody misses one."""
    upright: bool
    texts: Sequence[Any]


def settle(figure: Figure, labelled: Sequence[Labelled]) -> str:
    """Choose fonts and labels in a figure that is not ours, as it stands now; return what to say of those left out."""
    from ._fonts import choose_fonts, say_missing

    missing = choose_fonts(figure)
    if missing:
        say_missing(missing)
    figure.draw_without_rendering()
    return left_out(labelled, figure._get_renderer())  # type: ignore[attr-defined]


def left_out(labelled: Sequence[Labelled], renderer: Any) -> str:
    """Hide labels that touch the next; return a sentence about them, or nothing."""
    step = 1
    for one in labelled:
        found = _thin(one, renderer)
        step = max(step, found if one.tokens else 1)
    return f"For lack of room 1 token in {step} is named." if step > 1 else ""


def _thin(labelled: Labelled, renderer: Any) -> int:
    """Hide labels along one side until none touches the next; return how many steps there are from one to the next."""
    labels = labelled.texts
    for label in labels:
        label.set_visible(True)
    boxes = [label.get_window_extent(renderer) for label in labels]
    ends = [(box.y0, box.y1) if labelled.upright else (box.x0, box.x1) for box in boxes]
    room = _BETWEEN * renderer.points_to_pixels(1.0)

    def fits(step: int) -> bool:
        shown = sorted(ends[::step])
        return all(one[1] + room <= other[0] for one, other in pairwise(shown))

    step = next(filter(fits, range(1, len(ends) + 1)), 1)
    for place, label in enumerate(labels):
        label.set_visible(place % step == 0)
    return step
