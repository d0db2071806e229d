"""Looking at attention: `view` for a notebook, a browser or a file; `static` for paper."""

from ..recorder import Grid
from . import static
from ._view import View, view

__all__ = ["Grid", "View", "static", "view"]
