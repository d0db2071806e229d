"""Where a run keeps itself: how far it is, its weights, its optimizer, and the best of them."""

from __future__ import annotations

import dataclasses
import fcntl
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from . import state
from .checkpoint import Checkpoint, CheckpointError, Checkpoints, write_state
from .distributed import Group
from .events import Event, Saved, SkippedCheckpoint
from .settings import Evaluation, TrainingSettings, differences


@dataclass
class Progress:
    """How far a run is."""

    step: int = 0
    seconds: float = 0.0
    stale: int = 0
    """Evaluations in a row that were no better than the best."""
    best_step: int | None = None
    best_figures: dict[str, float] = field(default_factory=dict)
    saved_step: int | None = None

    def judge(self, figures: Mapping[str, float], by: Evaluation) -> bool:
        """Note an evaluation of this step; return whether it is the best."""
        value, best = figures[by.metric], self.best_figures.get(by.metric)
        better = best is None or (value > best if by.goal == "max" else value < best)
        if better:
            self.best_step, self.best_figures, self.stale = self.step, dict(figures), 0
        else:
            self.stale += 1
        return better


class Store:
    """A run's folder, or its memory where it has none."""

    def __init__(
        self,
        folder: Path | None,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        processes: Group,
        settings: TrainingSettings,
        data: str,
        tell: Callable[[Event], None],
    ) -> None:
        self.folder = folder
        self._checkpoints = None if folder is None else Checkpoints(folder)
        self._model, self._optimizer, self._processes = model, optimizer, processes
        self._settings, self._data, self._tell = settings, data, tell
        self._sharded = settings.machine.shard
        self._remembered: dict[str, Tensor] | None = None

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep any other run out of the folder."""
        if self.folder is None or not self._processes.first:
            yield
            return
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            file = (self.folder / ".lock").open("w")
        except OSError as error:
            raise CheckpointError(f"The folder {self.folder} cannot be written: {error}. Give another.") from error
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise CheckpointError(
                    f"Another process trains in {self.folder}; wait for it, or take another."
                ) from None
            yield

    def resume(self) -> Progress:
        """Give model and optimizer the newest whole checkpoint's state, and return how far it was."""
        if self._checkpoints is None:
            return Progress()
        found = self._checkpoints.newest(self._skip) if self._processes.first else None
        step = self._processes.told(None if found is None else found.step)
        if step is None:
            return Progress()
        checkpoint = found or self._checkpoints.read(step)
        self._check(checkpoint)
        state.restore(checkpoint, self._model, self._optimizer, sharded=self._sharded)
        return Progress(**checkpoint.state["progress"], saved_step=step)

    def save(self, progress: Progress) -> None:
        """Write a checkpoint; the first process alone unless the model is shared out."""
        if self._checkpoints is None or not (self._processes.first or self._sharded):
            return
        if self._sharded:
            self._save_together(self._checkpoints, progress)
        else:
            with self._checkpoints.writing(progress.step) as folder:
                state.save(folder, self._model, self._optimizer, sharded=False, first=True)
                write_state(folder, self._state(progress))
        progress.saved_step = progress.step
        if self._processes.first:
            self._checkpoints.clean(self._settings.checkpoints.keep, progress.best_step)
            self._tell(Saved(progress.step, self._checkpoints.path(progress.step)))

    def _save_together(self, checkpoints: Checkpoints, progress: Progress) -> None:
        """Write a checkpoint that every process has a share of; the first makes and finishes the folder."""
        path = checkpoints.unfinished(progress.step)
        if self._processes.first:
            with checkpoints.writing(progress.step) as folder:
                self._processes.wait()
                state.save(folder, self._model, self._optimizer, sharded=True, first=True)
                write_state(folder, self._state(progress))
        else:
            self._processes.wait()
            state.save(path, self._model, self._optimizer, sharded=True, first=False)
        self._processes.wait()

    def remember(self) -> None:
        """Keep the weights of this moment, the best so far, in memory."""
        self._remembered = {name: tensor.clone() for name, tensor in state.weights(self._model).items()}

    def take_best(self, progress: Progress) -> None:
        """Give the model the best weights that were found."""
        if progress.best_step is None or progress.best_step == progress.step:
            return
        if self._remembered is not None:
            with torch.no_grad():
                for name, tensor in state.weights(self._model).items():
                    tensor.copy_(self._remembered[name])
        elif self._checkpoints is not None:
            self._processes.wait()
            state.restore(self._checkpoints.read(progress.best_step), self._model, None, sharded=self._sharded)

    def hand_back(self, model: nn.Module) -> None:
        """Give the caller's model the weights, where a copy of it was trained."""
        if model is not self._model:
            model.to(self._processes.device)
            state.give(model, state.whole(self._model))

    def _state(self, progress: Progress) -> dict[str, Any]:
        so_far = dataclasses.asdict(progress)
        del so_far["saved_step"]
        return {
            "step": progress.step,
            "progress": so_far,
            "settings": self._settings.to_dict(),
            "data": self._data,
            "sharded": self._sharded,
        }

    def _check(self, checkpoint: Checkpoint) -> None:
        """Raise unless a checkpoint is of this run."""
        if checkpoint.state["data"] != self._data:
            raise CheckpointError(
                f"{self.folder} holds a run on other training data; give the data that it was begun with, or another "
                "folder."
            )
        changed = differences(checkpoint.state["settings"], self._settings.to_dict())
        if changed:
            raise CheckpointError(
                f"{self.folder} holds a run with other settings: {'; '.join(changed)}. "
                "Go on with those, or take another folder."
            )

    def _skip(self, path: Path, reason: str) -> None:
        warnings.warn(f"A checkpoint is passed over: {reason}", stacklevel=2)
        self._tell(SkippedCheckpoint(path, reason))
