"""The viewer: time to the first picture, smoothness, and the time of a tile of 100,000 tokens."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import torch

import regard
from regard.viewer import View

from .measure import Table

NAME = "viewer"
_LAYERS, _HEADS, _TOKENS, _WIDTH = 12, 12, 512, 64
_FIRST = """() => new Promise((done) => {
  const look = () => document.querySelectorAll('button.thumb canvas').length >= COUNT
    ? requestAnimationFrame(() => done(performance.now())) : setTimeout(look, 2);
  look();
})"""
_COUNT = """() => {
  window.frames_seen = [];
  const next = (at) => { window.frames_seen.push(at); window.counting = requestAnimationFrame(next); };
  window.counting = requestAnimationFrame(next);
}"""
_STOP = """() => {
  cancelAnimationFrame(window.counting);
  return window.frames_seen.slice(1).map((at, i) => at - window.frames_seen[i]);
}"""


def run(quick: bool) -> Table:
    """Return milliseconds: medians, and the worst of twenty frames; software drawing where there is no GPU."""
    table = Table("Viewer, milliseconds", ["what", "median", "95th of 100", "number"])
    _tiles(table, 20_000 if quick else 100_000)
    made = _model()
    with tempfile.TemporaryDirectory() as folder, _browser() as browser:
        began = time.process_time()
        disk = made.save(Path(folder) / "view.html").as_uri()
        _add(table, "saving 144 heads, 512 tokens, CPU", [1e3 * (time.process_time() - began)])
        began = time.process_time()
        made._repr_mimebundle_()
        _add(table, "an output of a notebook of them, CPU", [1e3 * (time.process_time() - began)])
        _add(table, "first picture of 144 heads, 512 tokens, from disk", [_first(browser, disk) for _ in range(5)])
        with made.serve(open_browser=False) as served:
            # The first one computes; the server keeps what the next ones ask for.
            _add(table, "the same from the server, first time", [_first(browser, served.url)])
            _add(table, "the same from the server, again", [_first(browser, served.url) for _ in range(5)])
            for kind, act in (("drag", _drag), ("wheel", _wheel)):
                _add(table, f"frame while one head is moved: {kind}", _frames(browser, served.url, act))
    return table


def _model() -> View:
    # BERT of the base size as attention sees it: random queries and keys, which draw no easier than real ones.
    calls = {}
    for layer in range(_LAYERS):
        query, key = torch.randn(2, 1, _HEADS, _TOKENS, _WIDTH)
        calls[f"encoder.layer.{layer}"] = regard.attention(query, key, key, need_weights=True)[1]
    return regard.view(calls, [f"t{place}" for place in range(_TOKENS)])


def _tiles(table: Table, tokens: int) -> None:
    query, key = torch.randn(2, 1, 1, tokens, _WIDTH)
    weights = regard.attention(query, key, key, causal=True, need_weights=True)[1]
    entry = regard.view(weights).source.manifest()["maps"][0]
    for zoom in range(entry["finest"], entry["coarsest"] + 1):
        last = (tokens - 1) // (256 << zoom)
        times = []
        for row, column in {(max(last - 1, 0), last // 2), (max(last - 1, 0), last // 4), (last // 2, last // 4)}:
            for _ in range(3):
                source = regard.view(weights).source  # one that keeps nothing yet
                began = time.process_time()
                source.block(f"tile/0/0/mass/{zoom}/{row}/{column}")
                times.append(1e3 * (time.process_time() - began))
        _add(table, f"tile of {tokens:,} causal tokens, {1 << zoom} a cell, CPU", times)


@contextmanager
def _browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    found = shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=found, args=["--no-sandbox", "--disable-gpu"])
        yield started
        started.close()


def _first(browser: Any, address: str) -> float:
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.goto(address, wait_until="commit")
    taken = float(page.evaluate(_FIRST.replace("COUNT", str(_LAYERS * _HEADS))))
    page.close()
    return taken


def _frames(browser: Any, address: str, act: Callable[[Any, float, float], None]) -> list[float]:
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.goto(address)
    page.locator("button.thumb").first.click()
    page.get_by_text("kind of head").wait_for()
    box = page.locator(".matrix canvas").last.bounding_box()
    x, y = box["x"] + box["width"] * 0.4, box["y"] + box["height"] * 0.5
    page.mouse.move(x, y)
    page.mouse.wheel(0, -700)
    page.wait_for_timeout(500)
    page.evaluate(_COUNT)
    act(page, x, y)
    frames = [float(taken) for taken in page.evaluate(_STOP)]
    page.close()
    return frames


def _drag(page: Any, x: float, y: float) -> None:
    page.mouse.down()
    for step in range(60):
        page.mouse.move(x - 3 * step, y - 2 * step)
        page.wait_for_timeout(8)
    page.mouse.up()


def _wheel(page: Any, x: float, y: float) -> None:
    for step in range(60):
        page.mouse.wheel(0, -40 if step < 30 else 40)
        page.wait_for_timeout(8)


def _add(table: Table, what: str, times: list[float]) -> None:
    ordered = sorted(times)
    high = ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))]
    table.rows.append([what, f"{median(times):.1f}", f"{high:.1f}", str(len(times))])
    table.records.append({"what": what, "milliseconds": times})
