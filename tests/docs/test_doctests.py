"""The examples in docstrings and pages run and print what they say."""

import doctest
import importlib
from pathlib import Path

import pytest

from tests.architecture.floors import module_path
from tests.docs.pages import FLAGS, run_page, steps

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "regard"
MODULES = sorted(
    ".".join(("regard", *module_path(file, PACKAGE)[0])) for file in PACKAGE.rglob("*.py") if file.name != "__main__.py"
)
PAGES = sorted((*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")))


@pytest.mark.parametrize("module", MODULES)
def test_docstrings_of(module: str) -> None:
    """Each example of one module gives what it shows."""
    result = doctest.testmod(importlib.import_module(module), optionflags=FLAGS)
    assert result.failed == 0


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_examples_of(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each example and each command of one page gives what it shows."""
    monkeypatch.chdir(tmp_path)
    outcome = run_page(page.read_text("utf-8"), page.name, tmp_path)
    assert not outcome.wrong, "\n".join(outcome.wrong)


@pytest.mark.parametrize("page", sorted((ROOT / "docs" / "howto").glob("[!i]*.md")), ids=lambda page: page.stem)
def test_each_how_to_is_run(page: Path) -> None:
    """A how-to shows something that is run."""
    kinds = [step.kind for step in steps(page.read_text("utf-8")) if step.kind != "examples" or ">>>" in step.text]
    assert "examples" in kinds or "commands" in kinds


def test_examples_are_run(tmp_path: Path) -> None:
    """A correct example passes, a wrong one fails, both in a code fence; names are shared within the page."""
    right = run_page("```python\n>>> x = 1\n```\n```console\n$ true\n```\n```python\n>>> x\n1\n```\n", "a", tmp_path)
    wrong = run_page("```python\n>>> 1 + 1\n3\n```\n", "b", tmp_path)
    assert (right.attempted, right.wrong) == (3, [])
    assert (wrong.attempted, len(wrong.wrong)) == (1, 1)


def test_calls_in_a_line_are_run(tmp_path: Path) -> None:
    """A call that a sentence or a table names works on what the examples made; one with a blank is left alone."""
    page = "```python\n>>> word = 'a'\n\n```\nSay `word.upper()`, `word.join(...)`, `other.upper()` or `word`.\n"
    assert run_page(page, "a", tmp_path) == (2, [])
    (wrong,) = run_page(page.replace("upper()", "upper(1)"), "b", tmp_path).wrong
    assert "`word.upper(1)` raises TypeError" in wrong


def test_commands_are_run(tmp_path: Path) -> None:
    """A command reads the file that the page shows; other output than shown, or an exit status, is an error."""
    page = "```{code-block} text\n:caption: a.txt\n\none\ntwo\n```\n```console\n$ cat a.txt\none\n...\n```\n"
    assert run_page(page, "a", tmp_path) == (1, [])
    assert len(run_page(page.replace("$ cat", "$ head -n 1").replace("...", "two"), "b", tmp_path).wrong) == 1
    assert len(run_page("```console\n$ exit 3\n```\n", "c", tmp_path).wrong) == 1
