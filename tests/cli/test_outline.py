"""Help and completion are printed from an outline of the options, before PyTorch is imported."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from regard.cli import COMMANDS, main
from regard.cli._outline import FILE, outlined, script, written
from regard.cli._parsing import parse, parse_group
from regard.cli.completion import SHELLS, place

HEAVY = {"torch", "transformers", "numpy", "pyarrow", "sklearn", "matplotlib"}


def test_the_outline_is_of_these_commands() -> None:
    """The file holds the options as they are; where this fails, run `python -m regard.cli._outline`."""
    assert FILE.read_text(encoding="utf-8") == written()


@pytest.mark.parametrize("shell", SHELLS)
def test_completion_is_of_these_commands(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The stored script is printed, and is what tyro writes; where this fails, do as above."""
    assert main(["--completion", shell]) == 0
    said = capsys.readouterr().out
    assert said == script(shell)
    assert all(word in said for word in ("regard", "image_classification", "--skip-bad-rows", "doctor"))


@pytest.mark.parametrize("words", [["fish"], ["bash", "zsh"], ["--help"], [""]])
def test_completion_of_no_shell(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """It is said which there are."""
    assert main(["--completion", *words]) == 2
    assert f"no completion for '{' '.join(words)}'; there is for bash, zsh, tcsh" in capsys.readouterr().err


def test_bash_completes(tmp_path: Path) -> None:
    """The script completes commands, tasks and options in a shell."""
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("no bash here")
    lines = place("bash").read_text(encoding="utf-8")
    asked = 'COMP_WORDS=({words} "{last}"); COMP_CWORD={at}; _tyro_regard; echo "${{COMPREPLY[@]}}"\n'
    for words, last, found in (("regard", "pre", "predict"), ("regard train", "ne", "ner"),
                               ("regard predict", "--js", "--json")):  # fmt: skip
        code = lines + asked.format(words=words, last=last, at=len(words.split()))
        done = subprocess.run([bash, "--norc"], input=code, capture_output=True, text=True, check=False, cwd=tmp_path)
        assert done.stdout.split() == [found], done.stderr


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
def test_nothing_heavy_is_imported(words: list[str], record_property: Any) -> None:
    """Neither PyTorch nor transformers, nor what comes with them; what an answer takes is printed."""
    code = (
        "import contextlib, sys\nfrom regard.cli import main\n"
        f"with contextlib.suppress(SystemExit):\n    main({words!r})\n"
        f"print(sorted({HEAVY!r} & set(sys.modules)), file=sys.stderr)"
    )
    before = os.times().children_user
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    record_property(f"regard {' '.join(words)}", f"{os.times().children_user - before:.2f} CPU s")
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
