"""The figure class of all pictures. Imported only on use, since it needs matplotlib."""

from __future__ import annotations

import io
import warnings
from typing import Any

from matplotlib import rc_context, rcParams, rcParamsDefault
from matplotlib.figure import Figure

from ._fonts import choose_fonts, say_missing, say_unshaped

__all__ = ["Sheet"]

# Keep text as text in files: it can be searched, copied and edited.
_AS_TEXT: dict[Any, object] = {"svg.fonttype": "none", "pdf.fonttype": 42, "ps.fonttype": 42, "svg.hashsalt": "regard"}


class Sheet(Figure):
    """A figure that a notebook displays by itself, without `pyplot` and whatever backend is set.

    Its texts use a fallback font for every character that some installed font has; for others it warns once.
    """

    _said: str | None = None

    def draw(self, renderer: Any) -> None:
        """Draw everything, after choosing fallback fonts."""
        missing = choose_fonts(self)
        of_svg = type(getattr(renderer, "_renderer", renderer)).__name__ == "RendererSVG"
        if missing != self._said and not (of_svg and rcParams["svg.fonttype"] == "none"):
            self._said = missing
            say_unshaped(self)
            if missing:
                say_missing(missing)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", r"Glyph \d+ .* missing from", UserWarning)
            super().draw(renderer)

    def savefig(self, *args: Any, **options: Any) -> None:
        """Write the picture, as `Figure.savefig` does; SVG and PDF keep text as text unless matplotlib is told not."""
        kept = {name: value for name, value in _AS_TEXT.items() if rcParams[name] == rcParamsDefault[name]}
        with rc_context(kept):
            super().savefig(*args, **options)

    def _repr_png_(self) -> bytes:
        with io.BytesIO() as file:
            self.savefig(file, format="png", dpi=110)
            return file.getvalue()
