"""The page opens from disk and from the server, and a link leads back to what was seen."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.browser.pages import HEADS, LAYERS, VIEWS, said, saved, sentence_view


@pytest.fixture(params=["disk", "server"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    """The same view at both of its addresses."""
    if request.param == "disk":
        yield saved(sentence_view(), tmp_path)
        return
    with sentence_view().serve(open_browser=False) as served:
        yield served.url


def test_opens_with_every_head(address: str, open_page: Callable[..., Any]) -> None:
    """The overview has the title, every head of every layer, its colours and what they mean."""
    page = open_page(address)
    page.get_by_role("heading", name="One sentence").wait_for()
    page.get_by_role("tab", name="Overview").click()
    heads = page.locator("button.thumb")
    heads.nth(LAYERS * HEADS - 1).wait_for()
    assert heads.count() == LAYERS * HEADS
    assert "attention weight" in page.locator(".caption").text_content()
    assert page.locator("canvas").count() > LAYERS * HEADS
    assert "token=" not in page.url


def test_every_view_opens(address: str, open_page: Callable[..., Any]) -> None:
    """Each of the five views is a tab that says it is chosen, and shows something without an error."""
    page = open_page(address)
    for view, name in zip(VIEWS, ["Overview", "One head", "Text", "Compare", "Numbers"], strict=True):
        page.get_by_role("tab", name=name).click()
        page.locator(".body canvas, .body table, .body .tokens").first.wait_for()
        assert page.get_by_role("tab", name=name).get_attribute("aria-selected") == "true"
        assert view == "head" or f"view={view}" in page.url  # what is seen first needs no name
    assert page.locator(".error").count() == 0


def test_link_restores_the_view(address: str, open_page: Callable[..., Any]) -> None:
    """The address of a page opened anew gives layer, head, cell and theme again."""
    state = "#view=head&map=1&head=2&theme=dark&query=9&key=4&scale=log"
    page = open_page(address)
    page.locator(".body canvas").first.wait_for()
    page.goto(page.url.split("#")[0] + state)
    page.reload()
    sentence = said(page, "query 9")
    assert sentence.startswith("layers.1, head 2: ")
    assert 'key 4 "cross"' in sentence
    assert "logarithmic" in page.locator(".caption").text_content()
    assert "dark" in page.locator("#regard").get_attribute("class")
