"""The attention calls of a model in the order in which they were made."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping

from ..errors import nearest
from ..weights import AttentionWeights
from ._call import RecordedCall
from ._texts import Texts
from ._writing import save


class Recording(Mapping[str, AttentionWeights]):
    """The weights of each attention call by name, in call order; also by position: `recording[0]`.

    Calls of one module after the first carry their number: `encoder.0.attention`, `encoder.0.attention#1`. The steps
    of `generate()` are one call, to which each step appends its rows.
    """

    def __init__(self) -> None:
        self.calls: list[RecordedCall] = []
        self.missed: Counter[str] = Counter()
        """Attention that took a path which cannot be recorded: what, and how often."""
        self.left_out = 0
        """Calls that `layers` did not ask for."""
        self.difference: float | None = None
        """Largest difference between the outputs and those of PyTorch's own attention; None if it was not measured."""
        self.texts = Texts()
        """What the tokens are; `describe` sets it."""
        self._keys: dict[str, RecordedCall] = {}
        self._numbers: Counter[str] = Counter()

    def add(
        self,
        module: str,
        door: str,
        weights: AttentionWeights,
        heads: tuple[int, ...] | None = None,
        backend: str | None = None,
    ) -> None:
        """Append a call."""
        number = self._numbers[module]
        self._numbers[module] += 1
        key = f"{module}#{number}" if number else module
        call = RecordedCall(key, module, number, door, weights, heads, backend)
        self.calls.append(call)
        self._keys[key] = call

    def call(self, key: str | int) -> RecordedCall:
        """Return a call by its name or position; raises `KeyError`, `IndexError`."""
        if isinstance(key, int):
            return self.calls[key]
        if key not in self._keys:
            raise KeyError(f"{key!r} is no recorded call.{nearest(key, self._keys)} There are {len(self)}.")
        return self._keys[key]

    def last_of(self, module: str) -> RecordedCall | None:
        """Return the last call of a module, None if it made none."""
        number = self._numbers[module] - 1
        return None if number < 0 else self._keys.get(f"{module}#{number}" if number else module)

    def drop(self, call: RecordedCall) -> None:
        """Take a call out again whose numbers cannot be trusted; its passes count as missed."""
        self.calls.remove(call)
        del self._keys[call.key]
        self.missed[f"{call.module}: a growing matrix that a fault has broken"] += call.passes

    def describe(self, texts: Texts) -> Recording:
        """Say what the tokens are, which pictures of this recording then show; returns the recording.

        >>> Recording().describe(Texts(tokens=["a", "b"])).texts.tokens
        ['a', 'b']
        """
        self.texts = texts
        return self

    def __getitem__(self, key: str | int) -> AttentionWeights:
        """Return the weights of a call by its name or position."""
        return self.call(key).weights

    def __iter__(self) -> Iterator[str]:
        """Go through the names in call order."""
        return iter(self._keys)

    def __len__(self) -> int:
        """Return the number of recorded calls; the steps of one generation are one."""
        return len(self.calls)

    def layer(self, number: int) -> list[RecordedCall]:
        """Return the calls of a layer in order."""
        return [call for call in self.calls if call.layer == number]

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write everything to one file where the path ends in `.regard`, else to a folder; `regard.load` reads both.

        A folder holds each call as a file in the safetensors format and the rest as JSON; a `.regard` file is a zip of
        them that packs nothing, so calls are read from where they lie. An older recording of that name is replaced
        when the new one is complete. Exact weights are written with query and key, the values as norms. Raises
        `ArgumentError`, `RecordingFileError`. The same recording gives the same bytes.
        """
        save(self, path)

    def __repr__(self) -> str:
        """Say how many of the calls that were made are here, and where the others went."""
        missed = self.missed.total()
        recorded = sum(call.passes for call in self.calls)
        made = recorded + missed + self.left_out
        layers = len(self._numbers)
        passes: Counter[str] = Counter()
        for call in self.calls:
            passes[call.module] += call.passes
        rounds = set(passes.values())
        each = f" ({layers} layers x {rounds.pop()} passes)" if len(rounds) == 1 else ""
        first = f"{recorded} of {made} attention calls recorded{each}; {missed} took another path"
        if self.left_out:
            first += f"; {self.left_out} not asked for"
        lines = [first]
        if recorded > len(self):
            lines.append(f"   {len(self)} growing matrices: a step of generation appends its rows")
        if self.difference is not None:
            lines.append(f"   outputs differ from PyTorch's own attention by at most {self.difference:.1e}")
        return "\n".join([*lines, *(f"   {count} x {what}" for what, count in self.missed.most_common())])
