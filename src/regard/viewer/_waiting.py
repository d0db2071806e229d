"""A bar for what takes over a second."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

_SECONDS = 1.0


@contextmanager
def waiting(what: str, shown: bool | None) -> Iterator[Callable[[float], None]]:
    """Give a function that is told the share of the work done, and shows it on standard error as long as the block.

    `shown` None: only in a terminal or a notebook, after a second.
    """
    bar, began = None if shown is False else _bar(shown is True), time.monotonic()
    task: Any = None

    def tell(done: float) -> None:
        nonlocal task
        if bar is None or (task is None and shown is None and time.monotonic() - began < _SECONDS):
            return
        if task is None:
            bar.start()
            task = bar.add_task(what, total=1.0)
        bar.update(task, completed=done)

    try:
        yield tell
    finally:
        if bar is not None and task is not None:
            bar.stop()


def _bar(anywhere: bool) -> Any:
    """Return a progress bar; None where nobody looks, unless `anywhere`, or where `rich` is missing."""
    with suppress(ModuleNotFoundError):
        from rich.console import Console
        from rich.progress import Progress

        console = Console(stderr=True)
        if anywhere or console.is_terminal or console.is_jupyter:
            return Progress(console=console, transient=not anywhere)
    return None
