"""Starting a kernel: the one place that knows what Triton wants to be told beside its arguments."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import numpy as np
import torch

from ._available import interpreted
from ._call import Call
from ._table import Tile


def launch(kernel: Any, programs: int, call: Call, *arguments: Any, tile: Tile, **sizes: int) -> None:
    """Run `programs` programs of a kernel; `sizes` are those that are fixed when it compiles."""
    # Products and sums may be one operation, as everywhere; Triton warns where nobody says so.
    with _place(call.query.device):
        kernel[(programs,)](
            call, *arguments, **sizes, num_warps=tile.warps, num_stages=tile.stages, enable_fp_fusion=True
        )


def _place(device: torch.device) -> AbstractContextManager[object]:
    """Start kernels where the tensors are, which Triton does not look at."""
    if device.type == "cuda":
        return torch.cuda.device(device)
    return _silence() if interpreted() else nullcontext()


@contextmanager
def _silence() -> Iterator[None]:
    """Let the interpreter, which computes in NumPy, not warn of NaN and infinity: a device makes them silently."""
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "All-NaN", RuntimeWarning)  # the maximum of no number, whatever errstate says
        yield
