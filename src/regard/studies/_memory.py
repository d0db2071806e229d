"""The peak memory of a call, as the operating system reports it."""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Callable
from pathlib import Path

__all__ = ["extra_memory"]

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def extra_memory(call: Callable[[], object]) -> int | None:
    """Return the largest growth of the process in bytes while `call` runs; None if the system does not report it.

    Memory that was freed before is first returned to the system, so that its reuse does not go unnoticed; then the
    kernel's peak of the resident size is reset. Whole pages of every thread and library are counted, and the result of
    `call` too. Linux with glibc only. Below a few hundred KB the figure is noise.
    """
    try:
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)
        _CLEAR.write_text("5", encoding="ascii")
        before = _bytes("VmRSS")
    except (OSError, AttributeError, LookupError):
        return None
    result = call()
    highest = _bytes("VmHWM")
    del result
    return max(0, highest - before)


def _bytes(name: str) -> int:
    lines = _STATUS.read_text(encoding="ascii").splitlines()
    found = next((line for line in lines if line.startswith(f"{name}:")), None)
    if found is None:
        raise LookupError(name)
    return 1024 * int(found.split()[1])
