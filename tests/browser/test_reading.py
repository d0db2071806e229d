"""The page for every reader: dark and light, large letters, assistive software, paper."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.browser.pages import VIEWS, saved, sentence_view, until

Open = Callable[..., Any]
# Controls may not lie over each other, and no text of one may be cut off.
CROWDED = """() => {
  const wanted = ':is(button, select, input, h1, .caption, .says, dd, .key)';
  const seen = [...document.querySelectorAll('#regard ' + wanted)]
    .filter((one) => one.checkVisibility() && !one.closest('.zooms, .scroll') && one.getBoundingClientRect().width > 0);
  const found = [];
  const boxes = seen.map((one) => one.getBoundingClientRect());
  for (let i = 0; i < seen.length; i++) {
    const cut = seen[i].scrollWidth > seen[i].clientWidth + 1;
    const button = seen[i].tagName === 'BUTTON';
    if (cut && button && !seen[i].closest('.thumb')) found.push(`cut off: ${seen[i].textContent}`);
    for (let j = i + 1; j < seen.length; j++) {
      if (seen[i].contains(seen[j]) || seen[i].closest('footer') || seen[j].closest('footer')) continue;
      const wide = Math.min(boxes[i].right, boxes[j].right) - Math.max(boxes[i].left, boxes[j].left);
      const tall = Math.min(boxes[i].bottom, boxes[j].bottom) - Math.max(boxes[i].top, boxes[j].top);
      if (wide > 2 && tall > 2) found.push(seen[i].textContent.slice(0, 30) + ' | ' + seen[j].textContent.slice(0, 30));
    }
  }
  if (document.scrollingElement.scrollWidth > innerWidth + 1) found.push('the page is wider than the window');
  return found;
}"""


def shown(open_page: Open, tmp_path: Path, view: str, theme: str = "light", **settings: Any) -> Any:
    """Open a view of the sentence and wait until it is drawn."""
    page = open_page(saved(sentence_view(), tmp_path) + f"#view={view}&theme={theme}", **settings)
    page.locator(".caption").filter(has_text="attention weight").wait_for()
    page.wait_for_timeout(150)
    return page


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("view", VIEWS)
def test_axe_finds_nothing_serious(view: str, theme: str, open_page: Open, tmp_path: Path, axe: str) -> None:
    """axe-core has no serious or critical finding: names, roles, contrast, order."""
    page = shown(open_page, tmp_path, view, theme)
    page.evaluate(axe)
    found = page.evaluate("axe.run(document, { resultTypes: ['violations'] })")
    grave = [one for one in found["violations"] if one["impact"] in ("serious", "critical")]
    assert [(one["id"], one["nodes"][0]["html"][:200]) for one in grave] == []


@pytest.mark.parametrize("view", VIEWS)
def test_letters_twice_as_large(view: str, open_page: Open, tmp_path: Path) -> None:
    """At a text size of 200 % no control lies over another, none is cut off, and nothing needs sideways scrolling."""
    page = shown(open_page, tmp_path, view)
    assert page.evaluate(CROWDED) == []
    page.evaluate("document.documentElement.style.fontSize = '200%'")
    page.wait_for_timeout(250)
    assert page.evaluate("parseFloat(getComputedStyle(document.querySelector('.caption')).fontSize)") > 24
    assert page.evaluate(CROWDED) == []


def test_dark_follows_the_system_and_the_choice(open_page: Open, tmp_path: Path) -> None:
    """The page is dark where the system is, unless a theme is chosen; the change is seen at once."""
    page = shown(open_page, tmp_path, "head", "auto", color_scheme="dark")
    ground = "getComputedStyle(document.getElementById('regard')).backgroundColor"
    assert page.evaluate(ground) == "rgb(20, 22, 26)"
    page.get_by_label("Theme").select_option("light")
    assert page.evaluate(ground) == "rgb(255, 255, 255)"
    page.get_by_label("Theme").select_option("auto")
    page.emulate_media(color_scheme="light")
    until(page, f"{ground} === 'rgb(255, 255, 255)'")  # the browser tells the page at its next frame


def test_everything_is_reached_by_tab(open_page: Open, tmp_path: Path) -> None:
    """Tab goes from control to control through the whole page, and what has the focus shows it."""
    page = shown(open_page, tmp_path, "head")
    names = set()
    for _ in range(30):
        page.keyboard.press("Tab")
        names.add(page.evaluate("document.activeElement.getAttribute('data-name') ?? document.activeElement.tagName"))
        if page.evaluate("document.activeElement !== document.body"):
            assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none"
    assert {"tab head", "Layer", "Head", "Scale", "Attention map", "Save PNG", "Zoom in"} <= names
