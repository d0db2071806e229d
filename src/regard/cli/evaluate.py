"""`regard evaluate FOLDER DATA`: a trained task's figures on labelled data, compared with a cheap baseline."""

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
    """Evaluate a trained task, and a cheap baseline, on labelled data.

    The baseline is fitted to the task's training data, if it still exists.
    """

    folder: Annotated[Path, tyro.conf.Positional]
    """Folder that `regard train --out` wrote."""
    data: Annotated[tuple[str, ...], tyro.conf.Positional]
    """Labelled data in the format of the training data."""
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
