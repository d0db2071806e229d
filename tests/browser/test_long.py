"""100,000 tokens, recorded exactly: the page goes from the whole matrix to single tokens, the server stays small."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest
import torch

from regard.backends import native
from tests.browser.pages import cell_of, shares
from tests.browser.serve_long import TOKENS, WIDTH, inputs
from tests.processes import peak_memory

MOST_GROWTH = 500
TILES = """async () => {
  const found = [];
  for (let zoom = 0; zoom < 9; zoom++) {
    const last = Math.floor((100000 - 1) / (256 << zoom));
    for (const [row, column] of [[last - 1, last >> 1], [last - 1, last >> 2], [last >> 1, last >> 3]]) {
      const begin = performance.now();
      const answer = await fetch(`/data/tile/0/0/mass/${zoom}/${row}/${column}`);
      const bytes = (await answer.arrayBuffer()).byteLength;
      found.push([zoom, answer.status, bytes, performance.now() - begin]);
    }
  }
  return found;
}"""


class Long(NamedTuple):
    """A running server."""

    url: str
    memory: float
    process: int


@pytest.fixture(scope="module")
def long() -> Iterator[Long]:
    """The server, once for all tests of this file."""
    if not native.available():
        pytest.skip("without the native kernel 100,000 tokens take too long")
    command = [sys.executable, "-m", "tests.browser.serve_long"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        url, before = process.stdout.readline().split()
        yield Long(url, float(before), process.pid)
        process.terminate()


def test_zooms_to_single_tokens(long: Long, open_page: Callable[..., Any], record_property: Any) -> None:
    """From cells of hundreds of tokens to a cell whose weight is that of the definition; under 500 MiB on the way."""
    page = open_page(long.url)
    page.locator("button.thumb").first.click()
    caption = page.locator(".caption")
    caption.filter(has_text=re.compile(r"cells of (64|128|256|512) ")).wait_for()
    canvas = page.locator(".matrix canvas").last
    box = canvas.bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.2, box["y"] + box["height"] * 0.6)
    for _ in range(26):
        page.mouse.wheel(0, -300)
    caption.filter(has_text="one token a cell").wait_for()
    sentence = _single(page, box)
    query, key = cell_of(sentence)
    queries, keys = inputs()
    scores = (keys[0, 0, : query + 1].double() @ queries[0, 0, query].double()) / WIDTH**0.5
    exact = float(torch.softmax(scores, 0)[key])
    assert 100 < key < query < TOKENS
    assert abs(shares(sentence)[0] - exact) < max(0.06 * exact, 1e-7)
    growth = peak_memory(long.process) - long.memory
    record_property("viewer, 100,000 tokens: growth of the server in MiB", round(growth))
    assert growth < MOST_GROWTH


def _single(page: Any, box: Any) -> str:
    """Move the pointer to and fro until single tokens have come, and return what is said of one."""
    for step in range(3000):
        page.mouse.move(box["x"] + box["width"] * 0.2 + 20 + step % 5, box["y"] + box["height"] * 0.6)
        page.wait_for_timeout(100)
        sentence = str(page.locator(".says").text_content())
        if re.search(r"query \d+ .* key \d+ ", sentence) and "not recorded" not in sentence:
            return sentence
    pytest.fail(f"after five minutes the page still says: {sentence}")


def test_tiles_of_any_zoom(long: Long, open_page: Callable[..., Any], record_property: Any) -> None:
    """Every zoom has its tiles, whole, and the server stays small; how long each took to come is printed."""
    page = open_page(long.url)
    page.locator("button.thumb").first.wait_for()
    by_zoom: dict[int, list[float]] = {}
    for zoom, status, size, milliseconds in page.evaluate(TILES):
        assert status == 200
        assert size > 0
        by_zoom.setdefault(zoom, []).append(milliseconds)
    least = {zoom: min(times) for zoom, times in by_zoom.items()}
    record_property("viewer, 100,000 tokens: milliseconds of a tile", [round(least[zoom]) for zoom in range(9)])
    assert peak_memory(long.process) - long.memory < MOST_GROWTH
