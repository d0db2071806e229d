"""What comes out of the printer is what the screen shows, whole, on one page, with its caption: in two browsers."""

from __future__ import annotations

import base64
import io
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

import regard
from tests.browser import firefox
from tests.browser.conftest import missing
from tests.browser.pages import VIEWS, calls, saved

Pixels = NDArray[np.uint8]
DOTS = 150
PICTURE = "document.querySelector('.paper canvas')"
PRINT, AFTER = (f"window.dispatchEvent(new Event('{name}'))" for name in ("beforeprint", "afterprint"))
DRAWN = (
    "document.querySelector('.caption')?.textContent.includes('attention weight') && !document.querySelector('.error')"
)


def pixels(png: bytes) -> Pixels:
    """Return a picture as numbers, (rows, columns, 3)."""
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))


def sheets(pdf: bytes, folder: Path) -> list[Pixels]:
    """Return the pages of a PDF as pictures."""
    if shutil.which("pdftoppm") is None:
        missing("there is no pdftoppm on the PATH (Debian: apt install poppler-utils)")
    file = folder / "printed.pdf"
    file.write_bytes(pdf)
    subprocess.run(["pdftoppm", "-r", str(DOTS), "-png", str(file), str(folder / "sheet")], check=True, timeout=120)
    made = sorted(folder.glob("sheet-*.png"))
    found = [pixels(one.read_bytes()) for one in made]
    for one in made:
        one.unlink()
    return found


def inked(picture: Pixels) -> Pixels:
    """Return the part of a picture that is not white paper."""
    dark = picture.min(-1) < 245
    rows, columns = np.flatnonzero(dark.any(1)), np.flatnonzero(dark.any(0))
    return picture[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def difference(one: Pixels, other: Pixels) -> float:
    """Return how much two pictures differ on average, from 0 to 1, both made equally large."""
    size = (400, round(400 * one.shape[0] / one.shape[1]))
    small = [np.asarray(Image.fromarray(part).resize(size, Image.Resampling.BOX), float) for part in (one, other)]
    return float(np.abs(small[0] - small[1]).mean() / 255)


def taken(evaluate: Callable[[str], Any]) -> Pixels:
    """Return the picture that the page makes for paper."""
    evaluate(PRINT)
    found = pixels(base64.b64decode(evaluate(f"{PICTURE}.toDataURL()").split(",")[1]))
    evaluate(AFTER)
    assert evaluate(f"{PICTURE} === null")
    return found


def check(printed: list[Pixels], picture: Pixels) -> None:
    """One sheet of A4, which holds all of the picture, and the picture is no plain colour."""
    assert len(printed) == 1
    paper, own = inked(printed[0]), inked(picture)
    assert printed[0][3, 3].min() > 250
    assert abs(paper.shape[0] / paper.shape[1] / (own.shape[0] / own.shape[1]) - 1) < 0.02
    assert difference(own, paper) < 0.06  # small letters are drawn otherwise on paper
    assert len(np.unique((own // 16).reshape(-1, 3), axis=0)) > 20


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Fifty tokens, as those of the demo: their matrix is wider than a sheet of paper."""
    made = regard.view(calls(50), [f"token{n}" for n in range(50)], title="Printed")
    return saved(made, tmp_path_factory.mktemp("paper"))


@pytest.mark.parametrize(
    ("view", "draw"), [*((view, "canvas") for view in VIEWS), ("head", "webgl2"), ("compare", "webgl2")]
)
def test_chromium_prints_what_it_shows(view: str, draw: str, open_page: Any, address: str, tmp_path: Path) -> None:
    """Each view, whether a canvas or WebGL draws it, from a dark page: the PDF holds the picture of the file, light."""
    page = open_page(f"{address}#view={view}&draw={draw}&theme=dark")
    page.locator(".caption").filter(has_text="attention weight").wait_for()
    page.wait_for_timeout(300)
    picture = taken(page.evaluate)
    assert inked(picture).shape[1] > 600
    check(sheets(page.pdf(format="A4", print_background=True), tmp_path), picture)
    page.evaluate(AFTER)
    assert "dark" in page.locator("#regard").get_attribute("class")
    assert page.get_by_role("tablist").is_visible()


@pytest.mark.parametrize("draw", ["canvas", "webgl2"])
def test_every_column_of_the_matrix_is_printed(draw: str, open_page: Any, address: str) -> None:
    """The picture for paper is the screen's matrix from the first column to the last, with title, bar and caption."""
    page = open_page(f"{address}#view=head&draw={draw}")
    page.get_by_text("kind of head").wait_for()
    page.wait_for_timeout(300)
    screen = pixels(page.locator(".matrix").screenshot())
    page.mouse.move(2, 2)
    picture = taken(page.evaluate)
    half = np.asarray(
        Image.fromarray(picture).resize((picture.shape[1] // 2, picture.shape[0] // 2), Image.Resampling.BOX)
    )
    # The frame's margin and title stand before the matrix.
    part = half[34 : 34 + screen.shape[0], 12 : 12 + screen.shape[1]]
    rows, columns = (min(a, b) for a, b in zip(part.shape[:2], screen.shape[:2], strict=True))
    assert columns > 0.5 * screen.shape[1]
    assert (screen[:, columns:] > 250).all()
    assert difference(part[:rows, :columns], screen[:rows, :columns]) < 0.03
    assert difference(np.roll(part[:rows, :columns], 12, 1), screen[:rows, :columns]) > 0.05  # a cell aside is seen
    assert inked(half).shape[0] > rows + 60


@pytest.fixture(scope="module")
def fox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[firefox.Firefox]:
    """Debian's Firefox, one for all tests of this file."""
    if firefox.executable() is None:
        missing("there is no Firefox on the PATH (Debian: apt install firefox-esr)")
    with firefox.started(tmp_path_factory.mktemp("profile")) as started:
        yield started


@pytest.mark.parametrize("view", VIEWS)
def test_firefox_shows_and_prints(view: str, fox: firefox.Firefox, address: str, tmp_path: Path) -> None:
    """Each view is drawn without an error; its PDF holds what it shows."""
    fox.open(f"{address}#view={view}")
    fox.until(f"{DRAWN} && document.querySelector('.body canvas, .body table, .body .tokens') !== null")
    time.sleep(0.5)
    picture = taken(fox.evaluate)
    screen = pixels(fox.screenshot())
    assert len(np.unique((screen // 16).reshape(-1, 3), axis=0)) > 20
    assert fox.evaluate("document.querySelectorAll('.error').length") == 0
    check(sheets(fox.pdf(), tmp_path), picture)
