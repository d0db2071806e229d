"""`regard train TASK`: train a task on the user's own files, and evaluate it."""

from __future__ import annotations

import dataclasses
import inspect
import json
import os
import shlex
import sys
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from ..tasks import TASKS, Evaluation, ImageClassification, Task, TaskSettings
from ..training import CsvLog, CurvePicture, TensorBoardLog
from ._card import check_push, push, write_card
from ._data import OPTIONS, read, remember
from ._pace import Pace
from ._program import program
from ._progress import progress
from ._report import write_report

# What a run's folder holds besides task.json and the model, as the summary names it.
FILES = ("baseline", "log.csv", "curves.png", "evaluation.json", "report.txt", "report.html")
EXIT = {"SIGINT": 130, "SIGTERM": 143}


@dataclass(frozen=True)
class Train:
    """Train on your own data; the model's figures are compared with those of a cheap baseline.

    The same command resumes a run that was stopped (Ctrl-C, SIGTERM, a crash). For several processes:
    torchrun --nproc-per-node N -m regard train ...

    Exit status: 0 done, 2 wrong arguments or input, 130 or 143 stopped by Ctrl-C or SIGTERM.
    """

    train: tuple[str, ...]
    """File or folder to train on; two files that belong together; or a hub name, owner/name:split."""
    out: Path
    """Folder for checkpoints, log, curves and the trained task."""
    dev: tuple[str, ...] = ()
    """Development data, to select the best checkpoint; unless given, a share of the training data is set aside."""
    test: tuple[str, ...] = ()
    """Test data, evaluated at the end; unless given, the development data is evaluated."""
    start: Annotated[str | None, tyro.conf.arg(name="from")] = None
    """Start from a pretrained model: a folder of a Hugging Face checkpoint, a name on its hub, or a run. Its settings,
    which replace the sizes here: --from MODEL --help."""
    push: str | None = None
    """Upload the finished run to this repository of the Hugging Face hub, owner/name, which is created if necessary."""
    tensorboard: bool = False
    """Also write logs for TensorBoard."""
    json: bool = False
    """Print one JSON object at the end, for scripts."""

    def run(self) -> int:
        """Train, evaluate, and print where the results are."""
        settings: TaskSettings = self.settings  # type: ignore[attr-defined]  # fields of each task's own command
        options: Any = self.reading  # type: ignore[attr-defined]
        task = next(one for one in TASKS.values() if isinstance(settings, one.Settings | one.FineTuning))(settings)
        if self.push is not None:
            check_push(self.push)
        parts = {"training": self.train, "development": self.dev, "test": self.test}
        examples, dev, test = read(task.name, parts, options, self.out)
        status, evaluation = fit_and_judge(task, examples, dev, test, self.out, tensorboard=self.tensorboard)
        if evaluation is not None:
            remember(self.out, self.train, options)
            write_card(task, evaluation, self.out, self.train)
            print(json.dumps(evaluation.to_dict()) if self.json else summary(task, evaluation, self.out))
            if self.push is not None:
                print(f"Uploaded: {push(self.out, self.push)}", file=sys.stderr)
        return status


def fit_and_judge(
    task: Task[Any, Any], examples: Any, dev: Any, test: Any, out: Path, *, tensorboard: bool = False
) -> tuple[int, Evaluation | None]:
    """Train a task in a folder and evaluate it; return the exit status, and figures if training ended by itself."""
    with closing(progress(task.watched)) as shown:
        listeners: list[Any] = [shown, Pace(task)]
        if int(os.environ.get("RANK", "0")) == 0:
            out.mkdir(parents=True, exist_ok=True)
            log = out / "log.csv"
            listeners += [CsvLog(log), CurvePicture(log, out / "curves.png", task.watched)]
            listeners += [TensorBoardLog(out / "tensorboard")] if tensorboard else []
        task.fit(examples, dev, folder=out, listeners=listeners)
        if not task.training_.finished:
            return EXIT[task.training_.stopped_by], None
        if not task.training_.writes:
            return 0, None
        judged = task.dev_ if test is None else test
        evaluation = dataclasses.replace(task.evaluate(judged), data="development" if test is None else "test")
        write_report(task, judged, evaluation, out, looks=task.settings.only != "baseline")
        return 0, evaluation


def summary(task: Task[Any, Any], evaluation: Evaluation, folder: Path, again: str = "") -> str:
    """Return the summary for the user; `again` is the command to resume if the minutes were too few."""
    lines = [str(evaluation), *evaluation.report.lines(brief=True)]
    if evaluation.uses == "model" and evaluation.better() is False:
        lines.append(f"The model is no better than the baseline: {_remedy(task, again)}")
    given = "FILE" if isinstance(task, ImageClassification) else '"..."'
    use = f"{program()} predict {shlex.quote(str(folder))} {given}"
    keeps = [task.files] if task.settings.only != "baseline" else []
    keeps += [name for name in FILES if (folder / name).exists()]
    lines += [f"Saved in {folder}: task.json, {', '.join(keeps)}.", f"Use it: {use}"]
    if task.settings.only != "baseline":
        lines.append(f"See what it attends to: {use} --open")
    said = task.choice_.said(task.watched, evaluation.baseline_name)
    if said:
        keep = "" if task.choice_.name == "model" else " `--only model` keeps the transformer alone."
        lines.append(said + keep)
    lines += [line for line in (task.settled_said(), _unused(task)) if line]
    if task.choice_.name == "baseline" and task.settings.only is None:
        lines.append(f"To do better with the transformer: {_remedy(task, again)}")
    return "\n".join(lines)


def _unused(task: Task[Any, Any]) -> str:
    """Say that the epochs ended training long before the minutes did; empty if they did not."""
    done, budget = task.training_, task.settings.training.budget
    if budget.minutes is None or not isinstance(budget.epochs, int | float) or done.stopped_by != "budget":
        return ""
    if task.settings.only == "baseline" or done.epochs < 0.99 * budget.epochs or done.seconds > 48 * budget.minutes:
        return ""
    return (
        f"The {budget.epochs:g} epochs took {done.seconds / 60:.2g} of the {budget.minutes:g} minutes; more of them "
        "may do better: --epochs N."
    )


def _remedy(task: Task[Any, Any], again: str) -> str:
    done, minutes = task.training_, task.settings.training.budget.minutes
    if minutes is None or done.seconds < 60 * minutes:
        return "more data, epochs or another size, or a pretrained model."
    again = again or f"the same command with more, --minutes {2 * minutes:g} say, goes on from here."
    return f"only {done.step:,} steps ({done.epochs:.2g} epochs) fitted into {minutes:g} minutes; {again}"


def _offered(task: type[Task[Any, Any]], known: TaskSettings) -> type[TaskSettings]:
    """Return a task's settings with its figures as choices of metric, and without the goal, which a figure implies."""
    say = tyro.conf.arg(help="The figure that says which checkpoint is best.")
    figures = Annotated[Literal[tuple(task.figures)], say]  # type: ignore[valid-type]
    hidden = Annotated[Literal["min", "max"] | None, tyro.conf.Suppress]
    judge = _changed(known.training.evaluation, metric=(figures, task.headline), goal=(hidden, None))
    training = _changed(known.training, evaluation=(type(judge), judge))
    start = {"model": (Annotated[str, tyro.conf.arg(name="from")], dataclasses.MISSING)}
    fields = {"training": (type(training), training), **(start if hasattr(known, "model") else {})}
    offered: type[TaskSettings] = type(_changed(known, **fields))
    return offered


def _changed(known: Any, **fields: tuple[Any, Any]) -> Any:
    """Return settings of a derived class, in which some fields have another type and default."""
    made = dataclasses.make_dataclass(
        type(known).__name__,
        [(name, kind, dataclasses.field(default=one)) for name, (kind, one) in fields.items()],
        bases=(type(known),),
        frozen=True,
        kw_only=True,
        namespace={"__doc__": type(known).__doc__},
    )
    rest = {one.name: getattr(known, one.name) for one in dataclasses.fields(known) if one.name not in fields}
    missing = {name: getattr(known, name) for name, (_, one) in fields.items() if one is dataclasses.MISSING}
    return made(**rest, **missing)


def _command(name: str) -> type[Train]:
    """Return the command of one task: `Train` with the task's settings and reader's options."""
    task, options = TASKS[name], OPTIONS[name]
    plain = _made(f"Train_{name}", task, options, _offered(task, task.Settings()))
    tuned = _made(f"Tune_{name}", task.fine_tuned or task, options, _offered(task, task.FineTuning(model="-")))  # type: ignore[call-arg]

    def chosen(words: Sequence[str]) -> type[Train]:
        """Return the command for these words: with --from it has the settings of fine-tuning."""
        return tuned if any(word.partition("=")[0] == "--from" for word in words) else plain

    plain.chosen = staticmethod(chosen)  # type: ignore[attr-defined]
    return plain


def _made(name: str, task: type[Task[Any, Any]], options: Any, settings: type[TaskSettings]) -> type[Train]:
    flat = tyro.conf.OmitArgPrefixes
    fields: list[Any] = [("reading", Annotated[options, flat], dataclasses.field(default_factory=options))]
    if hasattr(settings, "model") or "model" in settings.__dataclass_fields__:
        fields += [("settings", Annotated[settings, flat], dataclasses.field(kw_only=True))]
        fields += [("start", Annotated[None, tyro.conf.Suppress], dataclasses.field(default=None))]
    else:
        fields += [("settings", Annotated[settings, flat], dataclasses.field(default_factory=settings))]
    made = dataclasses.make_dataclass(name, fields, bases=(Train,), frozen=True)
    made.__doc__ = f"{inspect.getdoc(task)}\n\n{inspect.getdoc(Train)}"
    command: type[Train] = made
    return command


TRAIN = {name: _command(name) for name in TASKS}
"""The command of each task."""
