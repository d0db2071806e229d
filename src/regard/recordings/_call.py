"""One recorded call: where it came from, and its weights."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, Protocol

from ..weights import AttentionWeights


class Growing(Protocol):
    """Calls that grow into one matrix while text is generated."""

    def add(self, step: Any, /) -> None:
        """Append the rows of a call."""
        ...

    def weights(self) -> AttentionWeights:
        """Return what was recorded so far."""
        ...


@dataclass(eq=False)
class RecordedCall:
    """Where a recorded call came from, and its weights."""

    key: str
    """Name of the call in the recording."""
    module: str
    """Name of the module that made it, as in `model.named_modules()`."""
    number: int
    """Which call of this module, from 0; the steps of one generation count as one call."""
    door: str
    """How it was caught."""
    kept: AttentionWeights
    """Weights of the first call."""
    heads: tuple[int, ...] | None = None
    """Which heads of the model these are, None for all."""
    backend: str | None = None
    """Which of regard's backends computed the first of these calls; None where PyTorch or the model did."""
    passes: int = 1
    """Calls that this holds: more than one where text was generated, each appending its rows."""
    grown: Growing | None = field(default=None, repr=False)

    @property
    def weights(self) -> AttentionWeights:
        """Of exactly these calls, without gradient."""
        return self.kept if self.grown is None else self.grown.weights()

    @property
    def layer(self) -> int | None:
        """The first number in the module's name, None if it has none."""
        return layer_of(self.module)


def layer_of(module: str) -> int | None:
    """Return the first number in a module's name."""
    found = re.search(r"(?:^|\.)(\d+)(?:\.|$)", module)
    return int(found[1]) if found else None
