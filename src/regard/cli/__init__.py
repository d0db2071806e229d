"""The command line: `regard COMMAND`. One file a command; each is a frozen dataclass whose fields become options."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any

from ..errors import ArgumentError, MissingExtraError, RegardError, install_line, nearest
from ._commands import COMMANDS, Command

__all__ = ["COMMANDS", "main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status: 0 done, 1 a check failed, 2 wrong arguments or input.

    130 and 143: stopped by Ctrl-C or SIGTERM. With `--debug` anywhere, an error shows its full traceback
    instead of one sentence.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in words
    try:
        with _ended_by_signal():
            return _parse([word for word in words if word != "--debug"]).run()
    except RegardError as error:
        if debug:
            raise
        print(f"regard: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as error:
        if debug:
            raise
        terminated = isinstance(error, Terminated)
        print(f"regard: {'ended by SIGTERM' if terminated else 'interrupted'}", file=sys.stderr)
        return 143 if terminated else 130
    except BrokenPipeError:
        sys.stderr.close()
        return 141


class Terminated(KeyboardInterrupt):
    """SIGTERM came, which ends a command as Ctrl-C does: half-written files and bars are removed first."""


@contextmanager
def _ended_by_signal() -> Iterator[None]:
    """Within the block SIGTERM raises `Terminated`, unless somebody handles or ignores it already."""
    main_thread = threading.current_thread() is threading.main_thread()  # Python allows it in no other
    if not main_thread or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return

    def end(number: int, frame: FrameType | None) -> None:
        raise Terminated

    signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


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
            plain: Command = COMMANDS["doctor"].load()()
            return plain
        raise MissingExtraError(
            "The command line needs tyro, which the base install leaves out. Install it with "
            f"{install_line('train')}; plain `regard doctor` runs without it."
        ) from None
    found = _outlined(words) or COMMANDS[words[0]].load()
    found = found.of_run(words[1:]) if hasattr(found, "of_run") else found
    if words[0] == "demo" and (len(words) == 1 or (words[1].startswith("-") and words[1] not in ("-h", "--help"))):
        words.insert(1, "ner")
    read = parse_group if isinstance(found, dict) else parse
    command: Command = read(found, f"regard {words[0]}", words[1:])
    return command


def _outlined(words: list[str]) -> Any:
    """Return the options alone of the command whose help is asked for, which is printed without PyTorch."""
    from ._outline import outlined

    group = outlined(words[0]) if words[-1] in ("-h", "--help") and len(words) < 4 else None
    known = len(words) == 2 or (isinstance(group, dict) and words[1] in group)
    return group if known else None


def _completion(words: list[str]) -> Command:
    from .completion import Completion

    return Completion(" ".join(words)) if words else Completion()
