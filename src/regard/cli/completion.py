"""`regard --completion SHELL`: a script that completes commands and options in a shell."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Union

from ..errors import ArgumentError

__all__ = ["Completion"]

SHELLS = ("bash", "zsh", "tcsh")


@dataclass(frozen=True)
class Completion:
    """Print the completion script of a shell."""

    commands: tuple[str, ...]
    """The name of every command."""
    shell: str = "bash"
    """`bash`, `zsh` or `tcsh`."""

    def run(self) -> int:
        """Print the script."""
        import tyro

        from ._outline import outlined

        if self.shell not in SHELLS:
            raise ArgumentError(f"There is no completion for {self.shell!r}; there is for {', '.join(SHELLS)}.")
        whole = _choice({name: outlined(name) for name in self.commands})
        tyro.cli(whole, prog="regard", args=["--tyro-print-completion", self.shell])
        return 0


def _choice(commands: dict[str, Any]) -> Any:
    """Return the union type of all commands, including groups of commands."""
    import tyro

    parts = tuple(
        Annotated[_choice(found) if isinstance(found, dict) else found, tyro.conf.subcommand(name)]
        for name, found in commands.items()
    )
    return Union[parts]  # noqa: UP007 - made at run time
