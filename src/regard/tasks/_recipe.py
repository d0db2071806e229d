"""Settings that follow from the data and the budget: what a user leaves out a task decides, and says why."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch

from .. import _files
from ..errors import ArgumentError
from ..training import TrainingSettings

Settings = TypeVar("Settings", bound=Any)
Size = TypeVar("Size")

FILE = "recipe.json"
# A setting that was left out: `auto` where None means something of its own.
LEFT_OUT = (None, "auto")
# Of the products that a machine makes in a benchmark, so many a training of small models comes to (measured 0.35 to
# 0.5); gradients cost twice as many as the forward pass.
REACHED, PASSES = 0.4, 3
# A model that the minutes do not hold so many epochs of is too large for them.
FEWEST_EPOCHS = 4.0


@dataclass(frozen=True)
class Advice:
    """Values for settings that go together, and the reason."""

    values: Mapping[str, Any]
    """By the name of the setting; those of training by `part.name`, such as `optimizer.lr`."""
    reason: str
    """Why, in a few words."""

    def said(self, taken: Sequence[str]) -> str:
        """Return the options that would have set the values, with the reason."""
        options = (f"--{name.split('.')[-1].replace('_', '-')} {_plain(self.values[name])}" for name in taken)
        return f"{' '.join(options)}: {self.reason}"


def decided(settings: Settings, advice: Sequence[Advice]) -> tuple[Settings, tuple[str, ...]]:
    """Return settings in which what was left out follows the advice, and a line for each reason."""
    lines = []
    for one in advice:
        taken = [name for name in one.values if _value(settings, name) in LEFT_OUT]
        for name in taken:
            settings = _with(settings, name, one.values[name])
        if taken:
            lines.append(one.said(taken))
    return settings, tuple(lines)


def remembered(folder: Path | None, advice: Sequence[Advice]) -> Sequence[Advice]:
    """Return the advice that a run in this folder began with; of a new run the given one, which is written there.

    A run that goes on needs the model that it began with, though the machine may have another speed today. Raises
    `ArgumentError` if it cannot be read.
    """
    if folder is None:
        return advice
    path = folder / FILE
    if path.exists() and any((folder / "checkpoints").glob("*")):
        return _read(path, {name for one in advice for name in one.values})
    if advice and os.environ.get("RANK", "0") == "0":
        folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps([dataclasses.asdict(one) for one in advice], ensure_ascii=False, indent=1)
        _files.write(path, text.encode())
    return advice


def _read(path: Path, known: Collection[str]) -> list[Advice]:
    try:
        found = [Advice(**one) for one in json.loads(path.read_text(encoding="utf-8"))]
        for one in found:
            unknown = set(one.values) - set(known)
            if unknown or not isinstance(one.reason, str):
                raise ValueError(f"it decides {', '.join(sorted(unknown))}" if unknown else "a reason is no text")
    except (OSError, ValueError, TypeError) as error:
        raise ArgumentError(
            f"{path} cannot be read: {error}. It holds the settings that the run in this folder began with: restore "
            "it, or remove it and give them as options; or train into another folder."
        ) from error
    return found


def products_in(training: TrainingSettings) -> float | None:
    """Return how many multiply-adds of a forward pass, with what its gradients cost, the minutes hold on this machine.

    None where nothing limits them: no minutes, a GPU, or several processes, which could measure different speeds.
    """
    minutes, device = training.budget.minutes, training.machine.device
    on_gpu = device == "cuda" or (device == "auto" and torch.cuda.is_available())
    if minutes is None or on_gpu or int(os.environ.get("WORLD_SIZE", "1")) > 1:
        return None
    return 60 * minutes * _speed() * REACHED / PASSES


def largest(sizes: Sequence[tuple[Size, float]], held: float | None, fewest: float = FEWEST_EPOCHS) -> tuple[Size, str]:
    """Return the largest size of which `held` multiply-adds are enough epochs, and how many they are, in words.

    Args:
        sizes: Sizes with the multiply-adds of an epoch's forward passes, the largest first.
        held: What the minutes hold; None: as many as are wanted.
        fewest: Epochs that are enough.

    >>> largest([("large", 100.0), ("small", 10.0)], 60.0)
    ('small', ', and the minutes hold about 6 epochs of it')
    """
    if held is None:
        return sizes[0][0], ""
    size, cost = next((one for one in sizes if held / one[1] >= fewest), sizes[-1])
    return size, f", and the minutes hold about {held / cost:.2g} epochs of it"


def epochs_for(examples: int, usual: float, at: int, most: float) -> float:
    """Return how many epochs suit: `usual` with `at` examples, more with fewer, by the square root; 3 to `most`.

    >>> epochs_for(10_000, 10, 40_000, 100)
    20
    """
    return round(min(max(3.0, usual * math.sqrt(at / examples)), most))


def _speed() -> float:
    """Return the multiply-adds a second of a product of middling size: the best of some.

    Of what else the machine does nothing is assumed: for a moment it can be ten times as slow.
    """
    rows, weight = torch.ones(1024, 128), torch.ones(128, 512)
    seconds = []
    for _ in range(20):
        start = time.perf_counter()
        torch.mm(rows, weight)
        seconds.append(time.perf_counter() - start)
    return rows.numel() * weight.shape[1] / min(seconds)


def _value(settings: Any, name: str) -> Any:
    for part in _path(name):
        settings = getattr(settings, part)
    return settings


def _with(settings: Settings, name: str, value: Any) -> Settings:
    path = _path(name)
    holders = [settings]
    for part in path[:-1]:
        holders.append(getattr(holders[-1], part))
    for holder, part in zip(reversed(holders), reversed(path), strict=True):
        value = dataclasses.replace(holder, **{part: value})
    changed: Settings = value
    return changed


def _path(name: str) -> list[str]:
    return ["training", *name.split(".")] if "." in name else [name]


def _plain(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
