"""`regard train TASK`: learn a task from the user's own files, and say what it is worth."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from ..tasks import TASKS, Evaluation, Task, TaskSettings
from ..training import CsvLog, CurvePicture
from ._data import Data, read, remember
from ._progress import progress

__all__ = ["TRAIN"]

Settings = TypeVar("Settings", bound=TaskSettings)

EXIT = {"SIGINT": 130, "SIGTERM": 143}


@dataclass(frozen=True)
class Train(Generic[Settings]):
    """Train on your own data; the figures of a cheap baseline stand beside the model's.

    The same command goes on where a run was stopped (Ctrl-C, SIGTERM, a crash). Start it with
    `torchrun --nproc-per-node N -m regard train ...` for several processes.
    Exit status: 0 done, 2 a mistake in what was given, 130 or 143 stopped by Ctrl-C or SIGTERM.
    """

    train: tuple[str, ...]
    """File or folder to learn from; a hub name; or two files of parallel lines."""
    out: Path
    """Folder for checkpoints, log, curves and the trained task."""
    data: Data
    """How the files are read."""
    settings: Settings
    """The model and how it is trained."""
    dev: tuple[str, ...] = ()
    """Decides which checkpoint is best; unless given, a share of the training data is set aside."""
    test: tuple[str, ...] = ()
    """Is evaluated at the end; unless given, the development data is."""
    tensorboard: bool = False
    """Also write logs for TensorBoard."""
    json: bool = False
    """Print one JSON object at the end, for scripts."""

    def run(self) -> int:
        """Train, evaluate, say where everything is."""
        kind = next(task for task in TASKS.values() if type(self.settings) is task.Settings)
        return train(kind(self.settings), self)


def train(task: Task[Any, Any], told: Train[Any]) -> int:
    """Train a task as the command line says."""
    examples, dev, test = (read(task.name, source, told.data) for source in (told.train, told.dev, told.test))
    listeners: list[Any] = [progress(task.headline)]
    if int(os.environ.get("RANK", "0")) == 0:
        told.out.mkdir(parents=True, exist_ok=True)
        log = told.out / "log.csv"
        listeners += [CsvLog(log), CurvePicture(log, told.out / "curves.png", task.headline)]
        if told.tensorboard:
            from ..training import TensorBoardLog

            listeners.append(TensorBoardLog(told.out / "tensorboard"))
    task.fit(examples, dev, folder=told.out, listeners=listeners)
    if not task.training_.finished:
        return EXIT[task.training_.stopped_by]
    if not task.training_.writes:
        return 0
    remember(told.out, told.train, told.data)
    judged = test if test is not None else task.dev_
    evaluation = task.evaluate(judged)
    (told.out / "evaluation.json").write_text(json.dumps(evaluation.to_dict(), indent=1), encoding="utf-8")
    print(json.dumps(evaluation.to_dict()) if told.json else summary(evaluation, told.out, "test" if told.test else "dev"))
    return 0


def summary(evaluation: Evaluation, folder: Path, data: str) -> str:
    """Return what a person reads at the end."""
    better = evaluation.better()
    verdict = "" if better is not False else (
        "\nThe model is no better than the baseline: more data, more epochs or another size may help; "
        "otherwise use the baseline."
    )
    return (
        f"{evaluation} [{data}]{verdict}\n"
        f"Saved in {folder}: the task (task.json, model/), log.csv, curves.png, evaluation.json.\n"
        f"Use it: regard predict {folder} ..."
    )


TRAIN = {name: Train[task.Settings] for name, task in TASKS.items()}  # type: ignore[name-defined]
"""The command of each task."""
