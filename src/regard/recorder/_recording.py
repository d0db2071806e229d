"""What `watch` gives: the attention calls of a model in the order in which they were made."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from ..errors import RegardError, nearest
from ..weights import AttentionWeights
from ._writer import save

__all__ = ["EmptyRecordingError", "RecordedCall", "Recording", "layer_of"]


class EmptyRecordingError(RegardError, RuntimeError):
    """No call of attention was recorded."""


@dataclass(frozen=True, eq=False)
class RecordedCall:
    """Where a recorded call came from, and its weights."""

    key: str
    """Name of the call in the recording."""
    module: str
    """Name of the module that made it, as in `model.named_modules()`."""
    number: int
    """Which call of this module, from 0: the pass, where a module calls once a pass."""
    door: str
    """How it was caught."""
    weights: AttentionWeights
    """Of exactly this call, without gradient."""

    @property
    def layer(self) -> int | None:
        """The first number in the module's name, None if it has none."""
        return layer_of(self.module)


def layer_of(module: str) -> int | None:
    """Return the first number in a module's name."""
    found = re.search(r"(?:^|\.)(\d+)(?:\.|$)", module)
    return int(found[1]) if found else None


class Recording(Mapping[str, AttentionWeights]):
    """The weights of each attention call by name, in call order; also by position: `recording[0]`.

    Calls of one module after the first carry their number: `encoder.0.attention`, `encoder.0.attention#1`.
    """

    def __init__(self) -> None:
        self.calls: list[RecordedCall] = []
        self.missed: Counter[str] = Counter()
        """Attention that took a path which cannot be recorded: what, and how often."""
        self.left_out = 0
        """Calls that `layers` did not ask for."""
        self._keys: dict[str, RecordedCall] = {}
        self._numbers: Counter[str] = Counter()

    def add(self, module: str, door: str, weights: AttentionWeights) -> None:
        """Append a call."""
        number = self._numbers[module]
        self._numbers[module] += 1
        key = f"{module}#{number}" if number else module
        call = RecordedCall(key, module, number, door, weights)
        self.calls.append(call)
        self._keys[key] = call

    def __getitem__(self, key: str | int) -> AttentionWeights:
        """Return the weights of a call by its name or position."""
        if isinstance(key, int):
            return self.calls[key].weights
        if key not in self._keys:
            raise KeyError(f"{key!r} is no recorded call.{nearest(key, self._keys)} There are {len(self)}.")
        return self._keys[key].weights

    def __iter__(self) -> Iterator[str]:
        """Go through the names in call order."""
        return iter(self._keys)

    def __len__(self) -> int:
        """Return the number of recorded calls."""
        return len(self.calls)

    def layer(self, number: int) -> list[RecordedCall]:
        """Return the calls of a layer in order."""
        return [call for call in self.calls if call.layer == number]

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write everything to one file where the path ends in `.regard`, else to a folder; `regard.load` reads both.

        Both are in the Zarr v3 format (in a zip), so other programs can open them. An older recording of that name is
        replaced when the new one is complete. Exact weights are written with query and key, the values as norms.
        Raises `ArgumentError`, `RecordingFileError`, `MissingExtraError`. The same recording gives the same bytes.
        """
        save(self, path)

    def __repr__(self) -> str:
        """Say how many of the calls that were made are here, and where the others went."""
        missed = self.missed.total()
        made = len(self) + missed + self.left_out
        layers = len(self._numbers)
        rounds = set(self._numbers.values())
        each = f" ({layers} layers x {rounds.pop()} passes)" if len(rounds) == 1 else ""
        first = f"{len(self)} of {made} attention calls recorded{each}; {missed} took another path"
        if self.left_out:
            first += f"; {self.left_out} not asked for"
        return "\n".join([first, *(f"   {count} x {what}" for what, count in self.missed.most_common())])
