"""A view in a notebook: the page over the notebook's messages, and an output that shows it without a kernel too."""

from __future__ import annotations

import base64
import functools
import html
import secrets
from typing import Any

from ..errors import MissingExtraError, RegardError, install_line
from .html import frame, script
from .tiles import TileSource

# Bytes of the data in an output, beside about 50 kB of script: a notebook keeps every output in its file.
_OUTPUT = 72_000
_HEIGHT = 720


def widget(source: TileSource) -> Any:
    """Return an `anywidget.AnyWidget` that shows `source`; raises `MissingExtraError`."""
    return _answering(_widget_class("regard")(), source)


def bridge(source: TileSource, name: str) -> Any:
    """Return a widget without a view of its own: it answers the frame of this name; raises `MissingExtraError`."""
    return _answering(_widget_class("bridge")(name=name), source)


def output(source: TileSource, name: str, picture: bytes | None) -> str:
    """Return HTML for a notebook's output: the page in a sandboxed frame, over a picture.

    The picture is seen where a frame or its script is not let through. The frame holds a coarse copy of the data, so
    that it lives in a saved notebook without a kernel.
    """
    title = html.escape(source.shown.title)
    page = html.escape(frame(source, name, _OUTPUT))
    drawn = "" if picture is None else base64.b64encode(picture).decode()
    image = f'<img alt="{title}" style="max-width: 100%" src="data:image/png;base64,{drawn}">' if drawn else ""
    return (
        f'<div style="position: relative; min-height: {_HEIGHT}px">{image}'
        f'<iframe name="{name}" title="{title}" sandbox="allow-scripts allow-downloads" srcdoc="{page}" '
        'style="position: absolute; inset: 0; width: 100%; height: 100%; border: 0"></iframe></div>'
    )


def new_name() -> str:
    """Return a name that nobody else on the notebook's page can guess."""
    return f"regard-{secrets.token_hex(16)}"


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


def _answering(made: Any, source: TileSource) -> Any:
    made.on_msg(lambda _, content, buffers: _answer(made, source, content))
    return made


def _answer(made: Any, source: TileSource, content: Any) -> None:
    answer = reply(source, content)
    if answer is not None:
        made.send(answer[0], buffers=answer[1])


@functools.cache
def _widget_class(module: str) -> Any:
    try:
        import anywidget
        import traitlets
    except ModuleNotFoundError:
        raise MissingExtraError(f"The notebook view needs anywidget. Install it with {install_line('view')}.") from None
    fields = {
        "__doc__": "The viewer's page in a notebook.",
        "_esm": script(module),
        "state": traitlets.Unicode("", help="What is looked at: the fragment of a page's address.").tag(sync=True),
        "name": traitlets.Unicode("", help="Which frame it answers, if any.").tag(sync=True),
    }
    return type("AttentionView", (anywidget.AnyWidget,), fields)
