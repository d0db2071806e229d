"""The notebook: questions and answers over its channel, and a picture where no script runs."""

import base64
import html.parser
import re
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import regard
from regard.viewer.widget import reply
from tests.viewer.examples import named_view, short_script, weights

__all__ = ["short_script"]

pytestmark = pytest.mark.usefixtures("short_script")


def test_questions_are_answered_with_one_buffer() -> None:
    """A key that exists gives its bytes; one that does not says so."""
    source = named_view().source
    key = "tile/0/2/mass/0/0/0"
    assert reply(source, {"kind": "block", "id": 7, "key": key}) == (
        {"kind": "block", "id": 7, "found": True},
        [source.block(key)],
    )
    assert reply(source, {"kind": "block", "id": 8, "key": "image/0"}) == (
        {"kind": "block", "id": 8, "found": False},
        [],
    )


NO_QUESTIONS = [
    None, 3, "x", [], {}, {"kind": "run"}, {"kind": "block"}, {"kind": "block", "id": 1},
    {"kind": "block", "id": "1", "key": "x"}, {"kind": "block", "id": 1, "key": 2},
]  # fmt: skip


@pytest.mark.parametrize("content", NO_QUESTIONS)
def test_other_messages_are_ignored(content: Any) -> None:
    """What is no question gets no answer."""
    assert reply(named_view().source, content) is None


def test_widget_answers_over_its_channel(monkeypatch: pytest.MonkeyPatch) -> None:
    """The widget holds the page's script and sends answers as the kernel hands it messages."""
    made = named_view().widget()
    sent: list[tuple[Any, Any]] = []
    monkeypatch.setattr(made, "send", lambda content, buffers=None: sent.append((content, buffers)))
    made._handle_custom_msg({"kind": "block", "id": 1, "key": "row/0/0/3"}, [])
    content, buffers = sent[0]
    assert content["found"]
    assert buffers == [named_view().source.block("row/0/0/3")]
    assert made.state == ""
    assert "render" in made._esm


def test_a_notebook_gets_a_page_a_picture_and_text() -> None:
    """The output is a page in a sandboxed frame over its picture, a PNG and a line: nothing that needs a kernel."""
    shown = named_view()
    bundle = shown._repr_mimebundle_()
    assert set(bundle) == {"image/png", "text/html", "text/plain"}
    assert bundle["image/png"].startswith(b"\x89PNG")
    assert bundle["text/plain"].startswith("View(")
    frame = Elements(bundle["text/html"]).of("iframe")
    assert str(frame["sandbox"]).split() == ["allow-scripts", "allow-downloads"]  # no origin, no top, no forms
    assert str(Elements(bundle["text/html"]).of("img")["src"]).startswith("data:image/png;base64,")
    page = str(frame["srcdoc"])
    assert Elements(page).of("main")["data-name"] == frame["name"]
    assert "script-src 'sha256-" in page
    (made,) = shown._bridges
    assert made.name == frame["name"]


@pytest.mark.parametrize("front_end", ["nbconvert", "VS Code", "VS Code, other", "VS Code, read aloud", "GitHub"])
def test_every_front_end_takes_a_part_that_it_can_show(front_end: str) -> None:
    """Whichever part of an output is preferred, it holds the picture; GitHub's sanitiser leaves the image of HTML."""
    bundle = named_view()._repr_mimebundle_()
    kind = next(kind for kind in ORDERS[front_end] if kind in bundle)
    assert kind == "text/html"
    left = bundle[kind]
    if front_end == "GitHub":  # neither frames nor scripts nor styles (github.com/karolzak/ipyplot/issues/3)
        left = re.sub(r"<iframe.*?</iframe>| style=\"[^\"]*\"", "", left, flags=re.DOTALL)
    picture = str(Elements(left).of("img")["src"]).removeprefix("data:image/png;base64,")
    assert base64.b64decode(picture) == bundle["image/png"]


# What each prefers, the first that an output has.
# nbconvert: the `display_data_priority` of its `HTMLExporter` (7.17).
# VS Code: a saved notebook by `orderOfMimeTypes` in extensions/ipynb/src/deserializers.ts (commit 7f6f43fe), anything
# else by `NOTEBOOK_DISPLAY_ORDER` in src/vs/workbench/contrib/notebook/common/notebookCommon.ts, with a screen reader
# by `ACCESSIBLE_NOTEBOOK_DISPLAY_ORDER` there (older versions: text before HTML). `application/vnd.*` is any such type.
# GitHub: its code is not public. Its documentation ("Working with non-code files") says that notebooks become static
# HTML, without scripts, and names nbconvert to do the same; that it chooses as nbconvert does and takes away afterwards
# is what Jupyter's developers found (github.com/jupyter/nbviewer/issues/453).
ORDERS = {
    "nbconvert": ("application/vnd.jupyter.widget-view+json", "application/javascript", "text/html", "text/markdown",
                  "image/svg+xml", "text/vnd.mermaid", "text/latex", "image/png", "image/jpeg", "text/plain"),
    "VS Code": ("application/vnd.jupyter.widget-view+json", "application/geo+json", "text/html",
                "application/javascript", "image/gif", "text/latex", "text/markdown", "image/png", "image/svg+xml",
                "image/jpeg", "application/json", "text/plain"),
    "VS Code, other": ("application/json", "application/javascript", "text/html", "image/svg+xml", "text/latex",
                       "text/markdown", "image/png", "image/jpeg", "text/plain"),
    "VS Code, read aloud": ("text/latex", "text/markdown", "application/json", "text/html", "image/svg+xml",
                            "image/png", "image/jpeg", "text/plain"),
}  # fmt: skip
ORDERS["GitHub"] = ORDERS["nbconvert"]


def test_the_bridge_answers_like_the_widget(monkeypatch: pytest.MonkeyPatch) -> None:
    """It has every weight, exact, and another name for each output."""
    shown = named_view()
    names = [Elements(shown._repr_mimebundle_()["text/html"]).of("iframe")["name"] for _ in range(2)]
    assert len(set(names)) == 2
    made, sent = shown._bridges[1], list[tuple[Any, Any]]()
    monkeypatch.setattr(made, "send", lambda content, buffers=None: sent.append((content, buffers)))
    made._handle_custom_msg({"kind": "block", "id": 1, "key": "row/0/0/3"}, [])
    (buffer,) = sent[0][1]
    exact = np.frombuffer(shown.source.block("row/0/0/3") or b"", "<f4")
    assert np.allclose(np.frombuffer(buffer, "<f4"), exact, atol=1e-6)


def test_an_output_is_small(tmp_path: Path, record_property: Any) -> None:
    """A BERT's output takes less than 300 kB, whatever its weights; the text that would not fit is left out.

    What showing and saving it take is printed.
    """
    layers = {f"layer.{n}": weights(12, 512) for n in range(12)}
    begun = time.process_time()
    bundle = regard.view(layers, ["word"] * 512)._repr_mimebundle_()
    shown = time.process_time()
    page = regard.view(layers).save(tmp_path / "page.html", progress=False)
    saved = time.process_time()
    size = len(bundle["text/html"]) + 4 / 3 * len(bundle["image/png"])
    record_property("viewer, 144 heads of 512 tokens: CPU seconds to show, to save", [shown - begun, saved - shown])
    record_property(
        "viewer, 144 heads of 512 tokens: kB of an output, of a page", [size / 1e3, page.stat().st_size / 1e3]
    )
    assert size < 300_000
    long = regard.view(weights(70), ["x" * 1000] * 70)._repr_mimebundle_()
    assert len(long["text/html"]) < 300_000


class Elements(html.parser.HTMLParser):
    """The attributes of the elements of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note an element."""
        self.found.append((tag, dict(attrs)))

    def of(self, tag: str) -> dict[str, str | None]:
        """Return the attributes of the only element of this name."""
        (one,) = [attributes for found, attributes in self.found if found == tag]
        return one
