"""Looking at attention: `view` for a notebook, a browser or a file; `static` for paper."""

from ..recordings import Grid
from . import static
from ._label_colours import label_colours
from ._view import View, view

__all__ = ["Grid", "View", "label_colours", "static", "view"]
