"""Recordings of attention: the calls of a run, what their tokens are, and all of it on disk.

    recording.json              coverage; once the run has ended, the check of each other file
    texts.json                  tokens, words, labels and images, if they are known
    calls/000000.safetensors    one call: its summary, and with keep="exact" its query, key and masks

A `.regard` file is a zip of these that packs nothing. JSON carries its own CRC-32, the file of a call one for its
header and for every 256 KiB of each tensor: what was damaged is an error that names the file, never other numbers.
"""

from ._call import Growing, RecordedCall, layer_of
from ._grid import Grid
from ._loaded import load
from ._recording import Recording
from ._texts import Texts
from ._writing import FolderWriter

__all__ = ["FolderWriter", "Grid", "Growing", "RecordedCall", "Recording", "Texts", "layer_of", "load"]
