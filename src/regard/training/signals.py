"""Ctrl-C and SIGTERM while training: recorded, so that the step can be finished and saved."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any, Self

from .events import StoppedBy

NAMES: dict[int, StoppedBy] = {signal.SIGINT: "SIGINT", signal.SIGTERM: "SIGTERM"}


class Signals:
    """Within the block the two signals are recorded; a second Ctrl-C interrupts at once, as usual."""

    def __init__(self) -> None:
        self.received = 0
        """Number of the signal that arrived; 0: none."""
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        """Install the handlers, if this is the main thread (Python allows it in no other)."""
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._note) for number in NAMES}
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Restore the previous handlers."""
        for number, handler in self._before.items():
            if handler is not None:  # None: not installed from Python, so it cannot be restored
                signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.received and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.received = number

    @staticmethod
    def name(number: int) -> StoppedBy | None:
        """Return the name of a signal that stops training; None for 0."""
        return NAMES.get(number)
