"""Showing attention from the command line: a view of a task's input, and the chosen layer and head."""

from __future__ import annotations

import re
import sys
import webbrowser
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import ArgumentError, enumerated, nearest
from ..recordings import Grid, Texts
from ..tasks import Attention
from ..viewer import View, view


@dataclass(frozen=True)
class Chosen:
    """The layer and head that the user chose."""

    layer: str | None = None
    head: int | None = None

    @property
    def anything(self) -> bool:
        """Whether a layer or head was chosen."""
        return self.layer is not None or self.head is not None

    def fragment(self, shown: View) -> str:
        """Return the URL fragment that makes the page show the choice; empty without one."""
        if not self.anything:
            return ""
        maps = shown.source.shown.maps
        name = self.name(shown)
        place = next((at for at, one in enumerate(maps) if name in (None, one.name)), 0)
        self._check_head(maps[place].heads)
        return f"#view=head&map={place}&head={self.head or 0}"

    def name(self, shown: View) -> str | None:
        """Return the full name of the layer; None for all; raises `ArgumentError`."""
        names = list(dict.fromkeys(one.name for one in shown.source.shown.maps))
        if self.layer is None:
            if self.head is not None and len(names) > 1:
                raise ArgumentError(f"--head {self.head} of which layer? Give --layer too: {enumerated(names, 12)}.")
            return None
        found = [name for name in names if self.layer == name]
        found = found or [name for name in names if self.layer == _number(name)]
        found = found or [name for name in names if self.layer in name and not self.layer.isdecimal()]
        if not found:
            near = nearest(self.layer, names)
            raise ArgumentError(f"There is no layer {self.layer!r}.{near} There are: {enumerated(names, 12)}.")
        if len(found) > 1:
            raise ArgumentError(f"--layer {self.layer} fits several: {enumerated(found, 12)}. Give one by its name.")
        return found[0]

    def check(self, shown: View) -> None:
        """Raise unless the head exists."""
        name = self.name(shown)
        self._check_head(next(one.heads for one in shown.source.shown.maps if name in (None, one.name)))

    def _check_head(self, heads: int) -> None:
        if self.head is not None and not 0 <= self.head < heads:
            raise ArgumentError(f"--head is {self.head}; there are {heads}, counted from 0.")


def write(shown: View, out: Path, chosen: Chosen, budget: float = 32.0) -> None:
    """Write a page or picture and print its path; a page has all layers, and its address opens the chosen one."""
    if out.suffix.lower() != ".html":
        chosen.check(shown)
        print(shown.save(out, chosen.name(shown), chosen.head))
        return
    fragment = chosen.fragment(shown)
    print(shown.save(out, budget_mib=budget))
    if fragment:
        print(f"It opens there at {out.resolve().as_uri()}{fragment}")


def texts_of(seen: Attention, picture: Any = None) -> Texts:
    """Return the texts of one input's tokens, for a recording; `picture` is as for `view_of`."""
    if seen.grid is None:
        return Texts(seen.tokens, seen.source or None, labels=seen.labels or None)
    return Texts(grid=_grid(seen, picture))


def view_of(seen: Attention, title: str, picture: Any = None) -> View:
    """Return the view of one input; `picture` is its image, `(height, width, channels)`, if tokens are patches."""
    grid = None if seen.grid is None else _grid(seen, picture)
    return view(
        seen.weights,
        None if grid is not None else seen.tokens,
        key_tokens=seen.source or None,
        labels=seen.labels or None,
        grid=grid,
        title=title,
    )


def _grid(seen: Attention, picture: Any) -> Grid:
    rows, columns = seen.grid or (0, 0)
    return Grid(rows, columns, _behind(seen), None if picture is None else _shown(np.asarray(picture)))


def _behind(seen: Attention) -> int:
    """Return the index of the first patch, which follows the class token if there is one."""
    rows, columns = seen.grid or (0, 0)
    return len(seen.tokens) - rows * columns


def _number(name: str) -> str:
    found = re.search(r"\d+", name)
    return found[0] if found else ""


def open_page(path: Path) -> None:
    """Open a page in the browser; without a browser, print its address."""
    if not webbrowser.open(path.resolve().as_uri()):
        print(f"No browser could be opened; the page is {path}.", file=sys.stderr)


def _shown(picture: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    pixels = picture if picture.shape[-1] in (1, 3) else picture[..., :1]
    return pixels[..., 0] if pixels.shape[-1] == 1 else pixels
