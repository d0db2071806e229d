"""The page on disk: its contents, its size limit, and that untrusted text never becomes code."""

import base64
import hashlib
import html.parser
import json
import re
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from regard import view
from regard.errors import ArgumentError, RegardError
from regard.viewer import html as page_module
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
    for head in range(4):
        tile = numbers(page.block(f"tile/0/{head}/mass/0/0/0"), "f2", 13, 13)
        exact = numbers(shown.source.block(f"tile/0/{head}/mass/0/0/0"), "f4", 13, 13)
        assert np.allclose(tile, exact, rtol=1e-3, atol=1e-7)
        assert np.array_equal(tile == -1, exact == -1)
    for key in ("tokens/0", "offsets/0", "labels/0/0", "overview/0", "measures/0", "track/0/0/entropy", "links/0/3"):
        assert page.block(key) == shown.source.block(key)
    assert page.block("tile/0/0/uniform/0/0/0") is not None


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
        assert zooms == set(range(entry["finest"], entry["coarsest"] + 1))
        assert entry["quantities"]["mass"] == [entry["finest"], entry["coarsest"]]
        for name in entry["tracks"]:
            assert f"track/{entry['id']}/1/{name}" in held
        assert (f"links/{entry['id']}/0" in held) == (entry["links"] > 0)


@pytest.mark.usefixtures("short_script")
def test_hostile_text_stays_text() -> None:
    """Tokens, labels and titles that look like markup change nothing in the structure of the page."""
    plain = Page(page_module.page(view(weights(1, 18), ["a"] * 18, title="t").source))
    shown = view({"</script><b>": weights(1, 18)}, HOSTILE, labels=HOSTILE, title="</title><script>alert(1)</script>")
    text = page_module.page(shown.source)
    page = Page(text)
    kinds = [tag for tag, _ in page.elements]
    assert [kind for kind in kinds if kind != "script"] == [tag for tag, _ in plain.elements if tag != "script"]
    assert all(set(attributes) <= {"id", "type", "data-packing", "async"} for attributes, _ in page.scripts)
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
    assert behind == {"labels", "tile", "track", "links"}


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
