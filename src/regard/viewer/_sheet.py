"""The figure that everything is drawn on. Imported only where a picture is wanted: it needs matplotlib."""

from __future__ import annotations

import io

from matplotlib.figure import Figure

__all__ = ["Sheet"]


class Sheet(Figure):
    """A figure that a notebook shows by itself, without `pyplot` and whichever backend is set."""

    def _repr_png_(self) -> bytes:
        with io.BytesIO() as file:
            self.savefig(file, format="png", dpi=110)
            return file.getvalue()
