"""Files that the page saves hold what is seen: pixels, numbers, and the caption that says what it is."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

import regard
from tests.browser.pages import TOKENS, by_numpy, calls, saved, sentence_view

TRAP = "</text><script>alert(1)</script>\"',=1+1"


def save(page: Any, kind: str) -> bytes:
    """Press a button of the save bar and return the file."""
    with page.expect_download() as waiting:
        page.get_by_role("button", name=f"Save {kind}").click()
    assert waiting.value.suggested_filename.endswith(kind.lower())
    return Path(waiting.value.path()).read_bytes()


@pytest.fixture
def page(open_page: Callable[..., Any], tmp_path: Path) -> Any:
    """One head of a sentence whose first token is a trap."""
    made = regard.view(calls(len(TOKENS)), [TRAP, *TOKENS[1:]], title=TRAP)
    found = open_page(saved(made, tmp_path) + "#view=head")
    found.get_by_text("kind of head").wait_for()
    return found


def test_csv_holds_every_weight_and_its_caption(page: Any) -> None:
    """A line of caption, then a row a cell: numbers are those of NumPy, masked ones are words."""
    first, rest = save(page, "CSV").decode().split("\n", 1)
    assert first == "# " + page.locator(".caption").text_content()
    rows = list(csv.DictReader(io.StringIO(rest)))
    exact = by_numpy(0, len(TOKENS))[0]
    assert len(rows) == len(TOKENS) ** 2
    for row in rows:
        query, key = int(row["first query"]), int(row["first key"])
        if key > query:
            assert row["value"] == "masked"
        else:
            assert abs(float(row["value"]) - exact[query, key]) < 6e-4


def test_table_of_numbers_keeps_formulas_as_text(page: Any) -> None:
    """In CSV of the table, tokens that a spreadsheet would run stand as text; JSON holds them as they are."""
    page.get_by_role("tab", name="Numbers").click()
    page.locator("table td").first.wait_for()
    rows = list(csv.reader(io.StringIO(save(page, "CSV").decode().split("\n", 1)[1])))
    assert len(rows) == 1 + len(TOKENS) ** 2
    assert not any(field.startswith(("=", "+", "@")) for row in rows for field in row)
    given = json.loads(save(page, "JSON"))
    assert given["caption"] == page.locator(".caption").text_content()
    assert (given["title"], given["heads"], given["averaged"]) == (TRAP, [0], False)
    assert "<script>alert(1)</script>" in given["rows"][0][0]


def test_svg_is_sound_and_holds_text_as_text(page: Any) -> None:
    """Well-formed, with a shape a cell, tokens as escaped text, and the caption; nothing in it can run."""
    text = save(page, "SVG").decode()
    tree = ElementTree.fromstring(text)
    kinds = {element.tag.split("}")[1] for element in tree.iter()}
    assert kinds <= {"svg", "desc", "g", "rect", "text", "image", "clipPath"}
    assert "<script" not in text
    assert tree[0].text == page.locator(".caption").text_content()
    words = {element.text for element in tree.iter() if element.tag.endswith("text")}
    assert {"animal", "street", "tired"} <= words
    assert any(word and word.startswith("</text><") for word in words)
    assert len([element for element in tree.iter() if element.tag.endswith("rect")]) > len(TOKENS) ** 2


@pytest.mark.parametrize("view", ["overview", "head", "text", "compare", "numbers"])
def test_png_of_each_view_is_a_picture(view: str, open_page: Callable[..., Any], tmp_path: Path) -> None:
    """A picture of some size with many colours; masked cells are there in their own, and dark pages save dark."""
    page = open_page(saved(sentence_view(), tmp_path) + f"#view={view}&theme=dark")
    page.locator(".caption").filter(has_text="attention weight").wait_for()
    page.wait_for_timeout(200)
    pixels = np.asarray(Image.open(io.BytesIO(save(page, "PNG"))).convert("RGB"))
    assert min(pixels.shape[:2]) > 200
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 50
    assert pixels[2, 2].max() < 60


def test_png_draws_the_numbers_in_their_colours(page: Any) -> None:
    """Of the cells of row 7, brighter ones hold larger weights: cividis rises in lightness."""
    svg = ElementTree.fromstring(save(page, "SVG").decode())
    cells = [one for one in svg.iter() if one.tag.endswith("rect") and one.get("fill", "").startswith("rgb")]
    boxes = {}
    for one in cells:
        boxes.setdefault(float(one.get("y", 0)), []).append(one)
    rows = [row for _, row in sorted(boxes.items()) if len(row) == len(TOKENS)]
    assert len(rows) == len(TOKENS)
    shade = [sum(map(int, one.get("fill", "")[4:-1].replace(",", " ").split()[:3])) for one in rows[7]][:8]
    exact = by_numpy(0, len(TOKENS))[0, 7, :8]
    for a in range(8):
        for b in range(8):
            if exact[a] > exact[b] + 0.02:
                assert shade[a] > shade[b]
