"""The settings of a training run: frozen dataclasses that become JSON and command-line options.

No setting but `tokens_at_once` depends on the number of processes or their memory: a run means the
same on one small machine and on many large ones.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from .._values import check_fields
from ..errors import ArgumentError


@dataclass(frozen=True)
class Optimizer:
    """AdamW with warm-up, a cosine and clipping."""

    lr: float | None = 1e-3
    """Highest learning rate, reached at the end of the warm-up. None: a task takes the rate that suits its model."""
    layer_decay: float = 1.0
    """Layer-wise learning rates: each layer learns at this share of the rate of the layer above it, the embeddings
    slowest; 1: all alike."""
    warmup: float = 0.05
    """Share of the whole budget during which the learning rate rises linearly from 0."""
    final_lr: float = 0.0
    """Share of `lr` that the cosine ends at."""
    beta1: float = 0.9
    """AdamW's decay rate of the mean of the gradients."""
    beta2: float = 0.98
    """AdamW's decay rate of the mean of the squared gradients."""
    eps: float = 1e-8
    """AdamW's epsilon, added to the divisor."""
    weight_decay: float = 0.05
    """Weight decay of matrices; vectors (biases, scales of norms) never decay."""
    clip: float = 1.0
    """Gradients are clipped to this norm, over all of them; 0 does not clip."""

    def __post_init__(self) -> None:
        check_fields(self)
        _check("lr", self.lr, self.lr is None or 0 < self.lr < math.inf, "greater than 0, and finite")
        _check("layer_decay", self.layer_decay, 0 < self.layer_decay <= 1, "a share, 0 < layer_decay <= 1")
        _check("warmup", self.warmup, 0 <= self.warmup < 1, "a share, 0 <= warmup < 1")
        _check("final_lr", self.final_lr, 0 <= self.final_lr <= 1, "a share of lr, 0 to 1")
        _check("beta1", self.beta1, 0 <= self.beta1 < 1, "0 <= beta1 < 1")
        _check("beta2", self.beta2, 0 <= self.beta2 < 1, "0 <= beta2 < 1")
        _check("eps", self.eps, self.eps > 0, "greater than 0")
        _check("weight_decay", self.weight_decay, 0 <= self.weight_decay < math.inf, "0 or more, and finite")
        _check("clip", self.clip, self.clip >= 0, "0 (no clipping) or more")


@dataclass(frozen=True)
class Batches:
    """How examples are grouped into steps."""

    tokens_per_step: int | None = 4096
    """Approximate number of tokens in one step of the optimizer, over all processes. None: a task takes what suits its
    data."""
    tokens_at_once: int = 4096
    """Most tokens, padding counted, in one forward pass of one process. Lower it when memory is
    short: a step then takes more passes and sums their gradients; the result is the same."""
    seed: int = 0
    """Seed of the order of the examples, of dropout and of any other random number."""

    def __post_init__(self) -> None:
        check_fields(self)
        most = self.tokens_per_step
        _check("tokens_per_step", most, most is None or most >= 1, "1 or more")
        _check("tokens_at_once", self.tokens_at_once, self.tokens_at_once >= 1, "1 or more")
        _check("seed", self.seed, 0 <= self.seed < 2**63, "0 <= seed < 2**63")


@dataclass(frozen=True)
class Budget:
    """When training ends: at the first of these limits. At least one is needed."""

    epochs: float | Literal["auto"] | None = 10.0
    """Passes over the data; a fraction is allowed. auto: a task takes what suits the number of its examples."""
    steps: int | None = None
    """Steps of the optimizer."""
    minutes: float | None = None
    """Minutes of wall-clock time, evaluations included, summed over resumed runs. If this limit ends the run,
    the learning rate follows the time, and two runs are no longer equal to the bit."""

    def __post_init__(self) -> None:
        check_fields(self)
        given = {"epochs": self.epochs, "steps": self.steps, "minutes": self.minutes}
        for name, value in given.items():
            good = value is None or value == "auto" or (not isinstance(value, str) and 0 < value < math.inf)
            _check(name, value, good, "greater than 0, and finite")
        _check("budget", given, any(value is not None for value in given.values()), "one of epochs, steps, minutes")


@dataclass(frozen=True)
class Evaluation:
    """When the model is evaluated, and how the figures are used."""

    evaluate_every: int | None = None
    """Steps between two evaluations; None evaluates at the end of each epoch."""
    metric: str | None = None
    """The figure that selects the best checkpoint and what is saved; None takes the task's main figure (its mean with
    macro F1, where examples have labels), or `loss` without a task."""
    goal: Literal["min", "max"] | None = None
    """Whether the smallest or the largest figure is best. A task knows this itself; without a task it has to be given
    with the metric."""
    patience: int | None = None
    """Early stopping: end after this many evaluations in a row without a better figure, but not in the first
    quarter of the budget, nor in its first half before every label has been predicted; None: never."""

    def __post_init__(self) -> None:
        check_fields(self)
        every, patience = self.evaluate_every, self.patience
        _check("evaluate_every", every, every is None or every >= 1, "1 or more, or None")
        _check("patience", patience, patience is None or patience >= 1, "1 or more, or None")


@dataclass(frozen=True)
class Checkpoints:
    """When checkpoints are written and how many are kept. The last and the best are always written."""

    save_every: int | None = None
    """Steps between two checkpoints; None: by `save_minutes` only."""
    save_minutes: float | None = 5.0
    """Minutes between two checkpoints; None: by `save_every` only."""
    keep: int = 2
    """How many of the newest checkpoints are kept, besides the best."""

    def __post_init__(self) -> None:
        check_fields(self)
        every, minutes = self.save_every, self.save_minutes
        _check("save_every", every, every is None or every >= 1, "1 or more, or None")
        _check("save_minutes", minutes, minutes is None or minutes > 0, "greater than 0, or None")
        _check("keep", self.keep, self.keep >= 1, "1 or more")


@dataclass(frozen=True)
class Machine:
    """The hardware of a run, and how it is used."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """The device; auto takes the GPU if there is one."""
    precision: Literal["fp32", "bf16", "auto"] = "fp32"
    """Arithmetic of forward and backward; auto: bf16 where the device computes it natively. Weights, gradients and the
    optimizer stay in float32."""
    fp32: Literal["auto", "plain", "parts"] = "auto"
    """How attention in float32 is multiplied on the CPU: plain, as it is; parts, as sums of three bfloat16 on Intel's
    tiles (AMX) where the range of the numbers allows it; auto, by parts where that was measured to be faster, or as
    `REGARD_FP32` says. Processors without tiles know one way."""
    compile: bool = False
    """Compile the model with torch.compile: slower to start, faster afterwards."""
    shard: bool = False
    """Shard weights and optimizer over the processes (FSDP2) instead of replicating them (DDP)."""

    def __post_init__(self) -> None:
        check_fields(self)


@dataclass(frozen=True)
class TrainingSettings:
    """All settings of a training run.

    >>> settings = TrainingSettings(Optimizer(lr=3e-4), budget=Budget(steps=100, epochs=None))
    >>> TrainingSettings.from_dict(settings.to_dict()) == settings
    True
    """

    optimizer: Optimizer = field(default_factory=Optimizer)
    """AdamW, learning rate and clipping."""
    batches: Batches = field(default_factory=Batches)
    """How examples are grouped into steps."""
    budget: Budget = field(default_factory=Budget)
    """When training ends."""
    evaluation: Evaluation = field(default_factory=Evaluation)
    """When the model is evaluated, and how the figures are used."""
    checkpoints: Checkpoints = field(default_factory=Checkpoints)
    """When the run is saved."""
    machine: Machine = field(default_factory=Machine)
    """The hardware of the run."""

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


_DECIDING = ["tokens_per_step", "seed"]


def differences(old: dict[str, dict[str, Any]], new: dict[str, dict[str, Any]]) -> list[str]:
    """List, a line each, the differing settings that must not change when a run is resumed.

    These are the optimizer and the batches, which decide every step. Budget, metric and hardware may change.
    """
    found = []
    for part, kind, names in (("optimizer", Optimizer, list(new["optimizer"])), ("batches", Batches, _DECIDING)):
        # What an older version did not store was at its default.
        known = {**dataclasses.asdict(kind()), **old.get(part, {})}
        found += changes(known, {name: new[part][name] for name in names})
    return found


def changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """List, a line each, which values have changed."""
    return [
        f"{name} was {old.get(name)!r} and is now {value!r}" for name, value in new.items() if old.get(name) != value
    ]


def _check(name: str, value: object, good: bool, rule: str) -> None:
    if not good:
        raise ArgumentError(f"{name} is {value!r}; it must be {rule}.")
