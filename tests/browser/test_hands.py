"""Wheel, finger and keys: the picture takes what is meant for it, and the page and the notebook around get the rest."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import regard
from regard.viewer.html import script
from regard.viewer.widget import output, reply
from tests.browser.pages import HEADS, LAYERS, calls, saved, sentence_view, until
from tests.browser.test_notebook import HOST

Open = Callable[..., Any]
SCROLLED = "document.scrollingElement.scrollTop"
ZOOM = "Number(new URLSearchParams(location.hash.slice(1)).get('zoom') ?? 0)"


@pytest.fixture
def small(open_page: Open, tmp_path: Path) -> Any:
    """One head of 300 tokens in a window too small for the page, touched or wheeled."""
    address = saved(regard.view(calls(300, 1, 1)), tmp_path) + "#view=head"
    page = open_page(address, viewport={"width": 700, "height": 420}, has_touch=True)
    page.get_by_text("kind of head").wait_for()
    page.evaluate("document.querySelector('.matrix').scrollIntoView({ block: 'center' })")
    page.wait_for_timeout(200)
    return page


def middle(page: Any) -> tuple[float, float]:
    """Return a point of the matrix that is on the screen."""
    box = page.locator(".matrix canvas").last.bounding_box()
    return box["x"] + 200, min(300, max(120, box["y"] + box["height"] / 2))


def test_the_wheel_scrolls_past_a_whole_picture(small: Any) -> None:
    """All in view: the page scrolls and nothing zooms; with Ctrl it zooms, and then the wheel is the picture's."""
    page = small
    before = page.evaluate(SCROLLED)
    page.mouse.move(*middle(page))
    page.mouse.wheel(0, 60)
    until(page, f"{SCROLLED} > {before} + 20")
    page.wait_for_timeout(300)
    assert page.evaluate(ZOOM) == 0
    page.mouse.move(*middle(page))
    before = page.evaluate(SCROLLED)
    page.keyboard.down("Control")
    page.mouse.wheel(0, -600)
    page.keyboard.up("Control")
    until(page, f"{ZOOM} > 0")
    first = page.evaluate(ZOOM)
    page.mouse.wheel(0, -300)
    until(page, f"{ZOOM} > {first}")
    assert page.evaluate(SCROLLED) == before


def test_a_finger_scrolls_the_page(small: Any) -> None:
    """One finger over a picture that is all in view moves the page; after zooming in it moves the picture."""
    page = small
    session = page.context.new_cdp_session(page)

    def swipe() -> None:
        x, y = middle(page)
        session.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": [{"x": x, "y": y}]})
        for step in range(1, 11):
            page.wait_for_timeout(16)
            session.send(
                "Input.dispatchTouchEvent", {"type": "touchMove", "touchPoints": [{"x": x, "y": y + 9 * step}]}
            )
        session.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})

    before = page.evaluate(SCROLLED)
    swipe()
    until(page, f"{SCROLLED} < {before} - 30")
    page.get_by_role("button", name="Zoom in").click()
    page.get_by_role("button", name="Zoom in").click()
    until(page, f"{ZOOM} > 0")
    page.evaluate("document.querySelector('.matrix').scrollIntoView({ block: 'center' })")
    page.wait_for_timeout(300)
    at = page.evaluate("Number(new URLSearchParams(location.hash.slice(1)).get('y') ?? 0)")
    before = page.evaluate(SCROLLED)
    swipe()
    until(page, f"Number(new URLSearchParams(location.hash.slice(1)).get('y') ?? 0) < {at} - 1")
    assert page.evaluate(SCROLLED) == before


def answering(source: Any) -> Callable[[str], Any]:
    """Return what a notebook's page calls to ask its kernel."""

    def ask(text: str) -> Any:
        answer = reply(source, json.loads(text))
        assert answer is not None
        return answer[0], [base64.b64encode(block).decode() for block in answer[1]]

    return ask


@pytest.fixture
def notebook(open_page: Open) -> Any:
    """The widget in a tall page that listens to keys as notebooks do: before their targets, and after them."""
    source = sentence_view().source
    page = open_page("about:blank")
    page.expose_function("ask", answering(source))
    page.evaluate(
        """() => {
          window.heard = [];
          document.addEventListener('keydown', (event) => {
            if (!event.target.closest?.('[data-lm-suppress-shortcuts]')) window.heard.push('before ' + event.key);
          }, true);
          document.addEventListener('keydown', (event) => window.heard.push('after ' + event.key));
          document.body.style.height = '3000px';
        }"""
    )
    page.evaluate(HOST, script())
    page.locator(".matrix canvas").last.wait_for()
    page.get_by_text("kind of head").wait_for()
    return page


def test_keys_do_not_reach_the_notebook(notebook: Any) -> None:
    """d, d in the page deletes no cell, nor does any other key; those with Ctrl are the notebook's; nothing sticks."""
    page = notebook
    page.locator(".matrix canvas").last.focus()
    for key in ["d", "d", "x", "0", "ArrowDown", "Enter", "]"]:
        page.keyboard.press(key)
    page.get_by_role("heading", name="layers.0, head 1").wait_for()
    assert page.evaluate("window.heard") == []
    page.keyboard.press("Control+s")
    assert "before s" in page.evaluate("window.heard")
    assert "after s" in page.evaluate("window.heard")
    page.evaluate("() => { window.heard = []; document.activeElement.blur(); }")
    page.keyboard.press("d")
    assert page.evaluate("window.heard") == ["before d", "after d"]


def test_the_wheel_scrolls_the_notebook(notebook: Any) -> None:
    """Over a picture that is all in view the wheel scrolls what the notebook scrolls."""
    page = notebook
    box = page.locator(".matrix canvas").last.bounding_box()
    page.mouse.move(box["x"] + 200, box["y"] + 200)
    page.mouse.wheel(0, 120)
    until(page, f"{SCROLLED} > 60")


# A notebook that answers for its kernel: the frame opens with its own data, and again with what is answered.
BRIDGE = """(name) => window.addEventListener('message', async ({ data, source }) => {
  if (data?.regard !== name) return;
  if (data.kind === 'hello') source.postMessage({ regard: name, kind: 'here', state: '' }, '*');
  if (data.kind !== 'block') return;
  const [, buffers] = await window.ask(JSON.stringify({ kind: 'block', id: data.id, key: data.key }));
  const block = buffers.length ? Uint8Array.from(atob(buffers[0]), (c) => c.charCodeAt(0)).buffer : null;
  source.postMessage({ regard: name, kind: 'block', id: data.id, block }, '*');
})"""


def test_a_frame_in_a_notebook(open_page: Open) -> None:
    """Also after the kernel has taken over each key acts once; the wheel over a whole picture scrolls the notebook."""
    source, name = sentence_view().source, "regard-frame"
    page = open_page("about:blank")
    page.expose_function("ask", answering(source))
    page.evaluate(BRIDGE, name)
    page.evaluate(
        "(html) => { document.body.innerHTML = html; document.body.style.height = '3000px'; }",
        output(source, name, None),
    )
    inside = page.frame_locator("iframe")
    inside.locator(".caption").filter(has_text="Everything, exact").wait_for()
    inside.get_by_text("kind of head").wait_for()
    inside.locator(".matrix canvas").last.focus()
    page.keyboard.press("]")
    inside.get_by_role("heading", name="layers.0, head 1").wait_for()
    page.keyboard.press("]")
    inside.get_by_role("heading", name="layers.0, head 2").wait_for()
    box = inside.locator(".matrix canvas").last.bounding_box()
    page.mouse.move(box["x"] + 200, box["y"] + 200)
    page.mouse.wheel(0, 120)
    until(page, f"{SCROLLED} > 60")


def test_back_goes_back(open_page: Open, tmp_path: Path) -> None:
    """From the overview to a head, to its text, and back the same way; what was leafed through is one step."""
    page = open_page(saved(sentence_view(), tmp_path) + "#view=overview")
    page.locator("button.thumb").nth(5).click()
    page.get_by_role("heading", name="layers.1, head 1").wait_for()
    page.wait_for_timeout(1200)
    page.get_by_role("tab", name="Text").click()
    page.locator(".tokens button").first.wait_for()
    page.wait_for_timeout(1200)
    for _ in range(3):
        page.keyboard.press("]")
    page.go_back()
    page.wait_for_timeout(100)
    assert page.get_by_label("Head", exact=True).input_value() == "1"
    page.go_back()
    page.get_by_role("heading", name="layers.1, head 1").wait_for()
    page.go_back()
    page.locator("button.thumb").first.wait_for()
    page.go_forward()
    page.get_by_role("heading", name="layers.1, head 1").wait_for()


def test_the_overview_is_one_stop(open_page: Open, tmp_path: Path) -> None:
    """Tab goes to one head and on; arrows go to the others, up and down through the layers."""
    page = open_page(saved(sentence_view(), tmp_path) + "#view=overview")
    page.locator(".thumb span", has_text="mixed").first.wait_for()
    assert page.locator("button.thumb[tabindex='0']").count() == 1
    assert page.locator("button.thumb").count() == LAYERS * HEADS
    page.locator("button.thumb").first.focus()
    name = "document.activeElement.getAttribute('aria-label')"
    last = f"layers.1, head {HEADS - 1}"
    way = ["ArrowRight 0.1", "ArrowDown 1.1", "ArrowLeft 1.0", "ArrowUp 0.0", "ArrowUp 0.0", f"End 1.{HEADS - 1}"]
    for key, (layer, head) in [(step.split()[0], step.split()[1].split(".")) for step in way]:
        where = f"layers.{layer}, head {head}"
        page.keyboard.press(key)
        assert page.evaluate(name).startswith(where)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.closest('.thumb')") is None
    page.keyboard.press("Shift+Tab")
    assert page.evaluate(name).startswith(last)


def test_what_is_pointed_at_is_lit(open_page: Open, tmp_path: Path) -> None:
    """A note at the pointer says weight and tokens; it goes with the pointer, and buttons lie beside the cells."""
    page = open_page(saved(sentence_view(), tmp_path) + "#view=head")
    page.get_by_text("kind of head").wait_for()
    canvas = page.locator(".matrix canvas").last
    box = canvas.bounding_box()
    before = canvas.screenshot()
    page.mouse.move(box["x"] + 140, box["y"] + 520)
    note = page.locator(".note")
    note.wait_for()
    number, tokens = str(note.inner_text()).split("\n")
    assert number.endswith("%") or number == "masked"
    assert " → " in tokens
    page.wait_for_timeout(200)
    assert canvas.screenshot() != before
    page.mouse.move(5, 5)
    note.wait_for(state="hidden")
    for one in page.locator(".zooms button").all():
        button = one.bounding_box()
        assert button["y"] + button["height"] <= box["y"] + 1


def test_tokens_are_large_enough(open_page: Open, tmp_path: Path) -> None:
    """Also one of a single thin letter has 24 pixels a side."""
    made = regard.view(calls(4, 1, 1), [".", "i", "'", "word"])
    page = open_page(saved(made, tmp_path) + "#view=text")
    page.locator(".tokens button").nth(3).wait_for()
    for one in page.locator(".tokens button").all():
        box = one.bounding_box()
        assert min(box["width"], box["height"]) >= 24


@pytest.mark.parametrize("scheme", ["dark", "light"])
def test_forced_colours_show_weights_and_choice(scheme: str, open_page: Open, tmp_path: Path) -> None:
    """Where few colours of the system take the place of the page's, weights keep theirs, what is chosen stands out."""
    page = open_page(
        saved(sentence_view(), tmp_path) + "#view=text&query=8", forced_colors="active", color_scheme=scheme
    )
    page.locator(".tokens button.chosen").wait_for()
    page.wait_for_timeout(200)
    ground = "[...document.querySelectorAll('.tokens button')].map((one) => getComputedStyle(one).backgroundColor)"
    assert len(set(page.evaluate(ground))) > 4
    colour = "getComputedStyle(document.querySelector('[role=tab]{}')).backgroundColor"
    assert page.evaluate(colour.format("[aria-selected=true]")) != page.evaluate(colour.format("[aria-selected=false]"))
    assert page.evaluate("getComputedStyle(document.querySelector('.chosen')).outlineStyle") == "solid"
    page.get_by_role("tab", name="Numbers").click()
    page.locator("table td").first.wait_for()
    cells = "[...document.querySelectorAll('td')].map((one) => getComputedStyle(one).backgroundColor)"
    assert len(set(page.evaluate(cells))) > 10


def test_settings_of_a_telephone_say_that_there_are_more(open_page: Open, tmp_path: Path) -> None:
    """The row of settings fades where it goes on, and its end does not."""
    page = open_page(
        saved(regard.view(calls(30, 1, 2)), tmp_path) + "#view=head", viewport={"width": 390, "height": 844}
    )
    page.get_by_text("kind of head").wait_for()
    marks = "[...document.querySelector('.regard > .bar').classList].slice(1).sort().join(' ')"
    until(page, f"{marks} === 'more'")
    assert "gradient" in page.evaluate("getComputedStyle(document.querySelector('.regard > .bar')).maskImage")
    page.evaluate("document.querySelector('.regard > .bar').scrollLeft = 40")
    until(page, f"{marks} === 'less more'")
    page.evaluate("document.querySelector('.regard > .bar').scrollLeft = 1e5")
    until(page, f"{marks} === 'less'")
    page.screenshot(path=tmp_path / "phone.png")
    page.set_viewport_size({"width": 1280, "height": 844})
    until(page, f"{marks} === ''")
