"""Help and completion are printed from an outline of the options, before PyTorch is imported."""

from __future__ import annotations

import subprocess
import sys

import pytest

from regard.cli import COMMANDS, main
from regard.cli._outline import FILE, outlined, written
from regard.cli._parsing import parse, parse_group

HEAVY = {"torch", "transformers", "numpy", "pyarrow", "sklearn", "matplotlib"}


def test_the_outline_is_of_these_commands() -> None:
    """The file holds the options as they are; where this fails, run `python -m regard.cli._outline`."""
    assert FILE.read_text(encoding="utf-8") == written()


@pytest.mark.parametrize("columns", ["70", "132"])
@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_looks_the_same(
    name: str, columns: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the outline and from the command itself, of every task, at any width."""
    monkeypatch.setenv("COLUMNS", columns)
    found = COMMANDS[name].load()
    for words in [["--help"], *([[one, "--help"] for one in found] if isinstance(found, dict) else [])]:
        said = []
        for command in (found, outlined(name)):
            with pytest.raises(SystemExit):
                (parse_group if isinstance(command, dict) else parse)(command, f"regard {name}", words)
            said.append(capsys.readouterr().out)
        assert said[0] == said[1]
        assert "usage: regard" in said[0]


@pytest.mark.parametrize(
    "words",
    [[], ["--help"], ["train", "--help"], ["train", "ner", "-h"], ["predict", "--help"], ["--completion", "bash"],
     ["--completion", "zsh"], ["nothing"], ["--completion", "none"]],
)  # fmt: skip
def test_nothing_heavy_is_imported(words: list[str]) -> None:
    """Neither PyTorch nor transformers, nor what comes with them."""
    code = (
        "import contextlib, sys\nfrom regard.cli import main\n"
        f"with contextlib.suppress(SystemExit):\n    main({words!r})\n"
        f"print(sorted({HEAVY!r} & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.splitlines()[-1] == "[]"


def test_the_package_is_imported_name_by_name() -> None:
    """`import regard` waits for nothing; each public name and room is there when it is asked for."""
    code = (
        "import sys, regard\nassert 'torch' not in sys.modules\n"
        "for name in regard.__all__: assert getattr(regard, name) is getattr(regard, name), name\n"
        "assert set(regard.__all__) < set(dir(regard))\nfrom regard import *\nprint(attention, regard.tasks)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_help_of_what_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    """A wrong name is a mistake, with and without --help."""
    assert main(["train", "nre", "--help"]) == 2
    assert "Did you mean 'ner'?" in capsys.readouterr().err
