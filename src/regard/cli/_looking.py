"""The viewer's page of what a trained task attends to in one input."""

from __future__ import annotations

import sys
import webbrowser
from pathlib import Path
from typing import Any

import numpy as np

from ..tasks import Attention
from ..viewer import Grid, View, view

__all__ = ["open_page", "view_of"]


def view_of(seen: Attention, title: str, picture: Any = None) -> View:
    """Return the view of one input; `picture` is the array `(height, width, channels)` that its patches come from."""
    grid = None
    if seen.grid is not None:
        rows, columns = seen.grid
        first = len(seen.tokens) - rows * columns  # behind a class token, if there is one
        grid = Grid(rows, columns, first, None if picture is None else _shown(np.asarray(picture)))
    return view(
        seen.weights,
        None if grid is not None else seen.tokens,
        key_tokens=seen.source or None,
        labels=seen.labels or None,
        grid=grid,
        title=title,
    )


def open_page(path: Path) -> None:
    """Open a page in the browser; says where it is if there is none."""
    if not webbrowser.open(path.resolve().as_uri()):
        print(f"No browser could be opened; the page is {path}.", file=sys.stderr)


def _shown(picture: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    pixels = picture if picture.shape[-1] in (1, 3) else picture[..., :1]
    return pixels[..., 0] if pixels.shape[-1] == 1 else pixels
