"""Tokens, labels, names and titles are untrusted: they are shown as text and never executed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import regard
from tests.browser.pages import calls, saved

HOSTILE = [
    "<script>window.ran=1</script>", "</script><script>window.ran=1</script>", "<!--<script>", "-->", "]]>",
    "<img src=x onerror=window.ran=1>", "<svg onload=window.ran=1>", "<svg><script>window.ran=1</script></svg>",
    "<iframe src=javascript:window.ran=1>", "<body onload=window.ran=1>", "<a href=javascript:window.ran=1>x</a>",
    "<math><mtext><img src=x onerror=window.ran=1>", "<template><script>window.ran=1</script></template>",
    "<style>*{display:none}</style>", "<link rel=stylesheet href=//evil.example/x>", "<base href=//evil.example/>",
    "<meta http-equiv=refresh content=0;url=//evil.example>", "<form action=//evil.example><input name=q>",
    "<object data=//evil.example/x>", "<details open ontoggle=window.ran=1>", "javascript:window.ran=1",
    "data:text/html,<script>window.ran=1</script>", '" onmouseover="window.ran=1',
    "' onfocus='window.ran=1' autofocus='",
    "`${window.ran=1}`", "${window.ran=1}", "{{constructor.constructor('window.ran=1')()}}", "<%= 7*7 %>", "#{7*7}",
    "{% raw %}", "__proto__", "constructor", "%3Cscript%3E", "&lt;script&gt;", "&#60;script&#62;",
    "\\u003cscript\\u003e",
    "=HYPERLINK(1)", "\u202eevil\u202c", "\u2066\u2067x\u2069", "\u200b\u200d\ufeff", "\x00", "a\x00b", "\x1b[31mred",
    "\r\n\t", "\ufffe\uffff", "👩‍👩‍👧‍👦🏳️‍🌈", "e" + "\u0301" * 300, "𝕳𝖊𝖑𝖑𝖔", "", " ",
    "x" * 100_000, "مرحبا‏", b"\xff\xfe\xed\xa0\x80",
    b"</script\xff>", "\ud800lone\udc00",
]  # fmt: skip

HANDLERS = """[...document.querySelectorAll('#regard *')]
  .flatMap((element) => element.getAttributeNames()).filter((name) => name.startsWith('on'))"""


def hostile_view() -> Any:
    """Return a view in which everything that can be named is named by them."""
    count = len(HOSTILE)
    named = {f"{HOSTILE[n]}": weights for n, weights in enumerate(calls(count).values())}
    tags = [f"B-{token}" if isinstance(token, str) and token else "O" for token in HOSTILE]
    return regard.view(named, HOSTILE, labels={HOSTILE[1]: tags}, title=str(HOSTILE[1]))


@pytest.mark.parametrize("host", ["disk", "server"])
def test_hostile_text_is_shown_and_runs_nothing(host: str, open_page: Callable[..., Any], tmp_path: Path) -> None:
    """Over 50 strings, in every view and each chosen in turn: no script, no element, no request comes of them."""
    assert len(HOSTILE) >= 50
    made = hostile_view()
    served = made.serve(open_browser=False) if host == "server" else None
    try:
        page = open_page(served.url if served else saved(made, tmp_path))
        page.locator(".body canvas").first.wait_for()
        for name in ["One head", "Text", "Compare", "Numbers", "Overview"]:
            page.get_by_role("tab", name=name).click()
            page.locator(".body canvas, .body table, .body .tokens").first.wait_for()
            if name == "Text":
                _read_all(page)
            _is_clean(page)
        assert page.locator("h1").text_content() == HOSTILE[1]
    finally:
        if served:
            served.close()


def _read_all(page: Any) -> None:
    page.locator(".tokens button").first.wait_for()
    texts = page.locator(".tokens button").all_text_contents()
    assert len(texts) == len(HOSTILE)
    for token, text in zip(HOSTILE[:37], texts, strict=False):
        assert text.replace("␣", " ").startswith(str(token))
    first = page.locator(".tokens button").first
    first.focus()
    for _ in range(len(HOSTILE) - 1):
        page.keyboard.press("ArrowRight")
    page.locator(".says").filter(has_text="looks at").wait_for()


def _is_clean(page: Any) -> None:
    assert page.evaluate("window.ran") is None
    inside = (
        "#regard :is(script, img, iframe, object, form, style, link, base, meta, template, details:not(.help), "
        "svg, math, a)"
    )
    assert page.locator(inside).count() == 0
    assert page.evaluate(HANDLERS) == []
    assert page.locator(".error").count() == 0
    assert page.locator("#regard").is_visible()
