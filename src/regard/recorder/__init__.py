"""Recording the attention of any PyTorch model while it runs, and recordings on disk."""

from ._grid import Grid
from ._pieces import NotRecordedWarning
from ._read import load
from ._recording import EmptyRecordingError, RecordedCall, Recording
from ._texts import Texts
from ._watch import record, watch

__all__ = [
    "EmptyRecordingError",
    "Grid",
    "NotRecordedWarning",
    "RecordedCall",
    "Recording",
    "Texts",
    "load",
    "record",
    "watch",
]
