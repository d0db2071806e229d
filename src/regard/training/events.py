"""The events that a training run sends to its listeners."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

StoppedBy = Literal["budget", "patience", "SIGINT", "SIGTERM"]


@dataclass(frozen=True)
class Decided:
    """Settings that were left out were decided from the data and the budget."""

    lines: tuple[str, ...]
    """The options that would have set them, with the reason."""


@dataclass(frozen=True)
class Started:
    """Training starts, or resumes after `step` steps."""

    step: int
    """Steps that were done before."""
    total_steps: int | None
    """Steps of the whole run; None if only time limits it."""
    steps_per_epoch: int
    """Steps of one pass over the data."""
    examples: int
    """Training examples."""
    parameters: int
    """Number of trainable weights."""
    processes: int
    """Processes that share the work."""


@dataclass(frozen=True)
class Stepped:
    """One step was done."""

    step: int
    """Number of steps done, this one included."""
    epoch: float
    """Passes over the data so far."""
    loss: float
    """Mean loss of this step's tokens."""
    norm: float
    """Norm of the gradients before clipping."""
    lr: float
    """Learning rate of this step."""
    tokens: int
    """Tokens of the examples of this step, as `Objective.lengths` counts them."""
    seconds: float
    """Seconds of training so far, evaluations included, summed over resumed runs."""
    tokens_per_second: float
    """Speed over the last steps, in these tokens; evaluations left out."""
    seconds_left: float
    """Estimate of what remains of the budget."""


@dataclass(frozen=True)
class Evaluating:
    """An evaluation or prediction is under way."""

    done: int
    """Examples, or tokens of a language model, that are done."""
    total: int
    """How many there are."""


@dataclass(frozen=True)
class Evaluated:
    """The model was evaluated."""

    step: int
    """Number of steps done."""
    epoch: float
    """Passes over the data so far."""
    figures: Mapping[str, float]
    """What the evaluation returned."""
    best: bool
    """Whether it is the best so far."""


@dataclass(frozen=True)
class Saved:
    """A checkpoint was written."""

    step: int
    """Number of steps done."""
    path: Path
    """Its folder."""


@dataclass(frozen=True)
class SkippedCheckpoint:
    """A damaged checkpoint was found; an older one is used."""

    path: Path
    """Its folder."""
    reason: str
    """What is wrong with it."""


@dataclass(frozen=True)
class Ended:
    """Training is over."""

    step: int
    """Number of steps done."""
    stopped_by: StoppedBy
    """What ended it."""
    best_step: int | None
    """The step with the best figures, whose weights the model has now unless a signal stopped training; None where no
    figure was a number."""


Event = Decided | Started | Stepped | Evaluating | Evaluated | Saved | SkippedCheckpoint | Ended
Listener = Callable[[Event], None]
