"""The first picture of a saved page: what it shows, and that it waits for nothing it does not need."""

from __future__ import annotations

import io
import shutil
import subprocess
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

import regard
from tests.browser.conftest import FLAGS
from tests.browser.pages import TOKENS, calls, saved, sentence_view, until

Open = Callable[..., Any]
TRACK = (91, 122, 168)
# A browser that is not looked at gives no frames.
NO_FRAMES = "window.requestAnimationFrame = () => 0;"
# The matrix without its tracks has none of their colour.
HAS_TRACKS = """() => {
  const canvas = [...document.querySelectorAll('.matrix canvas')].at(-1);
  if (!canvas || !canvas.width) return false;
  const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
  let count = 0;
  for (let i = 0; i < data.length; i += 4) count += data[i] === 91 && data[i + 1] === 122 && data[i + 2] === 168;
  return count > 200;
}"""


class Slow:
    """Serves a page up to the end of its script, and the rest when asked to."""

    def __init__(self, text: str) -> None:
        code = text.index('<script type="module" async>')
        self.cut = text.index("</script>", code) + len("</script>\n")
        self.rest = Event()
        slow = self

        class Handler(BaseHTTPRequestHandler):
            """Answers every request with the page."""

            def do_GET(self) -> None:
                """Send the first part, wait, send the other."""
                self.send_response(200)
                self.send_header("Content-Type", "text/html; charset=utf-8")
                self.end_headers()
                self.wfile.write(text[: slow.cut].encode())
                self.wfile.flush()
                slow.rest.wait(30)
                self.wfile.write(text[slow.cut :].encode())

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/"
        Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self) -> None:
        """End it."""
        self.rest.set()
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def slow(tmp_path: Path) -> Iterator[Slow]:
    """A page of 40 tokens, which comes in two parts."""
    made = regard.view(calls(40), [f"t{n}" for n in range(40)])
    found = Slow(made.save(tmp_path / "view.html").read_text("utf-8"))
    yield found
    found.close()


def test_all_heads_are_seen_while_the_rest_is_on_its_way(slow: Slow, browser: Any) -> None:
    """The overview is drawn from the first part, and from it a head that is asked for; tracks come with the rest."""
    context = browser.new_context()
    page = context.new_page()
    page.set_default_timeout(60_000)
    page.goto(slow.url, wait_until="commit")
    page.locator("button.thumb canvas").nth(7).wait_for()
    page.locator(".thumb span", has_text="mixed").first.wait_for()  # the measures are there too
    assert page.evaluate("document.readyState") == "loading"
    page.locator("button.thumb").nth(5).click()
    page.get_by_role("heading", name="layers.1, head 1").wait_for()
    page.locator(".matrix").wait_for()
    assert page.evaluate("document.readyState") == "loading"
    assert not page.evaluate(f"({HAS_TRACKS})()")
    assert page.locator(".error").count() == 0
    slow.rest.set()
    until(page, f"({HAS_TRACKS})()")
    context.close()


def test_short_text_begins_with_one_head_and_its_words(open_page: Open, tmp_path: Path) -> None:
    """Thirteen tokens: one head, and a line that says how to read it; the overview is a tab away, with an address."""
    page = open_page(saved(sentence_view(), tmp_path))
    page.get_by_text("A row looks, a column is looked at.", exact=True).wait_for()
    assert page.get_by_role("tab", name="One head").get_attribute("aria-selected") == "true"
    page.get_by_role("tab", name="Overview").click()
    page.locator("button.thumb").first.wait_for()
    assert "view=overview" in page.url
    page.reload()
    page.locator("button.thumb").first.wait_for()


def test_maps_grow_into_the_page(open_page: Open, tmp_path: Path) -> None:
    """Few heads are drawn large, all of them seen at once, again in another window; many stay small."""
    page = open_page(saved(sentence_view(), tmp_path) + "#view=overview")
    page.locator(".thumb span", has_text="mixed").first.wait_for()
    size = "document.querySelector('.thumb canvas').clientWidth"
    seen = "document.scrollingElement.scrollHeight <= innerHeight + 1"
    large = page.evaluate(size)
    assert large > 160
    assert page.evaluate(seen)
    page.set_viewport_size({"width": 1280, "height": 700})
    until(page, f"{size} < {large} - 20 && {seen}")
    many = open_page(saved(regard.view(calls(13, 8, 12), TOKENS), tmp_path) + "#view=overview")
    many.locator("button.thumb").nth(95).wait_for()
    assert many.evaluate(size) < 80


def test_help_says_what_the_words_mean(open_page: Open, tmp_path: Path) -> None:
    """A head's kind is explained where it is pointed at, all kinds in the help, which stays open from view to view."""
    page = open_page(saved(sentence_view(), tmp_path))
    page.get_by_text("kind of head").wait_for()
    kind = page.locator("dt", has_text="kind of head").locator("+ dd")
    assert str(kind.get_attribute("title")).startswith(f"{kind.text_content()}: ")
    page.get_by_text("Help", exact=True).click()
    page.get_by_text("none of the others").wait_for()
    page.get_by_role("tab", name="Overview").click()
    thumb = page.locator("button.thumb", has_text="mixed").first
    assert str(thumb.get_attribute("title")).endswith(". mixed: none of the others")
    assert page.get_by_text("none of the others").is_visible()


def test_the_bar_ends_at_the_largest_number(open_page: Open, tmp_path: Path) -> None:
    """The end is the largest weight of the head; where more tokens are a drag away it is a rounder one, and named."""
    weights = calls(12, 1, 1)["layers.0"].dense()[0, 0] * 0.3
    page = open_page(saved(regard.view(weights), tmp_path))
    page.locator(".caption").filter(has_text="one token a cell").wait_for()
    assert page.locator(".ticks span").last.text_content() == "0.3"
    assert "rounded" not in page.locator(".foot").text_content()
    longer = open_page(saved(regard.view(0.83 * calls(700, 1, 1)["layers.0"].dense()), tmp_path) + "#view=head&zoom=8")
    longer.locator(".caption").filter(has_text="rounded up from 0.83").wait_for()
    assert longer.locator(".ticks span").last.text_content() == "1"
    longer.get_by_text("attention weight, linear, end rounded up from 0.83").wait_for()


def test_what_has_come_is_drawn_without_a_frame(browser: Any, tmp_path: Path) -> None:
    """A browser that gives no frames, as one that is photographed, draws cells and tracks, and again in a new size."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    context.add_init_script(NO_FRAMES)
    page = context.new_page()
    page.set_default_timeout(60_000)
    page.goto(saved(sentence_view(), tmp_path))
    until(page, f"({HAS_TRACKS})()")
    page.wait_for_timeout(300)
    page.evaluate("window.setTimeout = () => 0")  # a new size is not even left to a timer
    page.set_viewport_size({"width": 1280, "height": 640})
    height = "document.querySelector('.matrix{}').clientHeight"
    until(page, f"{height.format(' canvas:last-of-type')} === {height.format('')}")
    until(page, f"({HAS_TRACKS})()")
    context.close()


@pytest.mark.usefixtures("browser")
def test_photographs_are_alike(tmp_path: Path) -> None:
    """Chromium's own screenshots, whose clock runs ahead of what is drawn, show the same each time, with tracks."""
    address = saved(sentence_view(), tmp_path)
    found = [_photograph(address, tmp_path / f"{n}.png", 1000 * 4**n) for n in range(3)]
    for one in found:
        assert (np.abs(one.astype(int) - TRACK).max(-1) == 0).sum() > 200
        # The browser rounds the corners of buttons anew each time.
        assert np.abs(one.astype(int) - found[0]).max() <= 4


def _photograph(address: str, to: Path, milliseconds: int) -> NDArray[np.uint8]:
    found = shutil.which("chromium") or shutil.which("google-chrome") or "chromium-browser"
    command = [
        found, *FLAGS, "--headless", "--window-size=1200,800", f"--virtual-time-budget={milliseconds}",
        f"--screenshot={to}", f"--user-data-dir={to.parent / 'profile'}", address,
    ]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True, timeout=300)
    return np.asarray(Image.open(io.BytesIO(to.read_bytes())).convert("RGB"))
