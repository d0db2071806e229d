"""What the figures of an evaluation hide: each label, what is taken for what, the surest errors, and calibration."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import enumerated

BINS = 10
# How many mistakes a report holds, and how many characters of a text.
MISTAKES, LETTERS = 20, 240
# How many labels, mistakes and pairs of labels the text shows; the page has all.
ROWS, SHOWN = 40, 5
NONE = "(none)"


@dataclass(frozen=True)
class LabelRow:
    """How well one label is found; shares 0 to 1."""

    label: str
    precision: float
    recall: float
    f1: float
    support: int
    """How often it is true."""
    predicted: int
    """How often it was given."""


@dataclass(frozen=True)
class Mistake:
    """A wrong answer."""

    text: str
    true: str
    found: str
    confidence: float | None = None
    """What the answer's confidence was; None where answers have none."""


@dataclass(frozen=True)
class Bin:
    """Answers of like confidence."""

    confidence: float
    """Their mean confidence."""
    right: float
    """The share of them that is right."""
    count: int


@dataclass(frozen=True)
class Report:
    """The report of an evaluation."""

    labels: tuple[LabelRow, ...] = ()
    """A row for each label, the most frequent first."""
    confusion: tuple[tuple[str, str, int], ...] = ()
    """True label, label given, how often, the most frequent first; equal ones are right answers."""
    counted: str = ""
    """What `confusion` counts: `texts`, `words`."""
    mistakes: tuple[Mistake, ...] = ()
    """The surest errors first; of texts that were written, those least like the true ones."""
    reliability: tuple[Bin, ...] = ()
    """Answers by their confidence: the reliability curve."""
    calibration_error: float | None = None
    """Expected calibration error: the mean distance of confidence and share right over the answers' bins."""
    remarks: tuple[str, ...] = ()
    """What should give pause, a sentence each."""

    def lines(self, *, brief: bool = False) -> list[str]:
        """Return the report as text; `brief`: labels and remarks alone."""
        shown = self._table()
        wrong = [one for one in self.confusion if one[0] != one[1]]
        if wrong and not brief:
            shown.append(f"  most often confused ({self.counted}):")
            shown += [f"    {true} taken for {found}: {count:,}" for true, found, count in wrong[:SHOWN]]
        if self.reliability and not brief:
            shown.append(f"  confidence and share right (calibration error {self.calibration_error:.3f}):")
            shown += [
                f"    {one.confidence:4.0%} sure, {one.right:4.0%} right, of {one.count:,}" for one in self.reliability
            ]
        if self.mistakes and not brief:
            shown.append("  errors, the surest first:" if self.reliability else "  least like the true ones:")
            for one in self.mistakes[:SHOWN]:
                sure = "" if one.confidence is None else f" ({one.confidence:.0%} sure)"
                shown.append(f"    {one.found!r} instead of {one.true!r}{sure}: {one.text}")
        return shown + [f"NOTE: {remark}" for remark in self.remarks]

    def _table(self) -> list[str]:
        if not self.labels:
            return []
        width = max(5, *(len(row.label) for row in self.labels[:ROWS]))
        shown = [f"  {'label':{width}}  precision  recall     F1    true   given"]
        for row in self.labels[:ROWS]:
            numbers = f"{row.precision:9.3f}  {row.recall:6.3f}  {row.f1:5.3f}  {row.support:6,}  {row.predicted:6,}"
            shown.append(f"  {row.label:{width}}  {numbers}")
        more = len(self.labels) - ROWS
        return shown + ([f"  and {more} more labels, in the report"] if more > 0 else [])

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, fit for JSON."""
        return dataclasses.asdict(self)


def label_rows(true: Counter[str], given: Counter[str], right: Counter[str]) -> tuple[LabelRow, ...]:
    """Return a row for each label, from how often it is true, was given, and both."""
    rows = []
    for label in true.keys() | given.keys():
        precision = right[label] / given[label] if given[label] else 0.0
        recall = right[label] / true[label] if true[label] else 0.0
        f1 = 2 * right[label] / (true[label] + given[label])
        rows.append(LabelRow(label, precision, recall, f1, true[label], given[label]))
    return tuple(sorted(rows, key=lambda row: (-row.support, row.label)))


def never_given(rows: Iterable[LabelRow], known: set[str]) -> list[str]:
    """Remark on labels that are true and were never given."""
    missed = [row for row in rows if row.label in known and row.support and not row.predicted]
    if not missed:
        return []
    return [f"never predicted: {enumerated(f'{row.label} ({row.support:,} true)' for row in missed)}."]


def calibration(pairs: Sequence[tuple[float, bool]]) -> tuple[tuple[Bin, ...], float | None]:
    """Return the bins of answers (confidence, whether right) and the expected calibration error.

    >>> calibration([(0.9, True), (0.9, False)])[1]
    0.4
    """
    bins = []
    for place in range(BINS):
        some = [(sure, right) for sure, right in pairs if min(int(sure * BINS), BINS - 1) == place]
        if some:
            count = len(some)
            bins.append(Bin(sum(sure for sure, _ in some) / count, sum(right for _, right in some) / count, count))
    if not bins:
        return (), None
    return tuple(bins), sum(one.count * abs(one.confidence - one.right) for one in bins) / len(pairs)


def surest(mistakes: Iterable[Mistake]) -> tuple[Mistake, ...]:
    """Return the mistakes of most confidence, texts shortened."""
    found = sorted(mistakes, key=lambda one: -(one.confidence or 0.0))[:MISTAKES]
    return tuple(dataclasses.replace(one, text=shortened(one.text)) for one in found)


def shortened(text: str) -> str:
    """Return a text in one line, and not too long."""
    flat = " ".join(text.split())
    return flat if len(flat) <= LETTERS else f"{flat[:LETTERS]} ..."


def most_common(counted: Counter[tuple[str, str]]) -> tuple[tuple[str, str, int], ...]:
    """Return pairs of labels with their number, the most frequent first."""
    ordered = sorted(counted.items(), key=lambda item: (-item[1], item[0]))
    return tuple((true, found, count) for (true, found), count in ordered)
