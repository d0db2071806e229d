"""Progress of training and evaluation: a live line in a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from typing import Any

from ..tasks import Task
from ..training import Decided, Ended, Evaluated, Evaluating, Event, SkippedCheckpoint, Started, Stepped

# Seconds between plain lines.
PAUSE = 10.0


def progress(headline: str, doing: str = "evaluating") -> Lines | Live:
    """Return a listener for the kind of output, to be closed; `headline` is the figure to show."""
    if sys.stderr.isatty():
        try:
            return Live(headline, doing)
        except ModuleNotFoundError:  # rich
            pass
    return Lines(headline)


@contextmanager
def showing(task: Task[Any, Any], doing: str) -> Iterator[None]:
    """Within the block a terminal shows how far the task is; nothing is written to a pipe or a file."""
    if not sys.stderr.isatty():
        yield
        return
    with closing(progress(task.watched, doing)) as shown:
        task.listeners = (shown,)
        try:
            yield
        finally:
            task.listeners = ()


class Lines:
    """One line of text every ten seconds and for each evaluation, on standard error."""

    def __init__(self, headline: str) -> None:
        self._headline = headline
        self._last = 0.0

    def __call__(self, event: Event) -> None:
        """Print a line of the log."""
        if isinstance(event, Stepped | Evaluating):
            if time.monotonic() - self._last < PAUSE:
                return
            self._last = time.monotonic()
            text = f"step {event.step}  {_step(event)}" if isinstance(event, Stepped) else _evaluating(event)
        else:
            text = _said(event, self._headline)
        if text:
            print(text, file=sys.stderr, flush=True)

    def close(self) -> None:
        """Do nothing: each line stands by itself."""


class Live:
    """A bar with loss, speed and time left; lines above it for evaluations."""

    def __init__(self, headline: str, doing: str) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn

        self._headline, self._doing = headline, doing
        self._console = Console(stderr=True)
        self._bar = Progress(
            TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[text]}"), console=self._console,
            transient=True,
        )  # fmt: skip
        self._task: Any = None
        self._training = False

    def __call__(self, event: Event) -> None:
        """Move the bar, or print a line above it."""
        if isinstance(event, Started | Ended):
            self._training = isinstance(event, Started)
        if isinstance(event, Started):
            self._begin(f"step {event.step}", event.total_steps, event.step)
        elif isinstance(event, Stepped):
            self._bar.update(self._task, description=f"step {event.step}", completed=event.step, text=_step(event))
            return
        elif isinstance(event, Evaluating):
            self._evaluating(event)
            return
        elif isinstance(event, Ended):
            self._end()
        text = _said(event, self._headline)
        if text:
            self._console.print(text, highlight=False, markup=False)

    def close(self) -> None:
        """Remove the bar, and show the cursor again, wherever it was broken off."""
        if self._task is not None:
            self._end()

    def _begin(self, what: str, total: int | None, done: int) -> None:
        self._task = self._bar.add_task(what, total=total, completed=done, text="")
        self._bar.start()

    def _end(self) -> None:
        self._bar.stop()
        self._bar.remove_task(self._task)
        self._task = None

    def _evaluating(self, event: Evaluating) -> None:
        """Show an evaluation beside the steps, or in a bar of its own after training and without it."""
        if self._training:
            self._bar.update(self._task, text=_evaluating(event))
            return
        if self._task is None:
            self._begin(self._doing, event.total, 0)
        self._bar.update(self._task, completed=event.done, text=f"{event.done:,} of {event.total:,}")
        if event.done >= event.total:
            self._end()


def _evaluating(event: Evaluating) -> str:
    return f"evaluating  {event.done:,} of {event.total:,}"


def _step(event: Stepped) -> str:
    left = f"  {clock(event.seconds_left)} left" if event.seconds_left == event.seconds_left else ""
    return f"epoch {event.epoch:.2f}  loss {event.loss:.4f}  {event.tokens_per_second:,.0f} tokens/s{left}"


def _said(event: Event, headline: str) -> str:
    if isinstance(event, Decided):
        return "\n".join(("Chosen by the data and the budget:", *(f"  {line}" for line in event.lines)))
    if isinstance(event, Started):
        begun = f"goes on after step {event.step:,}" if event.step else "begins"
        share = f", {event.processes} processes" if event.processes > 1 else ""
        return (
            f"Training {begun}: {event.examples:,} examples, {event.parameters:,} weights, "
            f"{event.steps_per_epoch:,} step{'' if event.steps_per_epoch == 1 else 's'} an epoch{share}"
        )
    if isinstance(event, Evaluated):
        best = "  (best)" if event.best else ""
        return f"epoch {event.epoch:.2f}  development {headline} {_figure(event.figures, headline)}{best}"
    if isinstance(event, SkippedCheckpoint):
        return f"Passed over a checkpoint: {event.reason}"
    if isinstance(event, Ended):
        why = {"budget": "the budget is used up", "patience": "no better for a while"}.get(event.stopped_by)
        return f"Stopped after step {event.step:,}: {why or f'{event.stopped_by}; run the same command to go on'}"
    return ""


def _figure(figures: Mapping[str, float], name: str) -> str:
    return f"{figures[name]:.4f}"


def clock(seconds: float) -> str:
    """Format seconds as 1:05:09, or 5:09."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
