"""What `watch` says when it saw nothing, or lost a call."""

from ..errors import RegardError


class EmptyRecordingError(RegardError, RuntimeError):
    """No call of attention was recorded."""


class NotRecordedWarning(UserWarning):
    """A call could not be recorded."""
