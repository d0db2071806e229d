"""A notebook: run in a real kernel, and its widget drawn in Chromium with the real handler at the other end."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import regard
from regard.viewer.html import script
from regard.viewer.widget import reply
from tests.browser.conftest import missing
from tests.browser.pages import HEADS, LAYERS, calls, sentence_view, until

CELL = """\
import warnings
warnings.simplefilter("error")
from tests.browser.pages import sentence_view
sentence_view()
"""

# A notebook's model: messages go to Python and come back with binary buffers.
HOST = """async (code) => {
  const { default: module } = await import(URL.createObjectURL(new Blob([code], { type: 'text/javascript' })));
  const heard = {};
  const values = { state: '' };
  const model = {
    send: async (content) => {
      const [answer, buffers] = await window.ask(JSON.stringify(content));
      const views = buffers.map((one) => new DataView(Uint8Array.from(atob(one), (c) => c.charCodeAt(0)).buffer));
      heard['msg:custom']?.(answer, views);
    },
    on: (event, callback) => { heard[event] = callback; },
    off: (event) => { delete heard[event]; },
    get: (name) => values[name],
    set: (name, value) => { values[name] = value; },
    save_changes: () => { window.state = values.state; },
  };
  window.turn = (state) => { values.state = state; heard['change:state']?.(); };
  const element = document.body.appendChild(document.createElement('div'));
  window.close_widget = module.render({ model, el: element });
}"""


def test_notebook_runs_in_a_real_kernel(open_page: Callable[..., Any], tmp_path: Path) -> None:
    """nbclient and ipykernel: the output is a picture, a line of text, and a page that needs no kernel any more."""
    try:
        import nbformat
        from nbclient import NotebookClient
    except ModuleNotFoundError:
        missing("nbclient is not installed")
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(CELL)])
    NotebookClient(book, timeout=300, kernel_name="python3").execute()
    bundles = [output.data for output in book.cells[0].outputs if output.output_type == "execute_result"]
    assert len(bundles) == 1
    assert base64.b64decode(bundles[0]["image/png"]).startswith(b"\x89PNG")
    assert bundles[0]["text/plain"].startswith("View(2 maps")
    saved = tmp_path / "saved.html"  # as a saved notebook, or one that was converted, is opened
    saved.write_text(f'<!doctype html><meta charset="utf-8">{bundles[0]["text/html"]}', "utf-8")
    page = open_page(saved.as_uri())
    frame = page.frame_locator("iframe")
    frame.get_by_role("tab", name="Overview").click()
    frame.locator("button.thumb canvas").nth(LAYERS * HEADS - 1).wait_for()
    frame.locator("button.thumb").nth(5).click()
    frame.get_by_role("heading", name="layers.1, head 1").wait_for()
    frame.locator(".matrix canvas").first.wait_for()


@pytest.mark.parametrize("kept_from", ["scripts", "frames"])
def test_where_no_script_runs_the_picture_is_seen(kept_from: str, browser: Any, tmp_path: Path) -> None:
    """A page whose policy, which frames inherit, forbids scripts; and frames taken out."""
    text = sentence_view()._repr_mimebundle_()["text/html"]
    image = text[: text.index("<iframe")]
    policy = "<meta http-equiv='Content-Security-Policy' content=\"script-src 'none'\">"
    shown = {}
    for name, body in (("output", image if kept_from == "frames" else text), ("picture", image)):
        saved = tmp_path / f"{name}.html"
        head = policy if kept_from == "scripts" else ""
        saved.write_text(f'<!doctype html><meta charset="utf-8">{head}{body}', "utf-8")
        context = browser.new_context(viewport={"width": 1000, "height": 700})
        page = context.new_page()
        page.goto(saved.as_uri())
        shown[name] = page.screenshot()
        context.close()
    assert len(shown["picture"]) > 20_000  # no empty page
    assert shown["output"] == shown["picture"]


def test_output_becomes_exact_while_its_kernel_lives(open_page: Callable[..., Any], tmp_path: Path) -> None:
    """The frame shows what it holds, then everything that the bridge brings it, and again its own when that goes."""
    many = regard.view(calls(300), [f"t{n}" for n in range(300)])
    bundle = many._repr_mimebundle_()
    saved = tmp_path / "output.html"
    saved.write_text(f'<!doctype html><meta charset="utf-8">{bundle["text/html"]}', "utf-8")
    page = open_page(saved.as_uri())
    frame = page.frame_locator("iframe")
    frame.get_by_text("This output holds").wait_for()
    (bridge,) = many._bridges
    asked = list[str]()

    def ask(text: str) -> Any:
        content = json.loads(text)
        asked.append(content["key"])
        answer = reply(bridge_source, content)
        assert answer is not None
        return answer[0], [base64.b64encode(block).decode() for block in answer[1]]

    bridge_source = many.source
    page.expose_function("ask", ask)
    live = HOST.replace("{ state: '' }", f"{{ state: 'view=head&map=1&head=2', name: '{bridge.name}' }}")
    live = live.replace("module.render({ model, el: element })", "module.initialize({ model })")
    page.evaluate(live, script("bridge"))
    frame.get_by_role("heading", name="layers.1, head 2").wait_for()  # where the notebook has been before
    frame.get_by_text("Everything, exact; computed when asked.").wait_for()
    assert any(key.startswith("tile/1/2/mass/0/") for key in asked)
    frame.get_by_role("tab", name="Text").click()
    until(page, "window.state.includes('view=text')")
    page.evaluate("window.close_widget()")
    frame.get_by_text("This output holds").wait_for()


def test_widget_draws_over_messages(open_page: Callable[..., Any]) -> None:
    """The widget's module asks the handler for blocks, draws all heads, and keeps its state in the synced trait."""
    source, asked = sentence_view().source, list[str]()

    def ask(text: str) -> Any:
        content = json.loads(text)
        asked.append(content["key"])
        answer = reply(source, content)
        assert answer is not None
        return answer[0], [base64.b64encode(block).decode() for block in answer[1]]

    page = open_page("about:blank")
    page.expose_function("ask", ask)
    page.evaluate(HOST, script())
    page.get_by_role("tab", name="Overview").click()
    heads = page.locator("button.thumb")
    heads.nth(LAYERS * HEADS - 1).wait_for()
    assert heads.count() == LAYERS * HEADS
    assert {"manifest", "overview/0", "overview/1"} <= set(asked)
    heads.nth(5).click()
    page.get_by_role("heading", name="layers.1, head 1").wait_for()
    assert page.evaluate("window.state") == "map=1&head=1"  # one short text begins with one head
    assert "tile/1/1/mass/0/0/0" in asked
    page.evaluate("window.turn('view=text&head=2')")
    page.locator(".tokens button").first.wait_for()
    assert page.get_by_role("tab", name="Text").get_attribute("aria-selected") == "true"
    page.evaluate("window.close_widget()")


@pytest.mark.parametrize("key", ["image/0", "tile/9/9/mass/0/0/0", "../../etc/passwd"])
def test_widget_hears_that_there_is_nothing(key: str) -> None:
    """A key of nothing is answered so, and with no bytes."""
    assert reply(sentence_view().source, {"kind": "block", "id": 1, "key": key}) == (
        {"kind": "block", "id": 1, "found": False},
        [],
    )
