"""The door: `regard COMMAND`. One file a command; each is a frozen dataclass whose fields become the options."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from ..errors import MissingExtraError, RegardError
from .doctor import Doctor
from .view import ViewCommand

__all__ = ["COMMANDS", "main"]


class Command(Protocol):
    """What a command's dataclass offers besides its options."""

    def run(self) -> int:
        """Do the work, print the result, return the exit status."""
        ...


COMMANDS: dict[str, Callable[..., Any]] = {"doctor": Doctor, "view": ViewCommand}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status: 0 done, 1 a check failed, 2 a mistake in what was given.

    `--debug` anywhere shows the whole traceback of an error in place of its one sentence.
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


def _parse(words: list[str]) -> Command:
    try:
        import tyro
    except ModuleNotFoundError:
        if words == ["doctor"]:  # the one that tells what is missing must run without it
            return Doctor()
        raise MissingExtraError(
            "The command line needs tyro, which the base install leaves out. Install it with "
            '`pip install "regard[train]"`; plain `regard doctor` runs without it.'
        ) from None
    command: Command = tyro.extras.subcommand_cli_from_dict(
        COMMANDS,
        prog="regard",
        description="Attention for PyTorch: the speed of a fused kernel, and you can still see the attention.",
        args=words,
        config=(tyro.conf.PositionalRequiredArgs,),
    )
    return command
