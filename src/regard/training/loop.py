"""The one training loop.

The examples of a step, and the random numbers of each forward pass, are pure functions of the seed
and the step. So a run that was killed and resumed from a checkpoint ends with the same weights, to
the bit, as one without interruption. Without random draws, splitting a step into more passes or more
processes changes its sums by rounding only; dropout and hidden words are drawn for each pass and process.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..backends import asked_for, use_backend
from ..errors import ArgumentError, RegardError, nearest
from .distributed import Group, Wrapped, group, half_precision
from .events import Ended, Evaluated, Event, Listener, Started, Stepped, StoppedBy
from .optimizer import average_and_clip, make_optimizer
from .order import DataOrder, check_lengths, split
from .randomness import preserved, start_stream
from .schedule import learning_rate, progress, total_steps
from .settings import Evaluation, TrainingSettings
from .signals import Interrupted, Signals
from .store import Progress, Store

# Early stopping is off during this share of the budget: a model may take long to learn anything at all. Where the best
# evaluation says that a label was never predicted (a figure of this name above 0), it is off for longer.
EARLIEST, EARLIEST_UNFINISHED = 0.25, 0.5
UNFINISHED = "labels_missed"


class DivergedError(RegardError, ArithmeticError):
    """The loss or the gradients became infinite or NaN."""


class Objective(Protocol):
    """What training needs from a task: examples, loss and evaluation."""

    lengths: Sequence[int]
    """Number of tokens of each training example."""

    def batch(self, indices: NDArray[np.int64], random: np.random.Generator) -> Any:
        """Return examples as CPU tensors, alone or in tuples, lists, dicts and dataclasses; draw from `random` only."""
        ...

    def loss(self, model: nn.Module, batch: Any) -> tuple[Tensor, Tensor]:
        """Return the sum of the losses of a batch, and the number of tokens (or examples) in it."""
        ...

    def evaluate(self, model: nn.Module) -> Mapping[str, float]:
        """Return the figures of a model that is in evaluation mode.

        A figure `labels_missed` above 0, the number of true labels that were never predicted, puts early stopping off
        until half of the budget is used.
        """
        ...


@dataclass(frozen=True)
class TrainingResult:
    """How training ended."""

    step: int
    """Number of steps."""
    seconds: float
    """Seconds of training, evaluations included, summed over resumed runs."""
    stopped_by: StoppedBy
    """`budget`, `patience`, or the name of a signal."""
    best_step: int | None
    """The step with the best figures, whose weights the model has now unless a signal stopped training; None where no
    figure was a number."""
    figures: Mapping[str, float]
    """The figures of that step."""
    epochs: float
    """Passes over the data."""
    writes: bool
    """Whether this is rank 0, which writes files."""

    @property
    def finished(self) -> bool:
        """Whether training ended by its budget or patience, not by a signal."""
        return self.stopped_by in ("budget", "patience")


def train(
    model: nn.Module,
    objective: Objective,
    settings: TrainingSettings,
    *,
    folder: Path | None = None,
    listeners: Iterable[Listener] = (),
    about: Mapping[str, Any] | None = None,
) -> TrainingResult:
    """Train a model, in place, and leave it with the best weights that were found.

    Started by `torchrun`, the processes share the work: each has a copy of the model (DDP), or a
    share of it (`settings.machine.shard`, FSDP2). Ctrl-C and SIGTERM finish the step or break off the
    evaluation, save, and return; an evaluation that was broken off is made first when the run goes on.

    Args:
        model: The model to train; the caller seeds its initial weights.
        objective: The examples, their loss and their evaluation.
        settings: Everything else.
        folder: Where checkpoints go. If it holds checkpoints of this run, training resumes from the newest
            complete one. Without a folder nothing is written.
        listeners: Called with each event, in rank 0 only.
        about: What the model was built from, JSON values by name: if the folder belongs to another model, the error
            names the values that differ.

    Raises:
        ArgumentError: there are no examples, one is too long, or the evaluation does not return the metric.
        DivergedError: the loss is not finite; checkpoints are kept.
        CheckpointError: the folder belongs to another run, or cannot be written.

    >>> from regard.training import Batches, Budget, Optimizer
    >>> class Slope:  # learns that y is 3x
    ...     lengths = [1] * 64
    ...     def batch(self, indices, random):
    ...         return torch.from_numpy(indices).float()[:, None] / 64
    ...     def loss(self, model, x):
    ...         return ((model(x) - 3 * x) ** 2).sum(), torch.tensor(len(x))
    ...     def evaluate(self, model):
    ...         return {"loss": float((model.weight - 3) ** 2)}
    >>> settings = TrainingSettings(Optimizer(lr=0.1), Batches(tokens_per_step=16), Budget(epochs=40))
    >>> result = train(nn.Linear(1, 1, bias=False), Slope(), settings)
    >>> result.stopped_by, result.figures["loss"] < 0.01
    ('budget', True)
    """
    with ExitStack() as stack:
        processes = stack.enter_context(group(settings.machine.device))
        stack.enter_context(preserved())
        fp32 = settings.machine.fp32
        stack.enter_context(use_backend(asked_for(), fp32=None if fp32 == "auto" else fp32))
        heard = tuple(listeners) if processes.first else ()
        run = _Run(model, objective, settings, processes, folder, heard, about=about or {})
        stack.enter_context(run.store.locked())
        signals = stack.enter_context(Signals())
        return run.whole(signals)


class _Run:
    """One run on one process."""

    def __init__(
        self,
        model: nn.Module,
        objective: Objective,
        settings: TrainingSettings,
        processes: Group,
        folder: Path | None,
        listeners: Sequence[Listener],
        *,
        about: Mapping[str, Any],
    ) -> None:
        self.settings, self.objective, self.processes, self.listeners = settings, objective, processes, listeners
        if settings.batches.tokens_per_step is None:
            raise ArgumentError("tokens_per_step is None: only a task has a rule for it; give a number.")
        self.order = DataOrder(objective.lengths, settings.batches.tokens_per_step, settings.batches.seed)
        check_lengths(self.order.lengths, settings.batches.tokens_at_once)
        self.metric, self.goal = _watched(settings.evaluation)
        self.total = total_steps(settings.budget, self.order.steps_per_epoch)
        self.model = model
        machine = settings.machine
        self.wrapped = Wrapped(model, objective.loss, processes, shard=machine.shard, compiled=machine.compile)
        self.optimizer = make_optimizer(self.wrapped.model, settings.optimizer)
        self.store = Store(
            folder, self.wrapped.model, self.optimizer, processes, settings, self.order.fingerprint(), self.tell, about
        )
        self.half = half_precision(machine.precision, processes.device)
        self.progress = Progress()
        self._failure: Exception | None = None

    def tell(self, event: Event) -> None:
        """Call every listener; an error is kept until the next exchange, so that every process ends with it."""
        try:
            for listener in self.listeners:
                listener(event)
        except Exception as error:
            if self.processes.size == 1:
                raise
            self._failure = self._failure or error

    def whole(self, signals: Signals) -> TrainingResult:
        """Train from the newest checkpoint, or from the start, to the end."""
        self.optimizer.zero_grad(set_to_none=True)  # the caller may have left gradients
        self.progress = self.store.resume()
        learning = sum(weight.numel() for weight in self.model.parameters() if weight.requires_grad)
        self.tell(
            Started(
                self.progress.step,
                self.total,
                self.order.steps_per_epoch,
                len(self.order.lengths),
                learning,
                self.processes.size,
            )
        )
        stopped = self._steps(signals)
        if self.progress.saved_step != self.progress.step:
            self._save()
        if stopped in ("budget", "patience"):
            self.store.take_best(self.progress)
        self.store.hand_back(self.model)
        best = self.progress.best_step
        self.tell(Ended(self.progress.step, stopped, best))
        self.processes.first_does(self._raise_failure)
        self.model.eval()
        return TrainingResult(
            step=self.progress.step,
            seconds=self.progress.seconds,
            stopped_by=stopped,
            best_step=best,
            figures=self.progress.best_figures,
            epochs=self.progress.step / self.order.steps_per_epoch,
            writes=self.processes.first,
        )

    def _steps(self, signals: Signals) -> StoppedBy:
        """Run steps until the budget, patience or a signal ends training."""
        clock = _Clock(self.progress.seconds)
        patience, checkpoints = self.settings.evaluation.patience, self.settings.checkpoints
        saved_at = self.progress.seconds
        while self.progress.owed or not self._over():
            signal = None
            if not self.progress.owed:
                if patience is not None and self.progress.stale >= patience and self._may_stop():
                    return "patience"
                signal = self._step(clock, signals)
                self.progress.owed = self._evaluation_due()
            if self.progress.owed:
                clock.pause()
                best, broken_off = self._evaluate(signals)
                clock.resume()
                signal = signal or broken_off
                self.progress.seconds = self.processes.broadcast(clock.seconds())
                if broken_off is None:
                    self.progress.owed, self.progress.saved_step = False, None
                    if best or self.store.folder is None:
                        self._keep(best)
                        saved_at = self.progress.seconds
            due = checkpoints.save_every and self.progress.step % checkpoints.save_every == 0
            late = checkpoints.save_minutes and self.progress.seconds - saved_at >= 60 * checkpoints.save_minutes
            if (due or late or signal) and self.progress.saved_step != self.progress.step:
                self._save()
                saved_at = self.progress.seconds
            if signal:
                return signal
        return "budget"

    def _may_stop(self) -> bool:
        unfinished = self.progress.best_figures.get(UNFINISHED, 0.0) > 0
        return self._used(self.progress.step) >= (EARLIEST_UNFINISHED if unfinished else EARLIEST)

    def _over(self) -> bool:
        minutes = self.settings.budget.minutes
        by_clock = minutes is not None and self.progress.seconds >= 60 * minutes
        return by_clock or (self.total is not None and self.progress.step >= self.total)

    def _used(self, step: float) -> float:
        """Return the share of the budget that is used after this many steps."""
        return progress(step, self.total, self.progress.seconds, self.settings.budget.minutes)

    def _step(self, clock: _Clock, signals: Signals) -> StoppedBy | None:
        """Run one step; return the number of a signal that any process received."""
        number, processes = self.progress.step, self.processes
        lr = learning_rate(self._used(number + 0.5), self.settings.optimizer)
        for part in self.optimizer.param_groups:
            part["lr"] = lr * part["lr_share"]
        loss, count = self._passes(number)
        failed = float(self._failure is not None)
        shared = processes.all_gather([loss, count, clock.seconds(), float(signals.received), failed])
        if shared[0, 4]:
            processes.first_does(self._raise_failure)
        loss, count = float(shared[:, 0].sum()), float(shared[:, 1].sum())
        weights = self.wrapped.model.parameters()
        # A step may have no token to predict (a language model on single tokens, say): its gradients are 0.
        norm = average_and_clip(weights, processes.size / max(count, 1.0), self.settings.optimizer.clip)
        if not math.isfinite(loss) or not math.isfinite(norm):
            what = "loss" if not math.isfinite(loss) else "norm of the gradients"
            raise DivergedError(
                f"The {what} of step {number + 1} is {loss if what == 'loss' else norm}; nothing was learnt from that "
                "step and the checkpoints before it are whole. Lower the learning rate, lengthen the warm-up, or look "
                "for inputs that are not finite."
            )
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        done = number + 1
        tokens = int(self.order.lengths[self.order.examples(number)].sum())
        self.progress.step, self.progress.seconds = done, float(shared[0, 2])
        self.tell(
            Stepped(
                step=done,
                epoch=done / self.order.steps_per_epoch,
                loss=loss / max(count, 1.0),
                norm=norm,
                lr=lr,
                tokens=tokens,
                seconds=self.progress.seconds,
                tokens_per_second=clock.speed(tokens),
                seconds_left=clock.left(self._used(done)),
            )
        )
        return Signals.name(int(shared[:, 3].max()))

    def _passes(self, step: int) -> tuple[float, float]:
        """Run this process's forward and backward passes of a step; return the sums of loss and count."""
        processes, batches = self.processes, self.settings.batches
        window = self.order.examples(step)
        parts = split(window, self.order.lengths, batches.tokens_at_once, processes.size)
        own = range(processes.rank, len(parts), processes.size)
        loss = count = 0.0
        self.wrapped.model.train()
        for part in own:
            with self.wrapped.gathers(last=part == own[-1]):
                some, tokens = self._pass(step, part, parts[part], spare=window)
            loss, count = loss + some, count + tokens
        return loss, count

    def _pass(self, step: int, part: int, indices: NDArray[np.int64], spare: NDArray[np.int64]) -> tuple[float, float]:
        """Do one forward and backward pass.

        A rank without examples runs a dummy batch at zero loss, to keep collectives in step.
        """
        random = np.random.default_rng([self.settings.batches.seed, step, part])
        batch = moved(self.objective.batch(indices if len(indices) else spare[:1], random), self.processes.device)
        start_stream(self.settings.batches.seed, step, part)
        with torch.autocast(self.processes.device.type, torch.bfloat16, enabled=self.half):
            loss, count = self.wrapped.call(batch)
        if not len(indices):
            (loss * 0.0).backward()
            return 0.0, 0.0
        loss.backward()
        return float(loss.detach()), float(count)

    def _evaluation_due(self) -> bool:
        every = self.settings.evaluation.evaluate_every or self.order.steps_per_epoch
        return self.progress.step % every == 0 or self._over()

    def _evaluate(self, signals: Signals) -> tuple[bool, StoppedBy | None]:
        """Evaluate the model; return whether it is the best so far, and the signal that broke the evaluation off."""
        self.store.hand_back(self.model)  # a sharded model is evaluated unsharded
        figures, number = self.processes.first_does(lambda: self._figures(signals))
        if number:
            return False, Signals.name(number)
        if self.metric not in figures:
            raise ArgumentError(
                f"The metric {self.metric!r} is not among what the evaluation returned: "
                f"{', '.join(figures) or 'nothing'}.{nearest(self.metric, figures)}"
            )
        best = self.progress.judge(figures, self.metric, self.goal)
        self.tell(Evaluated(self.progress.step, self.progress.step / self.order.steps_per_epoch, figures, best))
        return best, None

    def _figures(self, signals: Signals) -> tuple[dict[str, float], int]:
        """Return the figures; where a signal breaks the evaluation off, none and its number."""
        self.model.eval()
        try:
            with signals.breaking_off(), preserved(), torch.no_grad():
                return {name: float(value) for name, value in self.objective.evaluate(self.model).items()}, 0
        except Interrupted:
            return {}, signals.received

    def _raise_failure(self) -> None:
        """Raise the error of a listener, if there was one."""
        if self._failure is not None:
            raise self._failure

    def _keep(self, best: bool) -> None:
        if self.store.folder is not None:
            self._save()
        elif best:
            self.store.remember()

    def _save(self) -> None:
        self.store.save(self.progress)


class _Clock:
    """Seconds of a run, summed over resumptions, and the speed of its last steps."""

    def __init__(self, before: float) -> None:
        self._start = time.monotonic() - before
        self._last = self._paused = time.monotonic()
        self._share: tuple[float, float] | None = None
        self._speed = 0.0

    def seconds(self) -> float:
        return time.monotonic() - self._start

    def pause(self) -> None:
        self._paused = time.monotonic()

    def resume(self) -> None:
        self._last += time.monotonic() - self._paused

    def speed(self, tokens: float) -> float:
        """Return tokens per second, smoothed over about ten steps."""
        now = time.monotonic()
        latest = tokens / max(now - self._last, 1e-9)
        self._last = now
        self._speed = latest if not self._speed else 0.9 * self._speed + 0.1 * latest
        return self._speed

    def left(self, share: float) -> float:
        """Estimate the seconds that remain after a share of the budget, from the speed since the last resumption."""
        now = time.monotonic()
        if self._share is None or share <= self._share[0]:
            self._share = self._share or (share, now)
            return math.nan if share < 1 else 0.0
        first, since = self._share
        return (now - since) / (share - first) * (1 - share)


def _watched(judge: Evaluation) -> tuple[str, str]:
    """Return the metric, and whether its `min` or `max` is best."""
    if judge.metric is None:
        return "loss", judge.goal or "min"
    if judge.goal is None:
        raise ArgumentError(f"metric is {judge.metric!r} without a goal; say whether 'min' or 'max' of it is best.")
    return judge.metric, judge.goal


def moved(batch: Any, device: torch.device) -> Any:
    """Return a batch on a device: tensors, alone or in tuples, lists, dicts and dataclasses."""
    if isinstance(batch, Tensor):
        return batch.to(device)
    if isinstance(batch, dict):
        return {name: moved(value, device) for name, value in batch.items()}
    if dataclasses.is_dataclass(batch) and not isinstance(batch, type):
        fields = [field.name for field in dataclasses.fields(batch) if field.init]
        return dataclasses.replace(batch, **{name: moved(getattr(batch, name), device) for name in fields})
    if isinstance(batch, tuple) and hasattr(batch, "_make"):  # a named tuple is built from its fields
        return batch._make(moved(value, device) for value in batch)
    if isinstance(batch, tuple | list):
        return type(batch)(moved(value, device) for value in batch)
    return batch
