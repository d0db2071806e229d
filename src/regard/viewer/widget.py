"""A view in a notebook: the page as a widget, which gets its data over the notebook's messages."""

from __future__ import annotations

import functools
from typing import Any

from ..errors import MissingExtraError, RegardError, install_line
from .html import script
from .tiles import TileSource

__all__ = ["reply", "widget"]


def widget(source: TileSource) -> Any:
    """Return an `anywidget.AnyWidget` that shows `source`; raises `MissingExtraError`."""
    made = _widget_class()()
    made.on_msg(lambda _, content, buffers: _answer(made, source, content))
    return made


def reply(source: TileSource, content: Any) -> tuple[dict[str, Any], list[bytes]] | None:
    """Return the answer to a message of the page, with buffers; None for a message that is not a request.

    Messages are validated like any input, since a notebook may come from somebody else.
    """
    if not isinstance(content, dict) or content.get("kind") != "block":
        return None
    number, key = content.get("id"), content.get("key")
    if not isinstance(number, int) or not isinstance(key, str):
        return None
    answer: dict[str, Any] = {"kind": "block", "id": number}
    try:
        found = source.block(key)
    except RegardError as error:
        return {**answer, "error": str(error)}, []
    return {**answer, "found": found is not None}, [] if found is None else [found]


def _answer(made: Any, source: TileSource, content: Any) -> None:
    answer = reply(source, content)
    if answer is not None:
        made.send(answer[0], buffers=answer[1])


@functools.cache
def _widget_class() -> Any:
    try:
        import anywidget
        import traitlets
    except ModuleNotFoundError:
        raise MissingExtraError(f"The notebook view needs anywidget. Install it with {install_line('view')}.") from None
    fields = {
        "__doc__": "The viewer's page in a notebook.",
        "_esm": script(),
        "state": traitlets.Unicode("", help="What is looked at: the fragment of a page's address.").tag(sync=True),
    }
    return type("AttentionView", (anywidget.AnyWidget,), fields)
