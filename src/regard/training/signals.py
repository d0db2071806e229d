"""Ctrl-C and SIGTERM while training: a step is finished and saved first; an evaluation is broken off."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any, Self

from .events import StoppedBy

NAMES: dict[int, StoppedBy] = {signal.SIGINT: "SIGINT", signal.SIGTERM: "SIGTERM"}


class Interrupted(BaseException):
    """A signal broke off an evaluation."""


class Signals:
    """Within the block the two signals are recorded; a second Ctrl-C interrupts at once, as usual."""

    def __init__(self) -> None:
        self.received = 0
        """Number of the signal that arrived; 0: none."""
        self._before: dict[int, Any] = {}
        self._breaks_off = False

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

    @contextmanager
    def breaking_off(self) -> Iterator[None]:
        """Within the block a signal raises `Interrupted` at once, and so does one that came before."""
        self._breaks_off = True
        try:
            if self.received:
                raise Interrupted
            yield
        finally:
            self._breaks_off = False

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.received and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.received = number
        if self._breaks_off:
            raise Interrupted

    @staticmethod
    def name(number: int) -> StoppedBy | None:
        """Return the name of a signal that stops training; None for 0."""
        return NAMES.get(number)
