"""`regard train TASK`: learn a task from the user's own files, and say what it is worth."""

from __future__ import annotations

import dataclasses
import inspect
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from ..tasks import TASKS, Evaluation, Task, TaskSettings
from ..training import CsvLog, CurvePicture, TensorBoardLog
from ._data import OPTIONS, read, remember
from ._progress import progress

__all__ = ["TRAIN", "Train", "fit_and_judge", "summary"]

EXIT = {"SIGINT": 130, "SIGTERM": 143}


@dataclass(frozen=True)
class Train:
    """Train on your own data; the figures of a cheap baseline stand beside the model's.

    The same command goes on where a run was stopped (Ctrl-C, SIGTERM, a crash). For several processes:
    torchrun --nproc-per-node N -m regard train ...

    Exit status: 0 done, 2 a mistake in what was given, 130 or 143 stopped by Ctrl-C or SIGTERM.
    """

    train: tuple[str, ...]
    """File or folder to learn from; two files that belong together; or a hub name, owner/name:split."""
    out: Path
    """Folder for checkpoints, log, curves and the trained task."""
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
        settings: TaskSettings = self.settings  # type: ignore[attr-defined]  # fields of each task's own command
        options: Any = self.reading  # type: ignore[attr-defined]
        task = next(task for task in TASKS.values() if type(settings) is task.Settings)(settings)
        examples, dev, test = (read(task.name, source, options) for source in (self.train, self.dev, self.test))
        status, evaluation = fit_and_judge(task, examples, dev, test, self.out, tensorboard=self.tensorboard)
        if evaluation is not None:
            remember(self.out, self.train, options)
            print(json.dumps(evaluation.to_dict()) if self.json else summary(evaluation, self.out))
        return status


def fit_and_judge(
    task: Task[Any, Any], examples: Any, dev: Any, test: Any, out: Path, *, tensorboard: bool = False
) -> tuple[int, Evaluation | None]:
    """Train a task into a folder and evaluate it; return the exit status, and figures if training ended by itself."""
    listeners: list[Any] = [progress(task.headline)]
    if int(os.environ.get("RANK", "0")) == 0:
        out.mkdir(parents=True, exist_ok=True)
        log = out / "log.csv"
        listeners += [CsvLog(log), CurvePicture(log, out / "curves.png", task.headline)]
        listeners += [TensorBoardLog(out / "tensorboard")] if tensorboard else []
    task.fit(examples, dev, folder=out, listeners=listeners)
    if not task.training_.finished:
        return EXIT[task.training_.stopped_by], None
    if not task.training_.writes:
        return 0, None
    judged = task.dev_ if test is None else test
    evaluation = dataclasses.replace(task.evaluate(judged), data="development" if test is None else "test")
    (out / "evaluation.json").write_text(json.dumps(evaluation.to_dict(), indent=1), encoding="utf-8")
    return 0, evaluation


def summary(evaluation: Evaluation, folder: Path) -> str:
    """Return what a person reads at the end."""
    lines = [str(evaluation)]
    if evaluation.better() is False:
        lines.append(
            "The model is no better than the baseline: use the baseline, or more data, epochs or another size."
        )
    return "\n".join(
        [
            *lines,
            f"Saved in {folder}: task.json, model/, log.csv, curves.png, evaluation.json.",
            f"Use it: regard predict {folder} ...",
        ]
    )


def _command(name: str) -> type[Train]:
    """Return the command of one task: `Train` with the task's own settings and ways of reading."""
    flat = tyro.conf.OmitArgPrefixes
    settings, options = TASKS[name].Settings, OPTIONS[name]
    made = dataclasses.make_dataclass(
        f"Train_{name}",
        [
            ("reading", Annotated[options, flat], dataclasses.field(default_factory=options)),
            ("settings", Annotated[settings, flat], dataclasses.field(default_factory=settings)),
        ],
        bases=(Train,),
        frozen=True,
    )
    made.__doc__ = f"{inspect.getdoc(TASKS[name])}\n\n{inspect.getdoc(Train)}"
    command: type[Train] = made
    return command


TRAIN = {name: _command(name) for name in TASKS}
"""The command of each task."""
