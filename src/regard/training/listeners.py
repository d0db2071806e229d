"""Listeners that keep a record of a run: a CSV log, TensorBoard, a picture of the curves."""

from __future__ import annotations

import csv
import math
from pathlib import Path
from typing import Any

from ..errors import MissingExtraError, needed
from .events import Ended, Evaluated, Event, Started, Stepped

COLUMNS = ("step", "epoch", "name", "value", "seconds")


class CsvLog:
    """Appends every step's loss and every evaluation's figures to a file: step, epoch, name, value, seconds.

    A run that resumes from a checkpoint first removes the lines of the steps that it repeats.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._seconds = 0.0

    def __call__(self, event: Event) -> None:
        """Append a line for each step and each figure of an evaluation."""
        if isinstance(event, Started):
            self._cut(event.step)
        elif isinstance(event, Stepped):
            self._seconds = event.seconds
            self._write(event.step, event.epoch, {"train_loss": event.loss, "lr": event.lr, "norm": event.norm})
        elif isinstance(event, Evaluated):
            self._write(event.step, event.epoch, event.figures)

    def _write(self, step: int, epoch: float, values: Any) -> None:
        with self.path.open("a", newline="") as file:
            csv.writer(file).writerows(
                (step, f"{epoch:.6g}", name, repr(float(value)), f"{self._seconds:.3f}")
                for name, value in values.items()
            )

    def _cut(self, step: int) -> None:
        """Remove all lines after a step; keep the header."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        kept = [line for line in read_log(self.path) if int(line[0]) <= step]
        with self.path.open("w", newline="") as file:
            csv.writer(file).writerows([COLUMNS, *kept])


class TensorBoardLog:
    """Writes losses and figures for TensorBoard."""

    def __init__(self, folder: Path) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            raise MissingExtraError(
                "Logs for TensorBoard need the package tensorboard: `pip install tensorboard`."
            ) from None
        self._writer = SummaryWriter(str(folder))

    def __call__(self, event: Event) -> None:
        """Write the scalars of an event."""
        if isinstance(event, Stepped):
            values = {"train/loss": event.loss, "train/lr": event.lr, "train/norm": event.norm}
        elif isinstance(event, Evaluated):
            values = {f"dev/{name}": value for name, value in event.figures.items()}
        else:
            if isinstance(event, Ended):
                self._writer.close()
            return
        for name, value in values.items():
            self._writer.add_scalar(name, value, event.step)


class CurvePicture:
    """Draws the loss and one figure of a CSV log when training ends."""

    def __init__(self, log: Path, picture: Path, figure: str) -> None:
        self.log, self.picture, self.figure = log, picture, figure

    def __call__(self, event: Event) -> None:
        """Draw at the end."""
        if isinstance(event, Ended):
            draw_curves(self.log, self.picture, self.figure)


def read_log(path: Path) -> list[list[str]]:
    """Return the complete lines of a CSV log without its header; none if there is no file."""
    try:
        with path.open(newline="") as file:
            lines = list(csv.reader(file))[1:]
    except FileNotFoundError:
        return []
    return [line for line in lines if len(line) == len(COLUMNS) and line[0].isdecimal()]


def draw_curves(log: Path, picture: Path, figure: str) -> None:
    """Draw the training loss and one figure of the evaluations over the steps.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    with needed("The picture needs matplotlib:", "view"):
        from matplotlib.figure import Figure
    series: dict[str, tuple[list[int], list[float]]] = {}
    for step, _, name, value, _ in read_log(log):
        steps, values = series.setdefault(name, ([], []))
        steps.append(int(step))
        values.append(float(value))
    drawing = Figure(figsize=(6.4, 3.6), layout="constrained")
    axes = drawing.add_subplot()
    steps, values = series.get("train_loss", ([], []))
    axes.plot(steps, values, color="0.75", linewidth=0.8)
    axes.plot(steps, smoothed(values), color="C0", label="training loss")
    axes.set_xlabel("step")
    axes.set_ylabel("training loss (each step; smoothed)")
    lines = list(axes.get_lines()[1:])
    if figure in series:
        other = axes.twinx()
        steps, values = series[figure]
        lines += other.plot(
            steps, values, color="C1", marker="o", markersize=3, clip_on=False, label=f"development {figure}"
        )
        other.set_ylabel(f"development {figure}")
        _keep_between_0_and_1(other, [value for value in values if math.isfinite(value)])
    drawing.legend(handles=lines, loc="outside upper center", ncols=2, frameon=False)
    drawing.savefig(picture, dpi=150)


def _keep_between_0_and_1(axes: Any, values: list[float]) -> None:
    """Limit the axis of a share to 0 to 1, but show at least a range of 0.1, so that noise looks small."""
    low, high = axes.get_ylim()
    if values and min(values) >= 0 and max(values) <= 1:
        wider = max(0.0, 0.1 - (high - low)) / 2
        axes.set_ylim(max(low - wider, 0.0), min(high + wider, 1.0))


def smoothed(values: list[float], memory: float = 0.95) -> list[float]:
    """Return exponential running means over about twenty values, bias-corrected at the start."""
    mean, weight, means = 0.0, 0.0, []
    for value in values:
        if math.isfinite(value):
            mean, weight = memory * mean + (1 - memory) * value, memory * weight + 1 - memory
        means.append(mean / weight if weight else math.nan)
    return means
