"""How much memory is free, so that a matrix that would not fit is refused before it is begun."""

from __future__ import annotations

from pathlib import Path

import torch

_UNKNOWN = 4 << 30
_CONTAINER = Path("/sys/fs/cgroup")


def free_bytes(device: torch.device) -> int:
    """Return the free memory of a device in bytes; 4 GiB where the system does not tell."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    if device.type != "cpu":
        return _UNKNOWN
    found = [_available(), _container()]
    return min((value for value in found if value is not None), default=_UNKNOWN)


def _available() -> int | None:
    try:
        lines = Path("/proc/meminfo").read_text("ascii").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) << 10 for line in lines if line.startswith("MemAvailable:")), None)


def _container() -> int | None:
    try:
        limit = (_CONTAINER / "memory.max").read_text("ascii").strip()
        used = int((_CONTAINER / "memory.current").read_text("ascii"))
    except (OSError, ValueError):
        return None
    return None if limit == "max" else max(0, int(limit) - used)


def readable_size(count: float) -> str:
    """Write a number of bytes with a unit, such as `16.0 GiB`."""
    for unit in ("bytes", "KiB", "MiB", "GiB", "TiB"):
        if count < 1024 or unit == "TiB":
            break
        count /= 1024
    return f"{count:.0f} bytes" if unit == "bytes" else f"{count:.1f} {unit}"
