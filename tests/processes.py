"""What a process took of the machine."""

from pathlib import Path


def peak_memory(process: int | str = "self") -> float:
    """Return the most memory that a process has held since its program was started, in MiB.

    `ru_maxrss` would begin with what the parent held at the fork.
    """
    status = Path(f"/proc/{process}/status").read_text("ascii")
    return int(status.split("VmHWM:")[1].split()[0]) / 1024
