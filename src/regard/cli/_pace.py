"""How much training the budget holds, said after the first steps."""

from __future__ import annotations

import sys
from typing import Any

from ..tasks import Task
from ..training import Event, Started, Stepped
from ._progress import clock

# Steps that are measured; the first one, which is slower, is left out.
MEASURED = 5
# What so many epochs reached elsewhere, from docs/results.md; with other data it may be more or less.
ELSEWHERE = {
    "translation": "Elsewhere 3 epochs of 164,000 short pairs reached BLEU 27 (the nearest source 16), "
    "4 epochs of 50,000 BLEU 21 (11).",
    "summarization": "Elsewhere 1.1 epochs of 60,000 abstracts and titles reached ROUGE-L 0.24, the first words 0.19.",
}


class Pace:
    """Prints once how many epochs the minutes hold, or how long the epochs take, and what that reached elsewhere."""

    def __init__(self, task: Task[Any, Any]) -> None:
        self._task, self._elsewhere = task, ELSEWHERE.get(task.name)
        self._steps_per_epoch, self._first = 1, (0, 0.0)

    def __call__(self, event: Event) -> None:
        """Measure the first steps."""
        if isinstance(event, Started):
            self._steps_per_epoch, self._first = event.steps_per_epoch, (event.step + 1, 0.0)
        elif isinstance(event, Stepped) and self._elsewhere is not None:
            step, seconds = self._first
            if event.step == step:
                self._first = step, event.seconds
            elif event.step == step + MEASURED:
                each = (event.seconds - seconds) / MEASURED * self._steps_per_epoch
                print(f"{self._said(each)} {self._elsewhere}", file=sys.stderr, flush=True)

    def _said(self, each: float) -> str:
        """Say what the budget comes to, at so many seconds an epoch."""
        budget = self._task.settings.training.budget
        minutes, epochs = budget.minutes, budget.epochs
        held = None if minutes is None else 60 * minutes / each
        if held is not None and (epochs is None or held < epochs):
            return f"At this speed {minutes:g} minutes hold about {held:.2g} epochs, of {clock(each)} each."
        if epochs is not None:
            return f"At this speed {epochs:g} epochs take about {clock(epochs * each)}, evaluations not counted."
        return f"At this speed an epoch takes about {clock(each)}."
