"""A view as one `.html` that opens from disk: page and data inside, no network, of limited size."""

from __future__ import annotations

import base64
import hashlib
import html
from collections.abc import Callable
from importlib import resources

from ..errors import ArgumentError, RegardError
from ._blocks import Blocks
from .tiles import TileSource

__all__ = ["page", "script"]

_MIB = 1 << 20
_POLICY = "default-src 'none'; script-src '{script}'; img-src blob: data:; base-uri 'none'; form-action 'none'"


def script() -> str:
    """Return the page's script, a file of the package; raises `RegardError` if it is missing."""
    file = resources.files(__package__) / "static" / "regard.js"
    if not file.is_file():
        raise RegardError(
            "The page's script, viewer/static/regard.js, is missing from this installation. Reinstall regard; in a "
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

    Raises `ArgumentError`, `RegardError`. Time: one look at every weight, and one more for single weights.
    """
    if not 0 < budget_mib < 4096:
        raise ArgumentError(f"budget_mib is {budget_mib!r}; give MiB, more than 0 and below 4096.")
    blocks = Blocks(source.shown, int(budget_mib * _MIB), tell)
    blocks.fill()
    # HTML ends a script at "</script", even inside a string or a pattern.
    code = script().replace("</script", "<\\/script").replace("<!--", "<\\!--")
    digest = base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()
    policy = _POLICY.format(script=f"sha256-{digest}")
    first, later = blocks.elements()
    return "\n".join(
        [
            "<!doctype html>",
            '<html lang="en">',
            '<meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{html.escape(source.shown.title)}</title>",
            '<link rel="icon" href="data:,">',
            '<main id="regard" data-host="page"><noscript>This page draws with JavaScript.</noscript></main>',
            *first,
            # The script draws the first picture while the rest is still being read.
            f'<script type="module" async>{code}</script>',
            *later,
            "</html>",
            "",
        ]
    )
