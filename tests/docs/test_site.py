"""The documentation is built without a warning, is whole, and needs no network."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest
from filelock import FileLock

import regard
from tests.docs.sphinx_parts import part

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
# Not rooms of names: the commands have their own page, and of the machines only the textbook is for reading. What
# `recordings` holds for users is explained under `recorder`.
WITHOUT_PAGE = {"cli", "backends", "recordings"}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built pages: those of `make docs`, or built here, once for all workers."""
    if "REGARD_SITE" in os.environ:
        return ROOT / os.environ["REGARD_SITE"]
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    folder, log = shared / "site", shared / "site.log"
    with FileLock(shared / "site.lock"):
        if not log.exists():
            log.write_text(_build(folder), "utf-8")
    problems = log.read_text("utf-8")
    assert not problems, problems
    return folder


def _build(folder: Path) -> str:
    """Build the pages as `make docs` does; return what was wrong."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(regard.__file__).parents[1])}
    environment.pop("REGARD_DOCS_TUTORIALS", None)
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", str(ROOT / "docs"), str(folder)]
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    return "" if ran.returncode == 0 else ran.stdout + ran.stderr + f"\nexit {ran.returncode}"


class Page(HTMLParser):
    """What a page loads, where it leads, and what can be led to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.links: list[str] = []
        self.names: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Sort one tag's addresses."""
        given = {name: value or "" for name, value in attrs}
        self.names |= {given[name] for name in ("id", "name") if name in given}
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        elif tag == "link" and {"stylesheet", "icon", "preload", "manifest"} & set(given.get("rel", "").split()):
            self.loads.append(given.get("href", ""))
        elif tag != "a" and "src" in given:
            self.loads.append(given["src"])


@cache
def _page(path: Path) -> Page:
    return Page(path.read_text("utf-8"))


def _pages(site: Path) -> list[Path]:
    found = sorted(site.rglob("*.html"))
    assert site / "index.html" in found
    return found


def _leads_nowhere(page: Path, link: str) -> bool:
    if re.match(r"[a-z][a-z+.-]*:", link):  # https:, mailto:
        return False
    path, _, anchor = unquote(link).partition("#")
    target = (page.parent / path.partition("?")[0]).resolve() if path else page
    if not target.is_file():
        return True
    return bool(anchor) and target.suffix == ".html" and anchor not in _page(target).names


def test_no_page_loads_anything_from_the_network(site: Path) -> None:
    """Scripts, styles, fonts and pictures lie beside the pages."""
    foreign = [
        f"{page.name}: {address}"
        for page in _pages(site)
        for address in _page(page).loads
        if re.match(r"(https?:)?//", address)
    ]
    styles = [
        f"{style.name}: {found}"
        for style in site.rglob("*.css")
        for found in re.findall(r"(?:url\(|@import)\s*[\"']?(?:https?:)?//[^)\s]*", style.read_text("utf-8"))
    ]
    assert foreign + styles == []


def test_every_link_inside_leads_somewhere(site: Path) -> None:
    """Each page and heading that is linked to exists, and so does each file that is loaded."""
    broken = [
        f"{page.relative_to(site)}: {link}"
        for page in _pages(site)
        for link in (*_page(page).links, *_page(page).loads)
        if not link.startswith("data:") and _leads_nowhere(page, link)
    ]
    assert broken == []


def test_every_public_name_is_explained(site: Path) -> None:
    """The reference has an entry for each public name of each room, and a page for each room."""
    names = part("public_names")
    explained = {anchor for page in _pages(site) if page.parent.name == "reference" for anchor in _page(page).names}
    assert [name for name, place in names.places().items() if place not in explained] == []
    rooms = {path.stem for path in (ROOT / "src" / "regard").iterdir() if re.match(r"[a-z]+(\.py)?$", path.name)}
    assert {f"regard.{room}" for room in rooms - WITHOUT_PAGE} <= set(names.rooms())


def test_every_command_is_explained(site: Path) -> None:
    """The page of commands holds what each of them prints."""
    from regard.cli import COMMANDS

    page = _page(site / "reference" / "commands.html")
    assert [name for name in COMMANDS if f"regard-{name}" not in page.names] == []
    assert "--train" in (site / "reference" / "commands.html").read_text("utf-8")


def test_search_works_from_disk(site: Path) -> None:
    """The index is a script, which a browser loads from disk where it refuses to fetch; no result needs a fetch."""
    assert (site / "searchindex.js").read_text("utf-8").startswith("Search.setIndex(")
    options = (site / "_static" / "documentation_options.js").read_text("utf-8")
    assert "SHOW_SEARCH_SUMMARY: false" in options


def test_every_tutorial_is_offered(site: Path) -> None:
    """Each tutorial has a page, a notebook and its script."""
    for tutorial in _tutorials():
        assert (site / "tutorials" / f"{tutorial.stem}.html").is_file()
        assert (site / "notebooks" / tutorial.name).read_text("utf-8") == tutorial.read_text("utf-8")
        assert '"cell_type": "code"' in (site / "notebooks" / f"{tutorial.stem}.ipynb").read_text("utf-8")


def test_every_tutorial_says_where_its_outputs_are(site: Path) -> None:
    """A page has what its cells print and draw, or says at its top how to get it; built alike, all say the same."""
    outputs = {way: text.replace("`", "") for way, text in part("notebooks").OUTPUTS.items()}
    said = set()
    for tutorial in _tutorials():
        page = (site / "tutorials" / f"{tutorial.stem}.html").read_text("utf-8")
        plain = " ".join(re.sub(r"<[^>]*>", "", page).split())
        (way,) = [way for way, text in outputs.items() if text in plain]
        said.add(way)
        drawn = re.findall(r"^\s*keep\(", tutorial.read_text("utf-8"), re.MULTILINE)
        shown = re.findall(r"<img[^>]*_images/", page)
        assert drawn
        assert len(shown) == (0 if way == "off" else len(drawn)), tutorial.stem
        assert ("cell_output" in page) == (way != "off"), tutorial.stem
    assert len(said) == 1


def test_tutorials_have_one_title(site: Path) -> None:
    """The heading of a tutorial is its title in every list: beside the scripts and among the pages."""
    listed = dict(re.findall(r"^\d+\. \[(.+)\]\((\w+)\.py\)", (EXAMPLES / "README.md").read_text("utf-8"), re.M))
    listed = {stem: title for title, stem in listed.items()}
    pages = (site / "tutorials.html").read_text("utf-8").replace("’", "'")
    for tutorial in _tutorials():
        heading = re.search(r"^# # (\d+\. (.+))$", tutorial.read_text("utf-8"), re.MULTILINE)
        assert heading
        assert listed[tutorial.stem] == heading[2]
        assert f'href="tutorials/{tutorial.stem}.html">{heading[1]}</a>' in pages


def _tutorials() -> Iterator[Path]:
    found = sorted(EXAMPLES.glob("[0-9][0-9]_*.py")) or sorted(EXAMPLES.glob("*.py"))
    assert found
    yield from found


def test_floors_are_drawn_from_the_code(site: Path) -> None:
    """The picture names each room that the package has."""
    text = (site / "architecture.html").read_text("utf-8")
    rooms = part("floors_picture").read_rooms()
    assert {"masks", "weights", "tasks", "cli"} <= set(rooms)
    assert [name for name in rooms if f">{name}</text>" not in text] == []
