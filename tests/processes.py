"""Processes of their own: what they say, and the memory that they used."""

import os
import subprocess
import sys
from pathlib import Path

import regard

ROOT = Path(__file__).parents[1]


def output_of(script: str, *given: object) -> str:
    """Run a script with these arguments, and return what it writes; it may not warn."""
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", script, *map(str, given)],
        capture_output=True, text=True, cwd=ROOT, check=False, timeout=600,
        env={**os.environ, "PYTHONPATH": f"{Path(regard.__file__).parents[1]}:{ROOT}"},
    )  # fmt: skip
    assert not run.stderr
    return run.stdout


def peak_memory(process: int | str = "self") -> float:
    """Return the most memory that a process has held since its program was started, in MiB.

    `ru_maxrss` would start with the parent's value at the fork.
    """
    status = Path(f"/proc/{process}/status").read_text("ascii")
    return int(status.split("VmHWM:")[1].split()[0]) / 1024
