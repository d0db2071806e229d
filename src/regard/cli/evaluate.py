"""`regard evaluate FOLDER DATA`: a trained task's figures on labelled data, beside those of a cheap baseline."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from ..errors import RegardError
from ..tasks import load
from ._data import fitting, read, read_quietly, remembered

__all__ = ["Evaluate"]


@dataclass(frozen=True)
class Evaluate:
    """Compare a trained task, and a cheap baseline, with the truth.

    The baseline learns from the training data that the task was trained on, if it is still there.
    """

    folder: Annotated[Path, tyro.conf.Positional]
    """Folder that `regard train --out` wrote."""
    data: Annotated[tuple[str, ...], tyro.conf.Positional]
    """Labelled data in the form of the training data."""
    json: bool = False
    """Print one JSON object, for scripts."""

    def run(self) -> int:
        """Print the figures."""
        task = load(self.folder)
        source, options = remembered(self.folder, task.name)
        options = fitting(options, getattr(task, "shape_", None))
        (examples,) = read(task.name, {"evaluation": self.data}, options)
        try:
            known = read_quietly(task.name, source, options)
        except RegardError as error:
            print(f"No baseline: {error}", file=sys.stderr)
            known = None
        evaluation = task.evaluate(examples, known)
        print(json.dumps(evaluation.to_dict()) if self.json else evaluation)
        return 0
