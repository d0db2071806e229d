"""Recordings of attention: the calls of a run, what their tokens are, and all of it on disk."""

from ._call import Growing, RecordedCall, layer_of
from ._grid import Grid
from ._loaded import load
from ._recording import Recording
from ._texts import Texts
from ._writing import FolderWriter

__all__ = ["FolderWriter", "Grid", "Growing", "RecordedCall", "Recording", "Texts", "layer_of", "load"]
