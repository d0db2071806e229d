"""Recording the attention of any PyTorch model while it runs."""

from ..recordings import Grid, RecordedCall, Recording, Texts, load
from ._errors import EmptyRecordingError, NotRecordedWarning
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
