"""The notebook: questions and answers over its channel, and a picture where no script runs."""

from typing import Any

import pytest

from regard.viewer.widget import reply
from tests.viewer.examples import named_view, short_script

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


def test_a_notebook_gets_widget_picture_and_text() -> None:
    """The bundle has the widget, a PNG for renderers without scripts, and one line of text."""
    bundle = named_view()._repr_mimebundle_()
    assert bundle["image/png"].startswith(b"\x89PNG")
    assert "application/vnd.jupyter.widget-view+json" in bundle
    assert bundle["text/plain"].startswith("View(")
