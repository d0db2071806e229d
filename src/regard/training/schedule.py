"""Progress and learning rate of a run: pure functions, so there is no state to save."""

from __future__ import annotations

import math

from ..errors import ArgumentError
from .settings import Budget, Optimizer


def total_steps(budget: Budget, steps_per_epoch: int) -> int | None:
    """Return the number of steps that epochs and steps allow; None if only time limits the run."""
    limits = []
    if budget.steps is not None:
        limits.append(budget.steps)
    if budget.epochs == "auto":
        raise ArgumentError("epochs is 'auto': only a task has a rule for it; give a number.")
    if budget.epochs is not None:
        limits.append(max(1, round(budget.epochs * steps_per_epoch)))
    return min(limits, default=None)


def progress(step: float, total: int | None, seconds: float, minutes: float | None) -> float:
    """Return the share of the budget that is used, 0 to 1, by whichever limit is nearest."""
    by_step = 0.0 if total is None else step / total
    by_clock = 0.0 if minutes is None else seconds / (60 * minutes)
    return min(1.0, max(by_step, by_clock))


def learning_rate(done: float, settings: Optimizer) -> float:
    """Return the learning rate after a share `done` of the budget.

    Linear from 0 to `lr` during the warm-up, then half a cosine down to `final_lr * lr`.

    >>> [learning_rate(done, Optimizer(lr=2.0, warmup=0.5)) for done in (0.0, 0.25, 0.5, 0.75, 1.0)]
    [0.0, 1.0, 2.0, 1.0, 0.0]
    """
    highest = settings.lr or 0.0  # None was refused when the optimizer was built
    if done < settings.warmup:
        return highest * done / settings.warmup
    fall = (done - settings.warmup) / (1 - settings.warmup)
    cosine = (1 + math.cos(math.pi * fall)) / 2
    return highest * (settings.final_lr + (1 - settings.final_lr) * cosine)
