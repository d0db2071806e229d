"""What a training run is told, in frozen dataclasses that become JSON and command-line options.

Nothing here says how many processes there are or how much memory each has, apart from
`tokens_at_once`: a run means the same on one small machine and on many large ones.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from .._values import check_fields
from ..errors import ArgumentError

__all__ = ["Batches", "Budget", "Checkpoints", "Evaluation", "Machine", "Optimizer", "TrainingSettings"]


@dataclass(frozen=True)
class Optimizer:
    """AdamW with warm-up, a cosine and clipping."""

    lr: float = 1e-3
    """Highest learning rate, reached at the end of the warm-up."""
    warmup: float = 0.05
    """Share of the whole budget during which the learning rate rises in a straight line from 0."""
    final_lr: float = 0.0
    """Share of `lr` that the cosine ends at."""
    beta1: float = 0.9
    """Memory of AdamW's mean of the gradients."""
    beta2: float = 0.98
    """Memory of AdamW's mean of the squared gradients."""
    eps: float = 1e-8
    """What AdamW adds to the divisor."""
    weight_decay: float = 0.05
    """Decay of matrices; vectors (biases, scales of norms) never decay."""
    clip: float = 1.0
    """Largest norm of all gradients together; 0 leaves them as they are."""

    def __post_init__(self) -> None:
        check_fields(self)
        _check("lr", self.lr, 0 < self.lr < math.inf, "greater than 0, and finite")
        _check("warmup", self.warmup, 0 <= self.warmup < 1, "a share, 0 <= warmup < 1")
        _check("final_lr", self.final_lr, 0 <= self.final_lr <= 1, "a share of lr, 0 to 1")
        _check("beta1", self.beta1, 0 <= self.beta1 < 1, "0 <= beta1 < 1")
        _check("beta2", self.beta2, 0 <= self.beta2 < 1, "0 <= beta2 < 1")
        _check("eps", self.eps, self.eps > 0, "greater than 0")
        _check("weight_decay", self.weight_decay, 0 <= self.weight_decay < math.inf, "0 or more, and finite")
        _check("clip", self.clip, self.clip >= 0, "0 (no clipping) or more")


@dataclass(frozen=True)
class Batches:
    """How examples become steps."""

    tokens_per_step: int = 4096
    """Tokens that one step of the optimizer learns from, on all processes together, about."""
    tokens_at_once: int = 4096
    """Most tokens, padding counted, in one forward pass of one process. Lower it when memory is
    short: the passes of a step become more, their gradients are summed, the result is the same."""
    seed: int = 0
    """Seed of the order of the examples, of dropout and of any other random number."""

    def __post_init__(self) -> None:
        check_fields(self)
        _check("tokens_per_step", self.tokens_per_step, self.tokens_per_step >= 1, "1 or more")
        _check("tokens_at_once", self.tokens_at_once, self.tokens_at_once >= 1, "1 or more")
        _check("seed", self.seed, 0 <= self.seed < 2**63, "0 <= seed < 2**63")


@dataclass(frozen=True)
class Budget:
    """When training ends: at the first of these that is reached. At least one is given."""

    epochs: float | None = 10.0
    """Passes over the data; a fraction is allowed."""
    steps: int | None = None
    """Steps of the optimizer."""
    minutes: float | None = None
    """Time on the clock, evaluations included, summed over resumed runs. Where this is the limit
    that is met, the learning rate follows the clock, and two runs are no longer alike to the bit."""

    def __post_init__(self) -> None:
        check_fields(self)
        given = {"epochs": self.epochs, "steps": self.steps, "minutes": self.minutes}
        for name, value in given.items():
            _check(name, value, value is None or 0 < value < math.inf, "greater than 0, and finite")
        _check("budget", given, any(value is not None for value in given.values()), "one of epochs, steps, minutes")


@dataclass(frozen=True)
class Evaluation:
    """When the model is evaluated, and what the figures decide."""

    evaluate_every: int | None = None
    """Steps between two evaluations; None evaluates at the end of each epoch."""
    metric: str | None = None
    """The figure of the evaluation that says which checkpoint is best; None takes the task's own, and `loss` in a
    training without a task."""
    goal: Literal["min", "max"] | None = None
    """Whether a smaller or a larger figure is better; a task knows it of each of its figures. A training without a
    task is told it with the metric."""
    patience: int | None = None
    """Stop after this many evaluations in a row without a better figure, though not in the first quarter
    of the budget; None never does."""

    def __post_init__(self) -> None:
        check_fields(self)
        every, patience = self.evaluate_every, self.patience
        _check("evaluate_every", every, every is None or every >= 1, "1 or more, or None")
        _check("patience", patience, patience is None or patience >= 1, "1 or more, or None")


@dataclass(frozen=True)
class Checkpoints:
    """When the run is saved and how much of it is kept. The end and the best are saved always."""

    save_every: int | None = None
    """Steps between two checkpoints; None leaves it to `save_minutes`."""
    save_minutes: float | None = 5.0
    """Minutes between two checkpoints; None leaves it to `save_every`."""
    keep: int = 2
    """How many of the newest checkpoints stay; the best one stays besides."""

    def __post_init__(self) -> None:
        check_fields(self)
        every, minutes = self.save_every, self.save_minutes
        _check("save_every", every, every is None or every >= 1, "1 or more, or None")
        _check("save_minutes", minutes, minutes is None or minutes > 0, "greater than 0, or None")
        _check("keep", self.keep, self.keep >= 1, "1 or more")


@dataclass(frozen=True)
class Machine:
    """What the run is computed on, and how."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to compute; auto takes the GPU where there is one."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """Arithmetic of forward and backward. Weights, gradients and the optimizer stay in float32."""
    compile: bool = False
    """Compile the model with torch.compile: a slow start, then faster steps."""
    shard: bool = False
    """Share weights and optimizer out over the processes (FSDP2) instead of copying them (DDP)."""

    def __post_init__(self) -> None:
        check_fields(self)


@dataclass(frozen=True)
class TrainingSettings:
    """All that a training run is told.

    >>> settings = TrainingSettings(Optimizer(lr=3e-4), budget=Budget(steps=100, epochs=None))
    >>> TrainingSettings.from_dict(settings.to_dict()) == settings
    True
    """

    optimizer: Optimizer = field(default_factory=Optimizer)
    """AdamW, learning rate and clipping."""
    batches: Batches = field(default_factory=Batches)
    """How examples become steps."""
    budget: Budget = field(default_factory=Budget)
    """When training ends."""
    evaluation: Evaluation = field(default_factory=Evaluation)
    """When the model is evaluated, and what that decides."""
    checkpoints: Checkpoints = field(default_factory=Checkpoints)
    """When the run is saved."""
    machine: Machine = field(default_factory=Machine)
    """What it is computed on."""

    def __post_init__(self) -> None:
        check_fields(self)

    def to_dict(self) -> dict[str, dict[str, Any]]:
        """Return plain values, fit for JSON."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, dict[str, Any]]) -> TrainingSettings:
        """Build settings from what `to_dict` returned."""
        rooms = {room.name: room.default_factory for room in dataclasses.fields(cls)}
        unknown = sorted(set(values) - set(rooms))
        if unknown:
            raise ArgumentError(f"Training settings have no part {unknown[0]!r}; they have {', '.join(rooms)}.")
        return cls(**{name: rooms[name](**values[name]) for name in values})  # type: ignore[operator]


def differences(old: dict[str, dict[str, Any]], new: dict[str, dict[str, Any]]) -> list[str]:
    """Say, a line each, which settings differ among those that a run cannot change half-way.

    The optimizer and the batches decide every step; what a longer budget, another metric or more
    processes change is what whoever changes them wants changed.
    """
    found = []
    for part, names in {"optimizer": list(new["optimizer"]), "batches": ["tokens_per_step", "seed"]}.items():
        found += changes(old.get(part, {}), {name: new[part][name] for name in names})
    return found


def changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Say, a line each, which of the new values were others before."""
    return [
        f"{name} was {old.get(name)!r} and is now {value!r}" for name, value in new.items() if old.get(name) != value
    ]


def _check(name: str, value: object, good: bool, rule: str) -> None:
    if not good:
        raise ArgumentError(f"{name} is {value!r}; it must be {rule}.")
