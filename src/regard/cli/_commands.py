"""Every command of `regard`, by name."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any, Protocol


class Command(Protocol):
    """The interface of a command's dataclass."""

    def run(self) -> int:
        """Run the command, print the result, return the exit status."""
        ...


@dataclass(frozen=True)
class Entry:
    """The location of a command, which is imported only when used; a group has further commands."""

    module: str
    name: str
    text: str

    def load(self) -> Any:
        """Import and return the dataclass, or the dictionary of a group."""
        return getattr(importlib.import_module(f".{self.module}", __package__), self.name)


COMMANDS = {
    "demo": Entry("demo", "DEMO", "train a task on data that every machine has, and look at its attention"),
    "train": Entry("train", "TRAIN", "train a task on your own data"),
    "predict": Entry("predict", "Predict", "say what a trained task makes of new inputs"),
    "evaluate": Entry("evaluate", "Evaluate", "compare a trained task and a cheap baseline with the truth"),
    "export": Entry("export", "Export", "write a trained task as ONNX or torch.export, to run without regard"),
    "serve": Entry("serve", "Serve", "answer over HTTP: a trained task as a local server"),
    "watch": Entry("watch", "WatchCommand", "run a model on a text or picture, and show its attention"),
    "view": Entry("view", "ViewCommand", "show stored attention: a page, a file, a local server"),
    "study": Entry("study", "STUDY", "run an experiment about attention: a table, a picture, what was seen"),
    "bench": Entry("bench", "Bench", "measure attention on this machine beside torch's own"),
    "doctor": Entry("doctor", "Doctor", "say what regard runs on here, and which backend a call takes"),
}
"""Every command by its name."""
