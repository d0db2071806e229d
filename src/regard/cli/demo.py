"""`regard demo [TASK]`: train a task on data that every machine has, and show its attention."""

from __future__ import annotations

import dataclasses
import hashlib
import inspect
import json
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import corpora
from ..corpora import Split
from ..tasks import (
    ImageClassification,
    LanguageModeling,
    NamedEntities,
    Sentiment,
    Summarization,
    Task,
    TaskSettings,
    Translation,
)
from ..training import Budget
from ._data import OPTIONS, read
from ._looking import open_page
from ._report import PAGE
from .predict import describe, legend
from .train import fit_and_judge, summary


@dataclass(frozen=True)
class Plan:
    """The data and the settings of a demo."""

    task: type[Task[Any, Any]]
    data: Callable[[], Split[Any]]
    minutes: float
    tested: int | None = None
    """Default number of test examples; generating texts is slow."""
    pace: dict[str, Any] = dataclasses.field(default_factory=dict)
    """Changed settings because a demo is short, for any data."""
    fit: dict[str, Any] = dataclasses.field(default_factory=dict)
    """Changed settings for the demo's data; the user's own data is trained with the task's settings."""

    def settings(self, minutes: float, own_data: bool = False) -> TaskSettings:
        """Return the task's settings with the demo's changes and a limit of time."""
        settings = dataclasses.replace(self.task.Settings(), **self.pace, **({} if own_data else self.fit))
        evaluation = dataclasses.replace(settings.training.evaluation, patience=None, evaluate_every=500)
        training = dataclasses.replace(
            settings.training, budget=Budget(epochs=None, minutes=minutes), evaluation=evaluation
        )
        return dataclasses.replace(settings, training=training)


PLANS = {
    # An argument is recognised by its declaration: `repeats` leads there, and replacing one of its mentions by
    # another name would teach nothing. Four epochs do without dropout, whose random numbers would cost a third of the
    # steps; hidden words do its work.
    "ner": Plan(
        NamedEntities,
        corpora.code_entities,
        1.9,
        fit={"swap_entities": 0.0, "dropout": 0.0, "hide_words": 0.4, "repeats": True},
    ),
    "sentiment": Plan(Sentiment, corpora.opinions, 0.5),
    "summarization": Plan(Summarization, corpora.code_summaries, 4.0, 300, {"dev_limit": 50, "beams": 1}),
    "translation": Plan(
        Translation,
        corpora.dates,
        1.0,
        500,
        {"beams": 1, "dev_limit": 100},
        {"tokenizer": "characters", "max_target": 16},
    ),
    "language_modeling": Plan(LanguageModeling, corpora.code_text, 3.0, fit={"tokenizer": "bytes"}),
    "image_classification": Plan(ImageClassification, corpora.digits, 0.7),
}


@dataclass(frozen=True)
class Demo:
    """Train on data that this machine already has, or on your own, and write a report that shows the attention.

    The same command resumes where it was stopped.
    """

    out: Path | None = None
    """Folder for the run and its report; by default build/demo/TASK, for data of your own with the file's name and
    digest appended."""
    data: tuple[str, ...] = ()
    """Train on your own file or folder instead, split into parts for training and testing."""
    minutes: float | None = None
    """Minutes of training; the default depends on the task."""
    limit: int | None = None
    """Number of test examples; the default depends on the task."""
    open: bool = True
    """Open the page of the attention in the browser, if this runs in a terminal."""
    json: bool = False
    """Print one JSON object at the end, for scripts."""

    def run(self) -> int:
        """Train, show, write the report."""
        name = type(self).__name__.removeprefix("Demo_")
        plan = PLANS[name]
        out = self.out or Path("build") / "demo" / (name if not self.data else f"{name}-{_mark(self.data)}")
        split = self._split(plan)
        print(split.description, file=sys.stderr)
        task = plan.task(plan.settings(self.minutes or plan.minutes, own_data=bool(self.data)))
        limit = self.limit or plan.tested
        test = split.test if limit is None or name == "image_classification" else split.test[:limit]
        shorter = self.minutes is not None and self.minutes < plan.minutes
        again = f"the demo again, without --minutes, goes on from here to {plan.minutes:g}." if shorter else ""
        status, evaluation = fit_and_judge(task, split.train, split.dev, test, out)
        if evaluation is None:
            return status
        report = out / "report.html"
        if self.json:
            print(json.dumps({**evaluation.to_dict(), "report": str(report), "page": str(out / PAGE)}))
            return 0
        print("", *describe(task, test, 3, colour=sys.stdout.isatty()), legend(task, test, 3), "", sep="\n")
        print(summary(task, evaluation, out, again))
        print(f"The report: {report}\nWhat it attends to: {out / PAGE}")
        if self.open and sys.stdout.isatty():
            open_page(out / PAGE)
        return 0

    def _split(self, plan: Plan) -> Split[Any]:
        """Return the demo's data, or the user's own, split by a digest of each example."""
        if not self.data:
            return plan.data()
        task = plan.task()
        (examples,) = read(task.name, {"training": self.data}, OPTIONS[task.name]())
        rest, test = task.set_aside(examples, "test")
        train, dev = task.set_aside(rest)
        parts = f"{len(train):,} / {len(dev):,} / {len(test):,} examples to train, develop and test on"
        return Split(train, dev, test, f"{', '.join(self.data)}: {parts}.")


def _mark(data: tuple[str, ...]) -> str:
    """Return a name for a run on the user's own data: the file's name and a digest of its contents."""
    digest = hashlib.sha256()
    for source in data:
        path = Path(source)
        files = sorted(path.rglob("*")) if path.is_dir() else [path]
        digest.update(b"" if path.exists() else source.encode())  # a name on the hub
        for file in files:
            if file.is_file():
                digest.update(f"{file.relative_to(path)}\0{file.stat().st_size}\0".encode())
                digest.update(file.read_bytes() if path.is_file() else b"")
    stem = re.sub(r"[^\w.-]+", "-", Path(data[0]).stem).strip("-.") or "data"
    return f"{stem}-{digest.hexdigest()[:8]}"


def _command(name: str) -> type[Demo]:
    made = dataclasses.make_dataclass(f"Demo_{name}", [], bases=(Demo,), frozen=True)
    made.__doc__ = f"{inspect.getdoc(PLANS[name].task)}\n\n{inspect.getdoc(Demo)}"
    command: type[Demo] = made
    return command


DEMO = {name: _command(name) for name in PLANS}
"""The demo of each task."""
