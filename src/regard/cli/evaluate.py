"""`regard evaluate FOLDER DATA`: a trained task's figures on labelled data, compared with a cheap baseline."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from ..errors import RegardError
from ..tasks import Task, load
from ._data import WithReading, check_known, fitting, learnt_from, read, read_quietly, reading_of, remembered
from ._inputs import standard_input
from ._progress import showing
from ._report import write_report


@dataclass(frozen=True)
class Evaluate(WithReading):
    """Evaluate a trained task, and a cheap baseline, on labelled data.

    The baseline is the one that training saved; a language model's is fitted again to the training data, if that still
    exists. Data is read with the options of the training, which may be given anew: `regard evaluate RUN --help` lists
    them.
    """

    folder: Annotated[Path, tyro.conf.Positional]
    """Folder that `regard train --out` wrote."""
    data: Annotated[tuple[str, ...], tyro.conf.Positional]
    """Labelled data, in any format that the task is trained on; `-` is standard input."""
    out: Path | None = None
    """Folder for the report (report.html, report.txt, evaluation.json); by default evaluations/NAME in the task's."""
    json: bool = False
    """Print one JSON object, for scripts."""

    def run(self) -> int:
        """Print the figures."""
        task = load(self.folder)
        source, known_options = remembered(self.folder, task.name)
        options = fitting(reading_of(self, task.name), getattr(task, "shape_", None))
        if "-" in self.data:
            with standard_input(task.name, options, learnt_from(self.folder)) as path:
                data = [path if one == "-" else one for one in self.data]
                (examples,) = read(task.name, {"evaluation": data}, options, given=path)
        else:
            (examples,) = read(task.name, {"evaluation": self.data}, options)
        if not options.as_told:
            check_known(task, examples, self.data)
        known = None if task.baseline_ is not None else self._known(task, source, known_options)
        with showing(task, "evaluating"):
            evaluation = task.evaluate(examples, known)
        lines = [str(evaluation), *evaluation.report.lines()]
        print(json.dumps(evaluation.to_dict()) if self.json else "\n".join(lines))
        folder = self.out or self.folder / "evaluations" / _mark(self.data)
        try:
            page = write_report(task, examples, evaluation, folder, looks=False)
            print(f"The report: {page}", file=sys.stderr)
        except OSError as error:
            print(f"The report cannot be written: {error}. Give another place, --out FOLDER.", file=sys.stderr)
        return 0

    def _known(self, task: Task[Any, Any], source: list[str], options: Any) -> Any:
        """Return what the run was trained on, to fit its baseline again; None if it is not at hand."""
        try:
            known = read_quietly(task.name, source, fitting(options, getattr(task, "shape_", None)))
        except RegardError as error:
            print(f"No baseline: {error}", file=sys.stderr)
            return None
        return task.set_aside(known)[0] if task.aside_ and known is not None else known


def _mark(data: tuple[str, ...]) -> str:
    """Return a name for an evaluation, from the names of its files."""
    return "-".join(re.sub(r"[^\w.-]+", "-", Path(one).name).strip("-.") or "data" for one in data)[:80]
