"""The page on disk: its contents, its size limit, and that untrusted text never becomes code."""

import base64
import hashlib
import html.parser
import json
import math
import re
import zlib
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from regard import view
from regard.backends.native import Native
from regard.errors import ArgumentError, RegardError
from regard.viewer import html as page_module
from regard.viewer._cells import MASKED, NOT_RECORDED
from regard.viewer._rounding import Rounding
from tests.viewer.examples import named_view, numbers, short_script, weights

__all__ = ["short_script"]

HOSTILE = [
    "</script>", "<script>alert(1)</script>", "<!--", "-->", "]]>", "<img src=x onerror=alert(1)>", '"><svg onload=1>',
    "'", "&lt;", "\u2028", "\x00", "${x}", "`", "\\", "javascript:alert(1)", "{{x}}", "\ud800", "<main id=regard>",
]  # fmt: skip


class Page(html.parser.HTMLParser):
    """Reads a page as a browser does: elements with their attributes, and the text of scripts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[tuple[dict[str, str | None], str]] = []
        self.in_script = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note an element."""
        self.elements.append((tag, dict(attrs)))
        self.in_script = tag == "script"
        if self.in_script:
            self.scripts.append((dict(attrs), ""))

    def handle_endtag(self, tag: str) -> None:
        """Note that a script has ended."""
        self.in_script = False

    def handle_data(self, data: str) -> None:
        """Note the text of a script."""
        if self.in_script:
            attributes, text = self.scripts[-1]
            self.scripts[-1] = attributes, text + data

    def block(self, key: str) -> bytes | None:
        """Return the bytes of a key as the page's script finds them."""
        for attributes, text in self.scripts:
            if attributes.get("id") == key:
                if attributes.get("data-same"):
                    return self.block(str(attributes["data-same"]))
                data = base64.b64decode(text.strip())
                return zlib.decompress(data, -15) if attributes["data-packing"] == "deflate" else data
        return None

    def manifest(self) -> dict[str, Any]:
        """Return the manifest."""
        found: dict[str, Any] = json.loads(self.block("manifest") or b"{}")
        return found


@pytest.mark.usefixtures("short_script")
def test_small_view_is_held_whole(tmp_path: Path) -> None:
    """Every weight of a small view is in the file, in float16, and the file says so."""
    shown = named_view()
    page = Page(shown.save(tmp_path / "a.html").read_text("utf-8"))
    manifest = page.manifest()
    assert manifest["number"] == "f2"
    assert manifest["holds"] == "This file holds every weight, in float16."
    entry = manifest["maps"][0]
    assert (entry["finest"], entry["exact"]) == (0, False)
    every = numbers(page.block("overview/0"), "f2", 4, 13, 13)  # the cells of the coarsest zoom, here single weights
    for head, tile in enumerate(every):
        exact = numbers(shown.source.block(f"tile/0/{head}/mass/0/0/0"), "f4", 13, 13)
        assert np.allclose(tile, exact, rtol=1e-3, atol=1e-7)
        assert np.array_equal(tile == -1, exact == -1)
    for key in ("tokens/0", "offsets/0", "labels/0/0", "overview/0", "track/0/0/seeing"):
        assert page.block(key) == shown.source.block(key)
    entropy = [numbers(held.block("track/0/0/entropy"), "f4", 13) for held in (page, shown.source)]
    assert np.allclose(*entropy, atol=1e-5)
    keys = [
        np.frombuffer(held.block("top_weights/0/3") or b"", "<i4")[: 13 * n]
        for held, n in ((page, 4), (shown.source, 8))
    ]
    assert np.array_equal(keys[0].reshape(13, 4), keys[1].reshape(13, 8)[:, :4])
    assert page.block("tile/0/0/uniform/0/0/0") == shown.source.block("tile/0/0/uniform/0/0/0")


@pytest.mark.usefixtures("short_script")
@pytest.mark.parametrize("causal", [False, True])
def test_single_weights_are_rounded_to_fit(causal: bool) -> None:
    """A budget too small for float16 holds every weight in one byte: near enough to itself, as the page says."""
    shown = view(weights(6, 300, causal=causal))
    page = Page(page_module.page(shown.source, budget_mib=0.55 if causal else 0.85))
    manifest = page.manifest()
    said = re.match(
        r"This file holds every weight, rounded \(([^)]*)\), within its budget .* exact\.", manifest["holds"]
    )
    assert said is not None
    bounds = [tuple(map(float, one.split(" ± "))) for one in said[1].split(", ")]
    assert [number for number, _ in bounds] == [0.5, 0.01, 0.001]
    assert manifest["number"] == "u1"
    (entry,) = manifest["maps"]
    assert (entry["finest"], entry["overview"], entry["derived"]) == (0, 3, [1, 2])
    table = numbers(page.block("levels"), "f4", 256)
    for head in range(6):
        for row, column in np.ndindex(2, 2):
            name = f"tile/0/{head}/mass/0/{row}/{column}"
            exact = np.frombuffer(shown.source.block(name) or b"", "<f4")
            held = table[np.frombuffer(page.block(name) or b"", "u1")]
            assert np.array_equal(held == -1, exact == -1)
            off = np.abs(held - exact)
            for number, error in bounds:
                assert off[exact <= number].max(initial=0.0) <= error * 1.0001
            assert np.array_equal(held == 0, exact == 0)
    assert not any("/mass/1/" in str(attributes.get("id")) for attributes, _ in page.scripts)


@pytest.mark.usefixtures("short_script")
def test_rounding_keeps_what_is_no_number() -> None:
    """Masked, NaN, infinite and zero have bytes of their own; the smallest number is not 0; errors are as stated."""
    rounding = Rounding(150, 2.0)
    given = torch.tensor([0.0, 1e-30, 1.0, 2.0, MASKED, NOT_RECORDED, float("nan"), float("inf")])
    held = rounding.table()[rounding.codes(given)]
    assert held[0] == 0 < held[1] < 1e-5
    assert abs(held[2] - 1.0) < rounding.error(1.0)
    assert held[3:6].tolist() == [2.0, MASKED, NOT_RECORDED]
    assert np.isnan(held[6])
    assert held[7] == np.inf
    every = torch.linspace(0, 2, 10_001)
    off = np.abs(rounding.table()[rounding.codes(every)] - every.numpy())
    assert np.all(off <= np.array([rounding.error(one) for one in every.tolist()]) * 1.01 + 1e-7)


@pytest.mark.usefixtures("short_script")
@pytest.mark.parametrize("mask", ["causal", "window", "blocks", "nothing"])
def test_tiles_beside_what_is_seen_are_masked(mask: str) -> None:
    """Whichever columns of tiles the mask leaves out, each tile of a page is that of the weights, at every zoom."""
    given = weights(2, 1200, **({"causal": True} if mask == "causal" else {"mask": masks_of(1200)[mask]}))
    shown = view(given)
    page = Page(page_module.page(shown.source, budget_mib=3.6))
    (entry,) = page.manifest()["maps"]
    rounded = page.manifest()["number"] == "u1"  # where few pairs are seen float16 fits
    assert rounded == (mask == "causal")
    table = numbers(page.block("levels"), "f4", 256) if rounded else None
    assert entry["finest"] == 0
    for zoom in {0, entry["overview"] - 1} - {*entry["derived"]}:
        for place in np.ndindex(2, *[-(-1200 // (256 << zoom))] * 2):
            head, row, column = place
            name = f"tile/0/{head}/mass/{zoom}/{row}/{column}"
            exact = np.frombuffer(shown.source.block(name) or b"", "<f4")
            block = page.block(name) or b""
            held = np.frombuffer(block, "<f2") if table is None else table[np.frombuffer(block, "u1")]
            assert np.array_equal(held == MASKED, exact == MASKED), place
            assert np.allclose(held, exact, atol=0.01), place


def masks_of(size: int) -> dict[str, torch.Tensor]:
    """Return masks of three kinds: a window, rows with gaps between what they see, and nothing to see."""
    near = (torch.arange(size) - torch.arange(size)[:, None]).abs() < 40
    far = near.clone()
    far[:, :5] = True
    return {"window": near, "blocks": far, "nothing": torch.zeros(size, size, dtype=torch.bool)}


@pytest.mark.usefixtures("short_script")
def test_even_attention_is_held_once() -> None:
    """Heads and layers that are masked alike share one block; heads that are not have their own."""
    shown = view({name: weights(3, 70, causal=True) for name in "ab"})
    page = Page(page_module.page(shown.source))
    tiles = [a for a, _ in page.scripts if "/uniform/1/" in str(a.get("id"))]
    assert len(tiles) == 6
    assert len([one for one in tiles if "data-same" not in one]) == 1
    assert page.block("tile/1/2/uniform/1/0/0") == shown.source.block("tile/1/2/uniform/1/0/0")


@pytest.mark.usefixtures("short_script")
def test_the_work_is_told() -> None:
    """Whoever waits hears of more and more of the work, to its end."""
    heard = list[float]()
    page_module.page(view({name: weights(2, 300) for name in "abc"}).source, tell=heard.append)
    assert heard == sorted(heard)
    assert len(heard) > 10
    assert heard[-1] == 1.0


@pytest.mark.usefixtures("short_script")
@pytest.mark.parametrize("budget", [0.5, 64.0])
def test_every_weight_is_looked_at_once(budget: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """The pass of the summary gives the cells too; else only samples are computed, to tell how fine they can be, and
    where not every weight is held the sums of rows."""
    looked_at = Counter[str]()

    inspect, summarise = Native.inspect, Native.summarise

    def counted(self: Native, name: str, x: Any, lse: Any, rows: slice, columns: slice, *rest: Any) -> Any:
        if rest[0] != (1, 4000):
            looked_at["others"] += x.shape[1] * (rows.stop - rows.start) * (columns.stop - columns.start)
        return inspect(self, name, x, lse, rows, columns, *rest)

    def summed(self: Native, x: Any, lse: Tensor, cell: int) -> Any:
        looked_at["summary"] += math.prod(x.shape)
        return summarise(self, x, lse, cell)

    monkeypatch.setattr(Native, "inspect", counted)
    monkeypatch.setattr(Native, "summarise", summed)
    shown = view({name: weights(2, 4000, causal=True) for name in "ab"})
    page = Page(page_module.page(shown.source, budget_mib=budget))
    assert looked_at["summary"] == 2 * 2 * 4000**2
    assert looked_at["others"] < looked_at["summary"] / 2
    finest = page.manifest()["maps"][0]["finest"]
    assert (finest > 0) == (budget < 1)


@pytest.mark.usefixtures("short_script")
def test_budget_leaves_out_the_finest_and_says_so() -> None:
    """A long view stays in its budget; the zooms that the manifest names are there, and no others."""
    shown = view({"a": weights(2, 1500, causal=True), "b": weights(2, 700)})
    text = page_module.page(shown.source, budget_mib=1.0)
    assert len(text) < 1.1 * 2**20
    page = Page(text)
    manifest = page.manifest()
    assert "within its budget of 1 MiB" in manifest["holds"]
    held = {str(attributes.get("id")) for attributes, _ in page.scripts}
    assert manifest["maps"][0]["finest"] > 0
    for entry in manifest["maps"]:
        zooms = {int(key.split("/")[4]) for key in held if key.startswith(f"tile/{entry['id']}/0/mass/")}
        assert zooms == set(range(entry["finest"], entry["coarsest"])) - set(entry["derived"])
        assert entry["overview"] == entry["coarsest"]
        assert entry["quantities"]["mass"] == [entry["finest"], entry["coarsest"]]
        for name in entry["tracks"]:
            assert f"track/{entry['id']}/1/{name}" in held
        assert (f"top_weights/{entry['id']}/0" in held) == (entry["top_weights"] > 0)


@pytest.mark.usefixtures("short_script")
def test_hostile_text_stays_text() -> None:
    """Tokens, labels and titles that look like markup change nothing in the structure of the page."""
    plain = Page(page_module.page(view(weights(1, 18), ["a"] * 18, title="t").source))
    shown = view({"</script><b>": weights(1, 18)}, HOSTILE, labels=HOSTILE, title="</title><script>alert(1)</script>")
    text = page_module.page(shown.source)
    page = Page(text)
    kinds = [tag for tag, _ in page.elements]
    assert [kind for kind in kinds if kind != "script"] == [tag for tag, _ in plain.elements if tag != "script"]
    assert all(
        set(attributes) <= {"id", "type", "data-packing", "data-same", "async"} for attributes, _ in page.scripts
    )
    assert "alert(1)" not in re.sub(r"<title>.*</title>", "", text)
    assert page.block("tokens/0") == "".join(HOSTILE).encode("utf-8", "replace")


def test_only_the_inlined_script_may_run(short_script: str) -> None:
    """The policy allows exactly the script by its hash, no network; a closing tag in the script does not end it."""
    page = Page(page_module.page(named_view().source))
    policy = next(str(a["content"]) for tag, a in page.elements if tag == "meta" and "http-equiv" in a)
    code = next(text for attributes, text in page.scripts if attributes.get("type") == "module")
    assert "const trap" in code
    assert len(code) > len(short_script)  # escaped, so it has not ended early
    digest = base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none'")
    assert "connect-src" not in policy
    assert "unsafe" not in policy


@pytest.mark.usefixtures("short_script")
def test_the_script_stands_behind_what_the_first_picture_needs() -> None:
    """Manifest, tokens and the overview come first, then the script, which waits for nothing; all else is behind it."""
    page = Page(page_module.page(named_view().source))
    place = next(n for n, (attributes, _) in enumerate(page.scripts) if attributes.get("type") == "module")
    assert "async" in page.scripts[place][0]
    before = {str(attributes["id"]) for attributes, _ in page.scripts[:place]}
    assert before == {"manifest", "tokens/0", "offsets/0", "overview/0", "measures/0"}
    behind = {str(attributes["id"]).split("/")[0] for attributes, _ in page.scripts[place + 1 :]}
    assert behind == {"labels", "tile", "track", "top_weights"}


@pytest.mark.usefixtures("short_script")
@pytest.mark.parametrize("budget", [0, -1, 1e9, float("nan")])
def test_bad_budget(budget: float) -> None:
    """A budget outside what makes sense is refused."""
    with pytest.raises(ArgumentError, match="budget_mib"):
        page_module.page(named_view().source, budget)


def test_missing_script_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without the built page the error names the file and what still works."""
    monkeypatch.setattr("regard.viewer.html.resources.files", lambda _: tmp_path)
    with pytest.raises(RegardError, match=r"regard\.js.*figure"):
        page_module.script()
