"""Training small models in a study, by `regard.training`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from ..training import (
    Batches,
    Budget,
    Evaluated,
    Evaluation,
    Event,
    Machine,
    Optimizer,
    Stepped,
    TrainingSettings,
    train,
)
from ._study import Progress


@dataclass(frozen=True)
class Training:
    """How a small model is trained."""

    steps: int | None
    """Steps of the optimizer; None where only `minutes` decides."""
    lr: float = 1e-3
    """Highest learning rate."""
    warmup: float = 0.05
    """Share of the run during which the learning rate rises."""
    tokens: int = 2048
    """Tokens of a step."""
    evaluate_every: int | None = None
    """Steps between two evaluations; None evaluates once, at the end."""
    weight_decay: float = 0.05
    """Weight decay of matrices."""
    minutes: float | None = None
    """Minutes of wall-clock time, if limited."""


@dataclass(frozen=True)
class Examples:
    """The objective of a training, as functions, so that a study needs no class for it."""

    lengths: Sequence[int]
    """Number of tokens of each training example."""
    batch: Callable[[NDArray[np.int64], np.random.Generator], Any]
    """Returns those examples as tensors; may draw new ones from the generator instead."""
    loss: Callable[[nn.Module, Any], tuple[Tensor, Tensor]]
    """Returns the sum of the losses of a batch, and the number of tokens or examples."""
    evaluate: Callable[[nn.Module], Mapping[str, float]]
    """Returns the held-out figures of a model in evaluation mode."""


@dataclass
class Course:
    """The history of a training run."""

    losses: list[float] = field(default_factory=list)
    """Training loss of each step."""
    steps: list[int] = field(default_factory=list)
    """Steps after which the model was evaluated."""
    figures: list[dict[str, float]] = field(default_factory=list)
    """The figures of the evaluations; the last are those of the final model."""
    seconds: float = 0.0
    """Seconds of wall-clock time."""

    @property
    def last(self) -> dict[str, float]:
        """The figures at the end."""
        return self.figures[-1]


# A count of the evaluations is added to the figures and used as metric: the newest is always the best, so the model
# keeps its last weights, and no held-out figure selects a checkpoint.
_NEWEST = "evaluations"


class _Last:
    """The objective, with the count of evaluations added to the figures."""

    def __init__(self, examples: Examples) -> None:
        self.lengths, self.batch, self.loss = examples.lengths, examples.batch, examples.loss
        self._evaluate = examples.evaluate
        self._count = 0

    def evaluate(self, model: nn.Module) -> Mapping[str, float]:
        self._count += 1
        return {**self._evaluate(model), _NEWEST: float(self._count)}


def fit(model: nn.Module, examples: Examples, training: Training, seed: int, progress: Progress, text: str) -> Course:
    """Train a model in place and return its history; its weights are those of the last step.

    `progress` is called with `text` and the loss. Ctrl-C raises `KeyboardInterrupt` after the step.
    """
    course = Course()

    def hear(event: Event) -> None:
        if isinstance(event, Stepped):
            course.losses.append(event.loss)
            course.seconds = event.seconds
            by_step = 0.0 if training.steps is None else event.step / training.steps
            by_clock = 0.0 if training.minutes is None else event.seconds / (60 * training.minutes)
            progress(min(1.0, max(by_step, by_clock)), f"{text}: loss {event.loss:.3f}")
        elif isinstance(event, Evaluated):
            course.steps.append(event.step)
            course.figures.append({name: value for name, value in event.figures.items() if name != _NEWEST})

    every = training.evaluate_every or training.steps or 2**31
    settings = TrainingSettings(
        Optimizer(lr=training.lr, warmup=training.warmup, weight_decay=training.weight_decay),
        Batches(training.tokens, max(training.tokens, *examples.lengths), seed),
        Budget(epochs=None, steps=training.steps, minutes=training.minutes),
        Evaluation(every, _NEWEST, "max"),
        machine=Machine("cpu"),  # models this small are not faster on a GPU
    )
    ended = train(model, _Last(examples), settings, listeners=[hear])
    if not ended.finished:
        raise KeyboardInterrupt
    return course
