"""Recording the attention of any PyTorch model while it runs."""

from ._grid import Grid
from ._recording import EmptyRecordingError, RecordedCall, Recording
from ._texts import Texts
from ._watch import watch

__all__ = ["EmptyRecordingError", "Grid", "RecordedCall", "Recording", "Texts", "watch"]
