"""What all pictures for paper share: the figure, its fonts and sizes, colours. Importing it imports no matplotlib."""

from ._labels import Labelled, settle
from ._sheets import sheet
from ._style import FAINT, INK, PALETTE, chosen_cmap, faint, ink, lettering, pt, wrapped

__all__ = [
    "FAINT",
    "INK",
    "PALETTE",
    "Labelled",
    "chosen_cmap",
    "faint",
    "ink",
    "lettering",
    "pt",
    "settle",
    "sheet",
    "wrapped",
]
