"""Measuring: peers alternate in one process, and the best of many turns counts.

Other work on the machine slows every peer alike, so ratios within one process mean more than seconds. CPU seconds are
measured, summed over threads; with more than one thread wall-clock seconds are given too.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

import torch


@dataclass
class Timing:
    """Best time of one call, in seconds."""

    cpu: float = float("inf")
    wall: float = float("inf")


@dataclass
class Table:
    """The result of one benchmark: a line per setting."""

    title: str
    columns: list[str]
    rows: list[list[str]] = field(default_factory=list)
    records: list[dict[str, Any]] = field(default_factory=list)
    """The same with all numbers, for the JSON file."""

    def __str__(self) -> str:
        """Draw the table in plain text."""
        lines = [self.columns, *self.rows]
        widths = [max(len(line[place]) for line in lines) for place in range(len(self.columns))]
        drawn = [
            "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
        ]
        return "\n".join([self.title, "-" * len(self.title), *drawn])


def compare(peers: dict[str, Callable[[], object]], seconds: float = 1.0, turns: int = 3) -> dict[str, Timing]:
    """Time each peer in turn, for about `seconds` each and at least `turns` turns; the first call warms up."""
    repeats, best = {}, {name: Timing() for name in peers}
    for name, call in peers.items():
        call()
        began = time.perf_counter()
        call()
        # A turn shorter than a few milliseconds would measure the clock.
        repeats[name] = max(1, int(0.005 / max(time.perf_counter() - began, 1e-7)))
    began, done = time.perf_counter(), 0
    while done < turns or time.perf_counter() - began < seconds * len(peers):
        for name, call in peers.items():
            cpu, wall = time.process_time(), time.perf_counter()
            for _ in range(repeats[name]):
                call()
            timing = best[name]
            timing.cpu = min(timing.cpu, (time.process_time() - cpu) / repeats[name])
            timing.wall = min(timing.wall, (time.perf_counter() - wall) / repeats[name])
        done += 1
    return best


def add_ratios(table: Table, setting: dict[str, Any], timings: dict[str, Timing], base: str) -> None:
    """Append a line: the setting, the base's milliseconds, and every other peer's CPU time as a multiple of it."""
    unit = timings[base].cpu
    ratios = [f"{timing.cpu / unit:.2f}" for name, timing in timings.items() if name != base]
    table.rows.append([*map(str, setting.values()), f"{unit * 1e3:.3f}", *ratios])
    table.records.append(setting | {name: asdict(timing) for name, timing in timings.items()})


def machine() -> dict[str, Any]:
    """Return the properties of the machine on which the numbers depend."""
    return {
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "instruction_set": torch.backends.cpu.get_cpu_capability(),
        "machine": platform.machine(),
        "python": platform.python_version(),
    }
