"""A view as one `.html` that opens from disk: page and data inside, no network, of limited size."""

from __future__ import annotations

import base64
import functools
import hashlib
import html
import zlib
from collections.abc import Callable
from importlib import resources
from typing import NamedTuple

from ..errors import ArgumentError, RegardError
from ._blocks import Blocks
from .tiles import TileSource

_MIB = 1 << 20
# Unpacks the page's script and runs it; the policy allows the text that comes out.
_UNPACK = (
    'const text=document.getElementById("code").textContent;'
    "const bytes=Uint8Array.from(atob(text),(letter)=>letter.charCodeAt(0));"
    'const plain=new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate-raw"));'
    "new Response(plain).text().then((code)=>{const made=document.createElement('script');"
    "made.type='module';made.textContent=code;document.head.append(made)});"
)
# Until the page's script has run the frame is clear, and the picture behind it is seen: also where no script runs.
_SHOWN = "\ndocument.documentElement.style.background='Canvas';"
_POLICY = "default-src 'none'; script-src 'sha256-{script}'; img-src blob: data:; base-uri 'none'; form-action 'none'"


def script(name: str = "regard") -> str:
    """Return a script of the page, a file of the package; raises `RegardError` if it is missing."""
    file = resources.files(__package__) / "static" / f"{name}.js"
    if not file.is_file():
        raise RegardError(
            f"The page's script, viewer/static/{name}.js, is missing from this installation. Reinstall regard; in a "
            "source tree, build it in web/. Pictures for paper (`.figure()`) work without it."
        )
    return file.read_text("utf-8")


def page(source: TileSource, budget_mib: float = 32.0, tell: Callable[[float], None] = lambda done: None) -> str:
    """Return the text of a page with its data inside.

    Args:
        source: the data.
        budget_mib: most MiB of the data. Weights are written in float16 if every one fits so; else in steps of their
            cube roots, one byte each before they are compressed; else the finest zoom levels are left out. The page
            says which, and how far weights are off. Text, measures and a small map of every head are always included.
        tell: is called with the share of the work that is done, from 0 to 1.

    Raises `ArgumentError`, `RegardError`. Time: one look at every weight. Memory: 12 bytes for each cell that the page
    will hold, up to 3 GiB; where that is more than half of what is free, every weight is looked at twice instead.
    """
    if not 0 < budget_mib < 4096:
        raise ArgumentError(f"budget_mib is {budget_mib!r}; give MiB, more than 0 and below 4096.")
    blocks = Blocks(source.shown, int(budget_mib * _MIB), tell)
    blocks.fill()
    # HTML ends a script at "</script", even inside a string or a pattern.
    code = script().replace("</script", "<\\/script").replace("<!--", "<\\!--")
    # The script draws the first picture while the rest is still being read.
    said = "<noscript>This page draws with JavaScript.</noscript>"
    parts = _Parts('data-host="page"', said, blocks, [code], f'<script type="module" async>{code}</script>')
    return _document(source.shown.title, parts)


def frame(source: TileSource, name: str, budget: int) -> str:
    """Return a page for a frame of a notebook's output: its data take about `budget` bytes, and its script is packed.

    The script asks the notebook around it for the bridge of this `name`, and shows what the page holds without one.
    """
    blocks = Blocks(source.shown, budget, lambda done: None, "output")
    blocks.fill()
    code, start = script() + _SHOWN, _UNPACK
    packed = (
        f'<script type="application/octet-stream" id="code">{_packed_script(code)}</script><script>{start}</script>'
    )
    return _document(
        source.shown.title, _Parts(f'data-host="frame" data-name="{name}"', "", blocks, [start, code], packed)
    )


class _Parts(NamedTuple):
    host: str
    without_script: str
    blocks: Blocks
    allowed: list[str]
    script: str


def _document(title: str, parts: _Parts) -> str:
    hashes = (base64.b64encode(hashlib.sha256(code.encode()).digest()).decode() for code in parts.allowed)
    policy = _POLICY.format(script="' 'sha256-".join(hashes))
    first, later = parts.blocks.elements()
    return "\n".join(
        [
            "<!doctype html>",
            '<html lang="en">',
            '<meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{html.escape(title)}</title>",
            '<link rel="icon" href="data:,">',
            f'<main id="regard" {parts.host}>{parts.without_script}</main>',
            *first,
            parts.script,
            *later,
            "</html>",
            "",
        ]
    )


@functools.cache
def _packed_script(code: str) -> str:
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return base64.b64encode(packer.compress(code.encode()) + packer.flush()).decode()
