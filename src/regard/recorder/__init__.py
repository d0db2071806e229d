"""Recording the attention of any PyTorch model while it runs, and recordings on disk."""

from ._arrays import NotRecordedWarning
from ._read import load
from ._recording import EmptyRecordingError, RecordedCall, Recording
from ._watch import watch

__all__ = ["EmptyRecordingError", "NotRecordedWarning", "RecordedCall", "Recording", "load", "watch"]
