"""`regard --completion SHELL`: a script that completes commands and options in a shell.

The scripts lie beside this file; `python -m regard.cli._outline` writes them.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from ..errors import ArgumentError

SHELLS = ("bash", "zsh", "tcsh")


@dataclass(frozen=True)
class Completion:
    """Print the completion script of a shell."""

    shell: str = "bash"
    """`bash`, `zsh` or `tcsh`."""

    def run(self) -> int:
        """Print the script."""
        if self.shell not in SHELLS:
            raise ArgumentError(f"There is no completion for {self.shell!r}; there is for {', '.join(SHELLS)}.")
        sys.stdout.write(place(self.shell).read_text(encoding="utf-8"))
        return 0


def place(shell: str) -> Path:
    """Return the file with the script of a shell."""
    return Path(__file__).with_name(f"completion.{shell}")
