"""The memory that a process used."""

from pathlib import Path


def peak_memory(process: int | str = "self") -> float:
    """Return the most memory that a process has held since its program was started, in MiB.

    `ru_maxrss` would start with the parent's value at the fork.
    """
    status = Path(f"/proc/{process}/status").read_text("ascii")
    return int(status.split("VmHWM:")[1].split()[0]) / 1024
