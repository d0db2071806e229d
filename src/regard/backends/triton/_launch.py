"""Starting a kernel: the one place that knows what Triton wants to be told beside its arguments."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np

from ._available import interpreted
from ._table import Tile

__all__ = ["launch"]


def launch(kernel: Any, programs: int, *arguments: Any, tile: Tile, **sizes: int) -> None:
    """Run `programs` programs of a kernel; `sizes` are those that are fixed when it compiles."""
    # Products and sums may be one operation, as everywhere; Triton warns where nobody says so.
    with _quiet():
        kernel[(programs,)](*arguments, **sizes, num_warps=tile.warps, num_stages=tile.stages, enable_fp_fusion=True)


def _quiet() -> AbstractContextManager[object]:
    """Let NumPy, in which the interpreter computes, make NaN and infinity without a warning, as a device does."""
    return np.errstate(all="ignore") if interpreted() else nullcontext()
