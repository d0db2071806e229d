"""The result of an evaluation: the model's figures beside those of a cheap baseline, on the same examples."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ._report import Report


@dataclass(frozen=True)
class Evaluation:
    """The figures of one model on one set of examples.

    `figures` and `baseline` map the same names to numbers; `baseline` is empty if the training
    data, from which a baseline is fitted, was not available.
    """

    task: str
    """Name of the task."""
    count: int
    """Number of examples."""
    headline: str
    """Name of the main figure."""
    goal: str
    """`max` where more is better, `min` where less is."""
    figures: dict[str, float]
    """The figures of what answers, by name."""
    baseline: dict[str, float]
    """The baseline's figures by name."""
    baseline_name: str
    """What the baseline is, in a few words."""
    note: str = ""
    """Remarks on the figures: the signature of a metric, how many inputs were truncated."""
    data: str = ""
    """Which part of the data the examples are: `development`, `test`."""
    uses: str = "model"
    """Whose the figures are: the `model`'s (the transformer), the `baseline`'s, or those of a `mix` of both."""
    alone: dict[str, float] = field(default_factory=dict)
    """The figures of the transformer by itself, where a mix answers."""
    report: Report = field(default_factory=Report)
    """What the figures hide: each label, confusions, the surest errors, calibration, remarks."""

    def __str__(self) -> str:
        """A line for what answers, for the transformer in it if that is a mix, and for the baseline."""
        part = f" ({self.data})" if self.data else ""
        examples = f"{self.count:,} example{'' if self.count == 1 else 's'}"
        lines = [f"{self.task} on {examples}{part}"]
        if self.uses != "baseline":
            lines.append(f"  {self.uses:9} {_line(self.figures)}")
        if self.alone:
            lines.append(f"  model     {_line(self.alone)}  (the transformer in the mix, by itself)")
        if self.uses == "baseline":
            lines.append(f"  baseline  {_line(self.figures)}  (what is saved: {self.baseline_name})")
        elif self.baseline:
            lines.append(f"  baseline  {_line(self.baseline)}  ({self.baseline_name})")
        else:
            lines.append("  baseline  not computed: the training data is not at hand")
        return "\n".join(lines)

    def better(self) -> bool | None:
        """Return whether what answers beats the baseline in the main figure; None without a baseline."""
        if self.headline not in self.baseline:
            return None
        ours, theirs = self.figures[self.headline], self.baseline[self.headline]
        return ours > theirs if self.goal == "max" else ours < theirs

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, fit for JSON."""
        return {
            "task": self.task,
            "count": self.count,
            "data": self.data,
            "headline": self.headline,
            "figures": self.figures,
            "baseline": self.baseline,
            "baseline_name": self.baseline_name,
            "note": self.note,
            "uses": self.uses,
            "alone": self.alone,
            "report": self.report.to_dict(),
        }


def _line(figures: dict[str, float]) -> str:
    return "  ".join(f"{name} {value:.4g}" for name, value in figures.items())
