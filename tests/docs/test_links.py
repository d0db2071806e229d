"""Every link between the project's pages leads somewhere."""

import re
from pathlib import Path

import pytest

from tests.docs.links import anchors, broken, links

ROOT = Path(__file__).parents[2]
FOLDERS = ("docs", "csrc", "src", "benchmarks", "examples", "web", "tests")
PAGES = sorted(ROOT.glob("*.md")) + sorted(
    page for folder in FOLDERS for page in (ROOT / folder).rglob("*.md") if "node_modules" not in page.parts
)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_of_page(page: Path) -> None:
    """Each file and heading that a page points at exists."""
    assert broken(page) == []


def test_pages_are_found() -> None:
    """The list of pages contains the ones that a newcomer opens first."""
    names = {str(page.relative_to(ROOT)) for page in PAGES}
    assert {"CONTRIBUTING.md", "docs/semantics.md", "docs/why/index.md"} <= names


def test_broken_links_are_seen(tmp_path: Path) -> None:
    """A missing file and a missing heading are named; good links and code are not."""
    (tmp_path / "other.md").write_text("# A *good* place\n", "utf-8")
    page = tmp_path / "page.md"
    page.write_text(
        "# Top\n[a](other.md) [b](other.md#a-good-place) [c](#top) [d](https://x.org)\n"
        "[e](gone.md) ![f](gone.png) [g](other.md#gone) `[h](code.md)`\n"
        "```\n[i](fenced.md)\n```\n",
        "utf-8",
    )
    assert broken(page) == [
        "page.md: gone.md: no such file",
        "page.md: gone.png: no such file",
        "page.md: other.md#gone: no such heading",
    ]


def test_reading_of_links_and_headings() -> None:
    """Reference definitions and pictures in HTML count as links; equal headings are numbered."""
    text = '[x]: one.md\n<img width="9" src="two.png">\n'
    assert links(text) == ["one.md", "two.png"]
    assert anchors("# Bad input\n## Bad input\n") == {"bad-input", "bad-input-1"}


def test_figures_stand_in_two_places_alike() -> None:
    """The table of speed is the same in the README and among the results."""
    tables = [
        [
            line
            for line in _section(ROOT / page, "## Speed").splitlines()
            if line.startswith("| ") and "command" not in line
        ]
        for page in ("README.md", "docs/results.md")
    ]
    assert len(tables[0]) > 5
    assert tables[1][: len(tables[0])] == tables[0]


def test_installing_names_the_clone() -> None:
    """Regard is on no package index, so no text sends a reader there for it."""
    sources = [path for folder in ("src", "examples") for path in (ROOT / folder).rglob("*.py")]
    from_index = re.compile(r"pip install [^`\n]*?\"?regard\b(?!\.)")
    assert from_index.search('pip install -q "regard[view]"')
    assert [str(path) for path in (*PAGES, *sources) if from_index.search(path.read_text("utf-8"))] == []


def test_code_of_the_front_page_is_not_cut_off() -> None:
    """Its lines fit into the column of the pages, comments included."""
    code = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "index.md").read_text("utf-8"), re.DOTALL)
    assert [line for block in code for line in block.splitlines() if len(line) > 78] == []
    assert code


def _section(page: Path, heading: str) -> str:
    """Return what stands under a heading, up to the next."""
    return page.read_text("utf-8").partition(f"\n{heading}\n")[2].partition("\n## ")[0]
