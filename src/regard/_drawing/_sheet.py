"""The figure class of all pictures. Imported only on use, since it needs matplotlib."""

from __future__ import annotations

import functools
import io
import warnings
from typing import Any

from matplotlib import rc_context, rcParams, rcParamsDefault
from matplotlib.figure import Figure

from ._fonts import choose_fonts, say_missing, say_unshaped
from ._labels import Labelled, left_out
from ._style import wrapped

# Keep text as text in files: it can be searched, copied and edited.
_AS_TEXT: dict[Any, object] = {"svg.fonttype": "none", "pdf.fonttype": 42, "ps.fonttype": 42, "svg.hashsalt": "regard"}


# Times that labels and caption are fitted to each other.
_ROUNDS = 4


class Sheet(Figure):
    """A figure that a notebook displays by itself, without `pyplot` and whatever backend is set.

    Its texts use a fallback font for every character that some installed font has; for others it warns once. Labels
    that would touch are left out, and the caption says so.
    """

    _said: str | None = None

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.labelled: list[Labelled] = []
        self.caption: tuple[Any, str] | None = None
        """The text below the picture, and what it says where every label has room."""
        self._fitted: object = None

    def draw(self, renderer: Any) -> None:
        """Draw everything, after choosing fallback fonts and the labels that have room."""
        missing = choose_fonts(self)
        of_svg = type(getattr(renderer, "_renderer", renderer)).__name__ == "RendererSVG"
        if missing != self._said and not (of_svg and rcParams["svg.fonttype"] == "none"):
            self._said = missing
            say_unshaped(self)
            if missing:
                say_missing(missing)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", r"Glyph \d+ .* missing from", UserWarning)
            self._fit(renderer)
            super().draw(renderer)

    def _fit(self, renderer: Any) -> None:
        """Hide labels that would touch the next, for this size of the picture."""
        size = (*self.get_size_inches(), len(self.labelled))
        if not self.labelled or self._fitted == size:
            return
        self._fitted = size
        engine, before = self.get_layout_engine(), None
        for _ in range(_ROUNDS):  # what the caption says takes room too
            if engine is not None:
                engine.execute(self)
            for axes in self.axes:  # equal cells may take less than the room that they were given
                axes.apply_aspect()
            said = left_out(self.labelled, renderer)
            if said == before:
                break
            before = said
            if self.caption is not None:
                text, always = self.caption
                text.set_text(self._beside_keys(f"{always} {said}".strip(), text.get_fontsize(), renderer))

    def _beside_keys(self, words: str, points: float, renderer: Any) -> str:
        """Wrap a caption so that it stands beside the key of colours, or above one that takes most of the width."""
        width = self.get_figwidth()
        key = sum((one.get_window_extent(renderer).width / self.dpi for one in self.legends[:1]), 0.0)
        if key <= width / 2:
            return wrapped(words, 0.94 * width - key, points)
        rows = self.legends[0].get_window_extent(renderer).height / self.dpi * 72 / (1.2 * points)
        return wrapped(words, 0.94 * width, points) + "\n" * (int(rows) + 1)

    def set_canvas(self, canvas: Any) -> None:
        """Let this canvas draw the figure: whoever prints it, SVG and PDF keep text as text."""
        super().set_canvas(canvas)
        canvas.print_figure = functools.partial(_printed, canvas.print_figure)

    def _repr_png_(self) -> bytes:
        with io.BytesIO() as file:
            self.savefig(file, format="png", dpi=110)
            return file.getvalue()


def _printed(own: Any, file: Any, *args: Any, **options: Any) -> Any:
    """Print as the canvas does; settings of matplotlib that were changed stay.

    `PdfPages` writes the fonts of all its pages when it is closed, in the form that is set then, so its own holds.
    """
    kept = {name: value for name, value in _AS_TEXT.items() if rcParams[name] == rcParamsDefault[name]}
    if type(file).__name__ == "PdfPages":
        kept.pop("pdf.fonttype", None)
    with rc_context(kept):
        return own(file, *args, **options)
