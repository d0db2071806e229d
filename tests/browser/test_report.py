"""The report of a run on a phone, light and dark: what is wide scrolls by itself, and the page does not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from regard.cli._report import STYLE
from regard.cli._sections import row, sections, table
from regard.tasks import Report
from regard.tasks._report import Bin, LabelRow, Mistake

Open = Callable[..., Any]
LABELS = [f"a label of three words {number}" for number in range(12)]


def written(path: Path) -> str:
    """Write a report with many labels, long words, and figures of many columns; return its address."""
    report = Report(
        tuple(LabelRow(name, 0.5, 0.25, 1 / 3, 1200, 900) for name in LABELS),
        tuple((true, given, 1234) for true in LABELS for given in LABELS), "texts",
        (Mistake("Donaudampfschifffahrtsgesellschaft" * 3, LABELS[0], LABELS[1], 0.9),), (Bin(0.85, 0.5, 4),), 0.35,
        ("https://example.org/" + "path/" * 30,),
    )  # fmt: skip
    figures = table([row("th", ["", *LABELS]), row("td", ["this model", *(["0.1234"] * len(LABELS))])])
    head = '<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
    path.write_text(
        f"{head}<title>Report</title><style>{STYLE}</style><h1>Report</h1>{figures}{''.join(sections(report))}", "utf-8"
    )
    return path.as_uri()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_report_fits_a_phone(theme: str, open_page: Open, tmp_path: Path, axe: str) -> None:
    """At 390 px nothing reaches over the page's edge, every table can be scrolled to its end, and axe finds nothing."""
    page = open_page(
        written(tmp_path / "report.html"), viewport={"width": 390, "height": 844}, color_scheme=theme, bypass_csp=True
    )
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    tables = page.locator(".wide > table")
    assert tables.count() == page.locator("table").count() == 4
    for number in range(4):
        around = tables.nth(number).locator("..")
        over = around.evaluate("(one) => { one.scrollLeft = 1e6; return one.scrollLeft; }")
        sizes = around.evaluate("(one) => [one.scrollWidth, one.clientWidth, one.getBoundingClientRect().right]")
        assert over == sizes[0] - sizes[1]
        assert sizes[2] <= 390
    assert tables.nth(2).locator("..").evaluate("(one) => one.scrollWidth > one.clientWidth")
    page.evaluate(axe)
    found = page.evaluate("axe.run().then((found) => found.violations.filter((one) => one.impact !== 'minor'))")
    assert [one["id"] for one in found if one["id"] not in ("region", "landmark-one-main")] == []
    page.screenshot(path=str(tmp_path / f"{theme}.png"))
