"""Peak memory of this process so far. Made for a fresh process: a peak never goes down."""

from __future__ import annotations

import resource
import sys
from pathlib import Path

_STATUS = Path("/proc/self/status")


def peak_mebibytes() -> float:
    """Return the largest resident size so far, in MiB.

    Linux's getrusage starts a child at its parent's peak, so there the peak is read from /proc.
    """
    if _STATUS.exists():
        mark = next(line for line in _STATUS.read_text().splitlines() if line.startswith("VmHWM"))
        return int(mark.split()[1]) / 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 1024
