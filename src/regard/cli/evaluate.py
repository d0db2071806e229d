"""`regard evaluate FOLDER DATA`: a trained task's figures on labelled data, compared with a cheap baseline."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from ..errors import RegardError
from ..tasks import load
from ._data import check_known, fitting, learnt_from, of_run, read, read_quietly, reading_of, remembered
from ._inputs import standard_input

__all__ = ["Evaluate"]


@dataclass(frozen=True)
class Evaluate:
    """Evaluate a trained task, and a cheap baseline, on labelled data.

    The baseline is fitted to the task's training data, if it still exists. Data is read with the options of the
    training, which may be given anew: `regard evaluate RUN --help` lists them.
    """

    folder: Annotated[Path, tyro.conf.Positional]
    """Folder that `regard train --out` wrote."""
    data: Annotated[tuple[str, ...], tyro.conf.Positional]
    """Labelled data, in any format that the task is trained on; `-` is standard input."""
    json: bool = False
    """Print one JSON object, for scripts."""

    @classmethod
    def of_run(cls, words: Sequence[str]) -> type[Evaluate]:
        """Return the command with the options of the run that the words name."""
        found: type[Evaluate] = of_run(cls, words)
        return found

    def run(self) -> int:
        """Print the figures."""
        task = load(self.folder)
        source, options = remembered(self.folder, task.name)[0], reading_of(self, task.name)
        options = fitting(options, getattr(task, "shape_", None))
        if "-" in self.data:
            with standard_input(task.name, options, learnt_from(self.folder)) as path:
                (examples,) = read(task.name, {"evaluation": [path if x == "-" else x for x in self.data]}, options)
        else:
            (examples,) = read(task.name, {"evaluation": self.data}, options)
        if not options.as_told:
            check_known(task, examples, self.data)
        try:
            known = read_quietly(task.name, source, options)
        except RegardError as error:
            print(f"No baseline: {error}", file=sys.stderr)
            known = None
        evaluation = task.evaluate(examples, known)
        print(json.dumps(evaluation.to_dict()) if self.json else evaluation)
        return 0
