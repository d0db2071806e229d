"""The sections of a report's page: remarks, labels, confusions, calibration, errors."""

from __future__ import annotations

import html
from collections.abc import Iterator, Mapping, Sequence

from ..tasks import Report

# A larger table of confusions would be illegible; the most frequent pairs are listed instead.
MOST = 25
PAIRS = 40
# Side of the drawn curve, in pixels.
SIDE = 260


def sections(report: Report) -> Iterator[str]:
    """Yield the HTML of a report; what it lacks is left out."""
    if report.remarks:
        yield "<h2>Notes</h2>" + "".join(f'<p class="note">{escaped(one)}</p>' for one in report.remarks)
    if report.labels:
        head = row("th", ["label", "precision", "recall", "F1", "true", "given"])
        rows = []
        for one in report.labels:
            shares = (f"{share:.3f}" for share in (one.precision, one.recall, one.f1))
            rows.append([one.label, *shares, f"{one.support:,}", f"{one.predicted:,}"])
        yield "<h2>Labels</h2>" + table([head, *(row("td", one) for one in rows)])
    if report.confusion:
        yield f"<h2>What is taken for what</h2>{_confusion(report)}"
    if report.reliability:
        yield f"<h2>Confidence</h2>{_curve(report)}"
    if report.mistakes:
        title = "The surest errors" if report.reliability else "The texts least like the true ones"
        head = row("th", ["text", "true", "given", "sure"])
        before = [None, *(one.text for one in report.mistakes)]  # a long text may hold many of them
        rows = [
            [
                "the same text" if one.text == last else one.text, one.true, one.found,
                "" if one.confidence is None else f"{one.confidence:.0%}",
            ]
            for one, last in zip(report.mistakes, before, strict=False)
        ]  # fmt: skip
        yield f"<h2>{title}</h2>" + table([head, *(row("td", one) for one in rows)])


def _confusion(report: Report) -> str:
    names = sorted({name for true, found, _ in report.confusion for name in (true, found)})
    counts = {(true, found): count for true, found, count in report.confusion}
    if len(names) > MOST:
        wrong = [[true, found, f"{count:,}"] for true, found, count in report.confusion if true != found][:PAIRS]
        rows = (row("td", one) for one in wrong)
        return f"<p>{escaped(report.counted)}</p>{table([row('th', ['true', 'given', 'times']), *rows])}"
    body = [row("th", ["", *names])]
    for true in names:
        cells = [(f"{counts[true, found]:,}" if (true, found) in counts else "", true == found) for found in names]
        marked = "".join(f"<td{' class=right' if right else ''}>{text}</td>" for text, right in cells)
        body.append(f"<tr><th>{escaped(true)}</th>{marked}</tr>")
    return f"<p>{escaped(report.counted)}; rows: true, columns: given</p>{table(body)}"


def _curve(report: Report) -> str:
    """Draw the share right over the confidence; the diagonal is perfect."""
    line, dots = "", ""
    for one in report.reliability:
        x, y = f"{SIDE * one.confidence:.1f}", f"{SIDE * (1 - one.right):.1f}"
        said = f"{one.confidence:.0%} sure, {one.right:.0%} right, of {one.count:,}"
        line += f"{x},{y} "
        dots += f'<circle cx="{x}" cy="{y}" r="4"><title>{said}</title></circle>'
    return (
        f"<p>Of answers that are so sure (across), so many are right (up); on the dashed line they agree. "
        f"Expected calibration error {report.calibration_error:.3f}.</p>"
        f'<svg width="{SIDE}" height="{SIDE}" viewBox="-8 -8 {SIDE + 16} {SIDE + 16}" role="img" '
        f'aria-label="Reliability curve"><rect width="{SIDE}" height="{SIDE}" fill="none" stroke="#999"/>'
        f'<line x1="0" y1="{SIDE}" x2="{SIDE}" y2="0" stroke="#999" stroke-dasharray="4"/>'
        f'<polyline points="{line}" fill="none" stroke="#0072B2" stroke-width="2"/><g fill="#0072B2">{dots}</g></svg>'
    )


def table(rows: Sequence[str]) -> str:
    """Return a table of rows, which scrolls by itself where the screen is narrower, and by the keyboard."""
    return f'<div class="wide" tabindex="0"><table>{"".join(rows)}</table></div>'


def row(cell: str, texts: Sequence[str]) -> str:
    """Return a row of a table; `cell` is td or th."""
    return "<tr>" + "".join(f"<{cell}>{escaped(text)}</{cell}>" for text in texts) + "</tr>"


def numbers(figures: Mapping[str, float], names: Sequence[str]) -> list[str]:
    """Return figures as the cells of a row; empty for those that are not there."""
    return [f"{figures[name]:.4g}" if name in figures else "" for name in names]


def escaped(text: str) -> str:
    """Return a text as HTML."""
    return html.escape(text)
