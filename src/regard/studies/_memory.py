"""How much memory a call takes at its highest point, as the operating system saw it."""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Callable
from pathlib import Path

__all__ = ["extra_memory"]

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def extra_memory(call: Callable[[], object]) -> int | None:
    """Return the bytes by which the process grows at most while `call` runs; None where the system does not tell.

    Memory that was freed before is first given back to the system, so that none of it is used again unseen; then the
    kernel's mark of the highest resident size is reset. Counted are whole pages, of every thread and library; what
    `call` returns counts too. Linux with glibc only. Below a few hundred KB the figure is noise.
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
