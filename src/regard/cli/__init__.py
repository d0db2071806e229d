"""The command line: `regard COMMAND`. One file a command; each is a frozen dataclass whose fields become options."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from ..errors import ArgumentError, MissingExtraError, RegardError, install_line, nearest
from .doctor import Doctor

__all__ = ["COMMANDS", "main"]


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
    "watch": Entry("watch", "WatchCommand", "run a model on a text or picture, and show its attention"),
    "view": Entry("view", "ViewCommand", "show stored attention: a page, a file, a local server"),
    "study": Entry("study", "STUDY", "run an experiment about attention: a table, a picture, what was seen"),
    "bench": Entry("bench", "Bench", "measure attention on this machine beside torch's own"),
    "doctor": Entry("doctor", "Doctor", "say what regard runs on here, and which backend a call takes"),
}
"""Every command by its name."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status: 0 done, 1 a check failed, 2 wrong arguments or input.

    130 and 143: stopped by Ctrl-C or SIGTERM. With `--debug` anywhere, an error shows its full traceback
    instead of one sentence.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in words
    try:
        return _parse([word for word in words if word != "--debug"]).run()
    except RegardError as error:
        if debug:
            raise
        print(f"regard: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        if debug:
            raise
        print("regard: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        sys.stderr.close()
        return 141


@dataclass(frozen=True)
class Help:
    """The help of `regard` without a command."""

    def run(self) -> int:
        """Print the commands."""
        width = max(map(len, COMMANDS))
        print("Attention for PyTorch: the speed of a fused kernel, and you can still see the attention.\n")
        print("\n".join(f"  regard {name:{width}}  {entry.text}" for name, entry in COMMANDS.items()))
        print("\nregard COMMAND --help says more; `source <(regard --completion bash)` completes in a shell.")
        return 0


def _parse(words: list[str]) -> Command:
    if not words or words[0] in ("-h", "--help", "help"):
        return Help()
    if words[0] == "--completion":
        return _completion(words[1:])
    if words[0] not in COMMANDS:
        raise ArgumentError(
            f"There is no command {words[0]!r}.{nearest(words[0], COMMANDS)} There are: {', '.join(COMMANDS)}."
        )
    try:
        from ._parsing import parse, parse_group
    except ModuleNotFoundError:
        if words == ["doctor"]:  # doctor reports missing packages, so it must run without them
            return Doctor()
        raise MissingExtraError(
            "The command line needs tyro, which the base install leaves out. Install it with "
            f"{install_line('train')}; plain `regard doctor` runs without it."
        ) from None
    found: Any = COMMANDS[words[0]].load()
    found = found.of_run(words[1:]) if hasattr(found, "of_run") else found
    if words[0] == "demo" and (len(words) == 1 or (words[1].startswith("-") and words[1] not in ("-h", "--help"))):
        words.insert(1, "ner")
    read = parse_group if isinstance(found, dict) else parse
    command: Command = read(found, f"regard {words[0]}", words[1:])
    return command


def _completion(words: list[str]) -> Command:
    from .completion import Completion

    return Completion(COMMANDS, *words)
