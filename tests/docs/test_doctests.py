"""The examples in docstrings and pages run and print what they say."""

import doctest
import importlib
import re
from pathlib import Path

import pytest

from tests.architecture.floors import module_path

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "regard"
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
MODULES = sorted(
    ".".join(("regard", *module_path(file, PACKAGE)[0])) for file in PACKAGE.rglob("*.py") if file.name != "__main__.py"
)
PAGES = sorted((*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")))


def run_page(text: str, name: str) -> doctest.TestResults:
    """Run a page's examples; the fences around them are no part of what they print."""
    unfenced = re.sub(r"^(```|~~~).*$", "", text, flags=re.MULTILINE)
    test = doctest.DocTestParser().get_doctest(unfenced, {}, name, name, 0)
    return doctest.DocTestRunner(optionflags=FLAGS).run(test)


@pytest.mark.parametrize("module", MODULES)
def test_docstrings_of(module: str) -> None:
    """Each example of one module gives what it shows."""
    result = doctest.testmod(importlib.import_module(module), optionflags=FLAGS)
    assert result.failed == 0


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_examples_of(page: Path) -> None:
    """Each example of one page gives what it shows."""
    assert run_page(page.read_text("utf-8"), page.name).failed == 0


def test_examples_are_run() -> None:
    """A right example passes, a wrong one fails, both from inside a fence."""
    right = run_page("```python\n>>> 1 + 1\n2\n```\n", "right")
    wrong = run_page("```python\n>>> 1 + 1\n3\n```\n", "wrong")
    assert (right.attempted, right.failed) == (1, 0)
    assert (wrong.attempted, wrong.failed) == (1, 1)
