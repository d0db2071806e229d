"""Recording the attention of any PyTorch model while it runs."""

from ._recording import EmptyRecordingError, RecordedCall, Recording
from ._watch import watch

__all__ = ["EmptyRecordingError", "RecordedCall", "Recording", "watch"]
