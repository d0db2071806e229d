"""Where a run is stored: its progress, its weights, its optimizer, and the best weights."""

from __future__ import annotations

import dataclasses
import math
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor, nn

from . import state
from .checkpoint import Checkpoint, CheckpointError, Checkpoints, write_state
from .distributed import Group
from .events import Event, Saved, SkippedCheckpoint
from .settings import TrainingSettings, changes, differences


@dataclass
class Progress:
    """The progress of a run."""

    step: int = 0
    seconds: float = 0.0
    stale: int = 0
    """Number of evaluations in a row without a new best."""
    best_step: int | None = None
    best_figures: dict[str, float] = field(default_factory=dict)
    saved_step: int | None = None
    owed: bool = False
    """Whether a signal broke off the evaluation at this step, which is made before the next."""

    def judge(self, figures: Mapping[str, float], metric: str, goal: str) -> bool:
        """Record an evaluation at this step; return whether it is the best so far."""
        value, best = figures[metric], self.best_figures.get(metric)
        better = not math.isnan(value) and (best is None or (value > best if goal == "max" else value < best))
        if better:
            self.best_step, self.best_figures, self.stale = self.step, dict(figures), 0
        else:
            self.stale += 1
        return better


class Store:
    """A run's folder, or its memory if it has none."""

    def __init__(
        self,
        folder: Path | None,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        processes: Group,
        settings: TrainingSettings,
        data: str,
        tell: Callable[[Event], None],
        about: Mapping[str, Any],
    ) -> None:
        self.folder = folder
        self._checkpoints = None if folder is None else Checkpoints(folder)
        self._model, self._optimizer, self._processes = model, optimizer, processes
        self._settings, self._data, self._about, self._tell = settings, data, about, tell
        self._sharded = settings.machine.shard
        self._remembered: dict[str, Tensor] | None = None

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Lock the folder against other runs."""
        if self.folder is None:
            yield
            return
        with ExitStack() as held:
            self._processes.first_does(lambda: self._lock(held))
            yield

    def _lock(self, held: ExitStack) -> None:
        folder = self._checkpoints_in_folder().folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
            file = held.enter_context((folder / ".lock").open("w"))
        except OSError as error:
            raise CheckpointError(f"The folder {folder} cannot be written: {error}. Give another.") from error
        try:
            _lock_file(file)
        except OSError:
            raise CheckpointError(f"Another process trains in {folder}; wait for it, or take another.") from None

    def resume(self) -> Progress:
        """Load the newest complete checkpoint into model and optimizer, and return its progress."""
        if self._checkpoints is None:
            return Progress()
        found = self._processes.first_does(self._newest)
        if found is None:
            return Progress()
        self._check(found)
        try:
            self._restore(found, self._optimizer)
        except CheckpointError as error:
            before = found.state.get("about", {})
            changed = changes(before, {name: value for name, value in self._about.items() if name in before})
            if not changed:
                raise
            raise CheckpointError(
                f"{self.folder} holds a run of another model: {'; '.join(changed)}. "
                "Go on with that, or take another folder (--out FOLDER)."
            ) from error
        return Progress(**found.state["progress"], saved_step=found.step)

    def save(self, progress: Progress) -> None:
        """Write a checkpoint; in the first process only, unless the model is sharded."""
        if self._checkpoints is None:
            return
        if self._sharded:
            self._save_together(self._checkpoints, progress)
        else:
            self._processes.first_does(lambda: self._save_alone(progress))
        progress.saved_step = progress.step
        if self._processes.first:
            self._checkpoints.clean(self._settings.checkpoints.keep, progress.best_step, progress.step)
            self._tell(Saved(progress.step, self._checkpoints.path(progress.step)))

    def _save_alone(self, progress: Progress) -> None:
        with self._checkpoints_in_folder().writing(progress.step) as folder:
            state.save(folder, self._model, self._optimizer, sharded=False, first=True)
            write_state(folder, self._state(progress))

    def _save_together(self, checkpoints: Checkpoints, progress: Progress) -> None:
        """Write a sharded checkpoint: each process its shard; the first creates and renames the folder."""
        with ExitStack() as writing:
            path = self._processes.first_does(lambda: writing.enter_context(checkpoints.writing(progress.step)))
            state.save(path, self._model, self._optimizer, sharded=True, first=self._processes.first)
            self._processes.first_does(lambda: write_state(path, self._state(progress)))
            self._processes.first_does(writing.close)

    def _checkpoints_in_folder(self) -> Checkpoints:
        if self._checkpoints is None:
            raise CheckpointError("This run has no folder to keep checkpoints in; give one.")
        return self._checkpoints

    def _newest(self) -> Checkpoint | None:
        """Return the newest complete checkpoint; if the best one is damaged, the record of the best is dropped."""
        checkpoints = self._checkpoints_in_folder()
        found = checkpoints.newest(self._skip)
        if found is None:
            return None
        so_far = found.state["progress"]
        best = so_far["best_step"]
        # A missing one was most often removed for a better one, which this run will find again.
        if best is None or best == found.step or not checkpoints.path(best).exists():
            return found
        try:
            checkpoints.read(best)
        except CheckpointError as error:
            self._skip(checkpoints.path(best), str(error))
            so_far.update(best_step=None, best_figures={}, stale=0)
        return found

    def _read_best(self, step: int) -> Checkpoint | None:
        checkpoints = self._checkpoints_in_folder()
        try:
            return checkpoints.read(step)
        except CheckpointError as error:
            self._skip(checkpoints.path(step), str(error))
            return None

    def _restore(self, checkpoint: Checkpoint, optimizer: torch.optim.Optimizer | None) -> None:
        """Load a checkpoint in every process; unless sharded, only the first needs access to the folder."""
        if self._sharded:
            state.restore(checkpoint, self._model, optimizer, sharded=True)
            return
        self._processes.first_does(lambda: state.restore(checkpoint, self._model, optimizer, sharded=False))
        self._processes.broadcast_tensors(state.weights(self._model).values())
        if optimizer is not None:
            self._processes.broadcast_tensors(state.optimizer_state(self._model, optimizer).values())

    def remember(self) -> None:
        """Keep the current weights, the best so far, in memory."""
        self._remembered = {name: tensor.clone() for name, tensor in state.weights(self._model).items()}

    def take_best(self, progress: Progress) -> None:
        """Load the best weights into the model; if their checkpoint is lost, the last ones stay."""
        if progress.best_step is None or progress.best_step == progress.step:
            return
        if self._remembered is not None:
            with torch.no_grad():
                for name, tensor in state.weights(self._model).items():
                    tensor.copy_(self._remembered[name])
        elif self._checkpoints is not None:
            step = progress.best_step
            best = self._processes.first_does(lambda: self._read_best(step))
            if best is None:
                progress.best_step, progress.best_figures = None, {}
            else:
                self._restore(best, None)

    def hand_back(self, model: nn.Module) -> None:
        """Copy the weights into the caller's model, if a copy of it was trained (sharding)."""
        if model is not self._model:
            model.to(self._processes.device)
            state.load_weights(model, state.full_weights(self._model))

    def _state(self, progress: Progress) -> dict[str, Any]:
        so_far = dataclasses.asdict(progress)
        del so_far["saved_step"]
        return {
            "step": progress.step,
            "progress": so_far,
            "settings": self._settings.to_dict(),
            "data": self._data,
            "about": dict(self._about),
            "sharded": self._sharded,
        }

    def _check(self, checkpoint: Checkpoint) -> None:
        """Raise unless a checkpoint belongs to this run."""
        if checkpoint.state["data"] != self._data:
            raise CheckpointError(
                f"{self.folder} holds a run on other training data; give the data that it was begun with, or another "
                "folder (--out FOLDER)."
            )
        changed = differences(checkpoint.state["settings"], self._settings.to_dict())
        if changed:
            raise CheckpointError(
                f"{self.folder} holds a run with other settings: {'; '.join(changed)}. "
                "Go on with those, or take another folder (--out FOLDER)."
            )

    def _skip(self, path: Path, reason: str) -> None:
        warnings.warn(f"A checkpoint is passed over: {reason}", stacklevel=2)
        self._tell(SkippedCheckpoint(path, reason))


def _lock_file(file: IO[str]) -> None:
    """Lock the file until it is closed; raises `OSError` if another process has locked it."""
    if sys.platform == "win32":
        import msvcrt

        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
    else:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
