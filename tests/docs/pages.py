"""Running what a page shows: examples in Python, files that it names, commands with what they print."""

import ast
import builtins
import doctest
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import regard

FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
_FENCE = re.compile(r"^(```|~~~|:::)(.*?)$(.*?)^\1\s*$", re.MULTILINE | re.DOTALL)
_CAPTION = re.compile(r"\A\n:caption: (\S+)\n+")
# A shell in which the commands are there without an installation.
_SHELL = """set -euo pipefail
regard() { python -m regard "$@"; }
torchrun() { python -m torch.distributed.run "$@"; }
"""


class Step(NamedTuple):
    """One thing that a page shows: `examples`, a `file` or `commands`."""

    kind: str
    text: str
    name: str = ""


class Outcome(NamedTuple):
    """How many steps of a page were tried, and what went wrong, a text each."""

    attempted: int
    wrong: list[str]


def steps(page: str) -> Iterator[Step]:
    """Divide a page into what is run: fences of `console`, fences with the caption of a file, and the rest."""
    rest = 0
    for fence in _FENCE.finditer(page):
        caption = _CAPTION.match(fence[3])
        language = fence[2].strip()
        if language == "console" or (caption and language.startswith("{code-block}")):
            yield Step("examples", page[rest : fence.start()])
            rest = fence.end()
            if caption:
                yield Step("file", fence[3][caption.end() :], caption[1])
            else:
                yield Step("commands", fence[3])
    yield Step("examples", page[rest:])


def run_page(page: str, name: str, folder: Path) -> Outcome:
    """Run a page in a folder; its examples share their names."""
    attempted, wrong = 0, []
    names: dict[str, object] = {}
    for step in steps(page):
        if step.kind == "file":
            (folder / step.name).write_text(step.text, "utf-8")
        elif step.kind == "commands":
            for command, expected in commands(step.text):
                attempted += 1
                wrong += _run_command(command, expected, folder)
        else:
            unfenced = re.sub(r"^(```|~~~|:::).*$", "", step.text, flags=re.MULTILINE)
            test = doctest.DocTestParser().get_doctest(unfenced, names, name, name, 0)
            said: list[str] = []
            result = doctest.DocTestRunner(optionflags=FLAGS).run(test, out=said.append, clear_globs=False)
            attempted += result.attempted
            names = test.globs
            wrong += ["".join(said)] if result.failed else []
    for code in inline_calls(page, names):
        attempted += 1
        try:
            eval(code, dict(names))
        except Exception as error:  # noqa: BLE001 - whatever it is, the page should not have said it
            wrong.append(f"`{code}` raises {type(error).__name__}: {error}")
    return Outcome(attempted, wrong)


def inline_calls(page: str, names: Mapping[str, object]) -> list[str]:
    """List the calls that stand in a line of text, on names that the examples of the page have made.

    Those with `...` in place of an argument are no calls yet, nor are those with names that the page does not make; a
    server is not started.
    """
    found = []
    for code in dict.fromkeys(re.findall(r"`([^`\n]+\))`", _FENCE.sub("", page))):
        try:
            tree = ast.parse(code, mode="eval")
        except SyntaxError:
            continue
        roots = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
        blanks = any(isinstance(node, ast.Constant) and node.value is ... for node in ast.walk(tree))
        made = roots and all(root in names or hasattr(builtins, root) for root in roots)
        if isinstance(tree.body, ast.Call) and made and roots & set(names) and not blanks and ".serve(" not in code:
            found.append(code)
    return found


def commands(text: str) -> Iterator[tuple[str, str]]:
    """List the commands of a fence, each with what it is said to print; `> ` goes on with a command."""
    found = re.split(r"^\$ ", text.strip("\n") + "\n", flags=re.MULTILINE)[1:]
    for one in found:
        first, *rest = one.splitlines()
        while rest and rest[0].startswith("> "):
            first += "\n" + rest.pop(0)[2:]
        yield first, "\n".join(rest)


def _run_command(command: str, expected: str, folder: Path) -> list[str]:
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(Path(regard.__file__).parents[1]),
        "OMP_NUM_THREADS": "1",
        "COLUMNS": "100",
    }
    ran = subprocess.run(
        ["bash", "-c", _SHELL + command], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    printed = ran.stdout
    right = not expected.strip() or doctest.OutputChecker().check_output(expected + "\n", printed, FLAGS)
    if ran.returncode == 0 and right:
        return []
    return [f"$ {command}\nexit {ran.returncode}, printed\n{printed}{ran.stderr}\nwhere the page says\n{expected}"]
