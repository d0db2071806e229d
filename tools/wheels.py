"""Write dist/: the source and a wheel for each processor, built from that source, checked and tagged: `make wheels`.

A wheel's tag names the oldest glibc that it runs on, which auditwheel reads from the library. Wheels for another
processor than this machine's are cross-compiled (Debian: apt install g++-aarch64-linux-gnu).
"""

from __future__ import annotations

import platform
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

HERE = Path(__file__).resolve().parent.parent
DIST, WORK = HERE / "dist", HERE / "build/wheels"
PROCESSORS = ("x86_64", "aarch64")


def main() -> int:
    """Build, tag and check; return the exit status."""
    for folder in (DIST, WORK):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    compilers = {processor: _compiler(processor) for processor in PROCESSORS}
    missing = [processor for processor, compiler in compilers.items() if shutil.which(compiler) is None]
    if missing:
        print(f"There is no {compilers[missing[0]]}: install a C++ compiler for {missing[0]}.", file=sys.stderr)
        return 1
    _run("-m", "build", "--no-isolation", "--sdist", "--outdir", str(DIST), str(HERE))
    with tarfile.open(next(DIST.glob("*.tar.gz"))) as packed:
        packed.extractall(WORK, filter="data")
    source = next(WORK.glob("regard-*"))
    for processor, compiler in compilers.items():
        _tag(_wheel(source, processor, compiler), processor)
    _run("-m", "twine", "check", "--strict", *map(str, sorted(DIST.iterdir())))
    for made in sorted(DIST.iterdir()):
        print(f"{made.relative_to(HERE)}  {made.stat().st_size / 1e6:.1f} MB")
    return 0


def _compiler(processor: str) -> str:
    return "g++" if platform.machine() == processor else f"{processor}-linux-gnu-g++"


def _wheel(source: Path, processor: str, compiler: str) -> Path:
    """Build the wheel for one processor out of the unpacked source."""
    defined = {
        "REGARD_PORTABLE": "ON",
        "CMAKE_SYSTEM_NAME": "Linux",
        "CMAKE_SYSTEM_PROCESSOR": processor,
        "CMAKE_CXX_COMPILER": compiler,
        "CMAKE_C_COMPILER": compiler.replace("g++", "gcc"),
    }
    settings = [f"-Ccmake.define.{name}={value}" for name, value in defined.items()]
    settings.append(f"-Cbuild-dir=build/{processor}")  # not a folder of changing name: a compiler's cache goes by it
    folder = WORK / processor
    _run("-m", "build", "--no-isolation", "--wheel", *settings, "--outdir", str(folder), str(source))
    return next(folder.glob("*.whl"))


def _tag(wheel: Path, processor: str) -> None:
    """Give the wheel the oldest tag that its library allows, and move it to dist/."""
    library = subprocess.run(["unzip", "-p", wheel, "*.so"], check=True, capture_output=True).stdout
    if not library.startswith(b"\x7fELF"):
        raise SystemExit(f"{wheel.name} holds no native library: the build went on without it.")
    _run("-m", "wheel", "tags", "--remove", "--platform-tag", f"linux_{processor}", str(wheel))
    (wheel,) = wheel.parent.glob("*.whl")
    shown = subprocess.run(["auditwheel", "show", wheel], check=True, capture_output=True, text=True).stdout
    found = re.search(rf"manylinux_\d+_\d+_{processor}", shown.replace("\n", " "))
    if found is None:
        raise SystemExit(f"No manylinux tag holds for {wheel.name}:\n{shown}")
    _run("-m", "wheel", "tags", "--remove", "--platform-tag", found[0], str(wheel))
    (wheel,) = wheel.parent.glob("*.whl")
    shutil.move(wheel, DIST / wheel.name)


def _run(*arguments: str) -> None:
    done = subprocess.run([sys.executable, *arguments], check=False, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(arguments)} failed:\n{done.stdout}{done.stderr}")


if __name__ == "__main__":
    sys.exit(main())
