"""The directive `commands`: what each `regard COMMAND --help` prints."""

import contextlib
import io
import os
from typing import Any
from unittest import mock

from docutils import nodes
from docutils.parsers.rst import Directive

COLUMNS = "92"


def help_of(words: list[str]) -> str:
    """Run one command with `--help` and return what it prints."""
    from regard.cli import main

    printed = io.StringIO()
    with (
        mock.patch.dict(os.environ, {"COLUMNS": COLUMNS, "NO_COLOR": "1", "TERM": "dumb"}),
        contextlib.redirect_stdout(printed),
        contextlib.suppress(SystemExit),
    ):
        main([*words, "--help"])
    text = "\n".join(line.rstrip() for line in printed.getvalue().strip().splitlines())
    if not text:
        raise ValueError(f"regard {' '.join(words)} --help printed nothing")
    return text


class Commands(Directive):
    """`.. commands::` writes one section a command, and one below it for each task of a group."""

    def run(self) -> list[nodes.Node]:
        """Ask every command."""
        from regard.cli import COMMANDS

        sections = []
        for name, entry in COMMANDS.items():
            section = _section([name], entry.text)
            group = entry.load()
            if isinstance(group, dict):
                texts = {task: help_of([name, task]) for task in group}
                alike = {_without(text, task) for task, text in texts.items()}
                if len(alike) == 1:
                    section += nodes.paragraph("", f"TASK is one of {', '.join(group)}.")
                    section += _printed(alike.pop())
                else:
                    section += [_section([name, task], "", text) for task, text in texts.items()]
            else:
                section += _printed(help_of([name]))
            sections.append(section)
        return sections


def _without(text: str, task: str) -> str:
    return (
        text.replace(f" {task} ", " TASK ")
        .replace(task.replace("_", "-").upper(), "TASK")
        .replace(task.upper(), "TASK")
    )


def _section(words: list[str], text: str, printed: str = "") -> nodes.section:
    section = nodes.section(ids=["-".join(["regard", *words])], names=[" ".join(["regard", *words])])
    section += nodes.title("", "", nodes.literal("", " ".join(["regard", *words])))
    if text:
        section += nodes.paragraph("", f"{text[0].upper()}{text[1:]}.")
    if printed:
        section += _printed(printed)
    return section


def _printed(text: str) -> nodes.literal_block:
    return nodes.literal_block(text, text, language="text", classes=["help"])


def setup(app: Any) -> dict[str, bool]:
    """Join the build."""
    app.add_directive("commands", Commands)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
