"""A view as one `.html` that opens from disk: page and data inside, no network, of limited size."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import zlib
from collections.abc import Iterator
from importlib import resources
from typing import Any

import numpy as np

from ..errors import ArgumentError, RegardError
from ._quantities import TILE
from .tiles import TileSource

__all__ = ["page", "script"]

_MIB = 1 << 20
# Optional tracks, and the share of the budget that all of them together may take.
_TRACK_SHARE = 0.25
_LINK_SHARE = 0.25
_SAMPLE = 4096
# The data of the overview comes before the page's script, everything else after it.
_FIRST = ("tokens/", "offsets/", "overview/", "measures/")
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


def page(source: TileSource, budget_mib: float = 32.0) -> str:
    """Return the text of a page with its data inside.

    Args:
        source: the data; its numbers are written in float16.
        budget_mib: most MiB of the data. If it does not fit, the finest zoom levels are left out, and the page says
            which. Text, measures and a map of 33 to 64 cells a side of every head are always included.

    Raises `ArgumentError`, `RegardError`. Time: each included zoom level is computed once.
    """
    if not 0 < budget_mib < 4096:
        raise ArgumentError(f"budget_mib is {budget_mib!r}; give MiB, more than 0 and below 4096.")
    blocks = _Blocks(TileSource(source.shown, "f2"), int(budget_mib * _MIB))
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


class _Blocks:
    """Collects blocks of data until the budget is used up."""

    def __init__(self, source: TileSource, budget: int) -> None:
        self.source, self.budget, self.used = source, budget, 0
        self.held: dict[str, str] = {}
        self.manifest = source.manifest()

    def fill(self) -> None:
        """Choose the blocks to include, the most important first."""
        for key in self._always():
            self._add({key: self.source.block(key)}, None)
        entries = self.manifest["maps"]
        lowest: dict[int, int] = {}
        for entry in entries:
            top = entry["overview"]
            self._add(self._level(entry, "mass", top), None)
            lowest[entry["id"]] = entry["finest"]
            entry.update(finest=top, coarsest=top, exact=False, quantities={"mass": [top, top]})
        self._tracks(entries)
        self._links(entries)
        for quantity in ("mass", "uniform"):
            self._zooms(entries, quantity, lowest)
        self.manifest["holds"] = self._sentence(entries)

    def elements(self) -> tuple[list[str], list[str]]:
        """Return the HTML elements with the blocks: those that the first picture needs, and the others."""
        manifest = json.dumps(self.manifest, ensure_ascii=True, allow_nan=False).encode()
        packing, text = _packed(manifest)
        first = [f'<script type="application/octet-stream" id="manifest" data-packing="{packing}">{text}</script>']
        later = list[str]()
        for key, element in self.held.items():
            place = first if key.startswith(_FIRST) else later
            place.append(f'<script type="application/octet-stream" id="{key}" {element}</script>')
        return first, later

    def _always(self) -> Iterator[str]:
        for number, axis in enumerate(self.source.shown.axes):
            yield from (f"{name}/{number}" for name in ("tokens", "offsets", "words", "image"))
            yield from (f"labels/{number}/{which}" for which in range(len(axis.labels)))
        for number in range(len(self.source.shown.maps)):
            yield f"overview/{number}"
            yield f"measures/{number}"

    def _level(self, entry: dict[str, Any], quantity: str, zoom: int) -> dict[str, bytes | None]:
        rows, columns = (-(-entry[side]["size"] // (TILE << zoom)) for side in ("queries", "keys"))
        keys = [
            f"tile/{entry['id']}/{head}/{quantity}/{zoom}/{row}/{column}"
            for head in range(entry["heads"])
            for row, column in np.ndindex(rows, columns)
        ]
        return {key: self.source.block(key) for key in keys}

    def _zooms(self, entries: list[dict[str, Any]], quantity: str, lowest: dict[int, int]) -> None:
        highest = max(entry["coarsest"] for entry in entries)
        for zoom in range(highest, -1, -1):
            for entry in entries:
                known = entry["quantities"].get(quantity)
                next_zoom = entry["coarsest"] if known is None else known[0] - 1
                if zoom != next_zoom or zoom < lowest[entry["id"]] or not self._may_fit(entry, zoom):
                    continue
                blocks = self._level(entry, quantity, zoom)
                if any(block is not None for block in blocks.values()) and self._add(blocks, self.budget):
                    entry["quantities"][quantity] = [zoom, entry["coarsest"]]
                    if quantity == "mass":
                        entry["finest"] = zoom

    def _may_fit(self, entry: dict[str, Any], zoom: int) -> bool:
        # A cell takes about 2.4 bytes, half of that under a causal mask: estimate before computing.
        cells = entry["heads"] * (entry["queries"]["size"] >> zoom) * (entry["keys"]["size"] >> zoom)
        return bool(self.used + cells <= self.budget)

    def _tracks(self, entries: list[dict[str, Any]]) -> None:
        limit = self.used + int(self.budget * _TRACK_SHARE)
        for entry in entries:
            names, entry["tracks"] = entry["tracks"], {}
            for name, side in names.items():
                bytes_needed = entry["heads"] * entry[side]["size"] * 4
                if self.used + bytes_needed / 3 > limit:
                    continue
                keys = [f"track/{entry['id']}/{head}/{name}" for head in range(entry["heads"])]
                if self._add({key: self.source.block(key) for key in keys}, limit):
                    entry["tracks"][name] = side

    def _links(self, entries: list[dict[str, Any]]) -> None:
        limit = self.used + int(self.budget * _LINK_SHARE)
        for entry in entries:
            bytes_needed = entry["heads"] * entry["queries"]["size"] * entry["links"] * 8
            keys = [f"links/{entry['id']}/{head}" for head in range(entry["heads"])]
            if self.used + bytes_needed / 2 > limit or not self._add(
                {key: self.source.block(key) for key in keys}, limit
            ):
                entry["links"] = 0

    def _add(self, blocks: dict[str, bytes | None], limit: int | None) -> bool:
        made = {key: _packed(block) for key, block in blocks.items() if block is not None}
        size = sum(len(text) for _, text in made.values())
        if limit is not None and self.used + size > limit:
            return False
        self.used += size
        self.held.update({key: f'data-packing="{packing}">{text}' for key, (packing, text) in made.items()})
        return True

    def _sentence(self, entries: list[dict[str, Any]]) -> str:
        cells = sorted({1 << entry["finest"] for entry in entries})
        if cells == [1]:
            return "This file holds every weight, in float16."
        finest = f"{cells[0]} × {cells[0]}" if len(cells) == 1 else f"{cells[0]} to {cells[-1]}"
        bound = "within" if self.used <= self.budget else "and is still over"
        links = "; the largest weights of each query are exact" if all(entry["links"] for entry in entries) else ""
        return (
            f"This file holds cells of {finest} tokens {bound} its budget of {self.budget / _MIB:.0f} MiB{links}. "
            "Finer cells were not stored."
        )


def _packed(block: bytes) -> tuple[str, str]:
    # float16 weights rarely compress; codes, uniform weights and text do. A sample decides whether it is tried.
    sample = block[:_SAMPLE] + block[-_SAMPLE:]
    if len(_deflated(sample)) < 0.9 * len(sample):
        return "deflate", base64.b64encode(_deflated(block)).decode()
    return "none", base64.b64encode(block).decode()


def _deflated(block: bytes) -> bytes:
    packer = zlib.compressobj(1, zlib.DEFLATED, -15)
    return packer.compress(block) + packer.flush()
