"""The kernel on machines that this one imitates, and what its object files may hold.

A processor without AVX must take the baseline and live; 64-bit Arm must compute the same. Where the emulators are not
installed these tests are skipped, unless `REGARD_REQUIRE` is set, as in CI: there a missing tool is a failure.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from .library import library_path

ROOT = Path(__file__).parents[2]
CHECK = ROOT / "tests" / "native" / "imitated_check.cpp"
PORTABLE = ("dispatch.cpp", "threads.cpp", "isa/baseline.cpp")
# As in CMakeLists.txt, but for the speed of the compiler.
FLAGS = ("-std=gnu++17", "-O1", "-fPIC", "-fno-exceptions", "-fno-rtti", "-fno-math-errno", "-Wno-psabi",
         "-fvisibility=hidden", "-I", str(ROOT / "csrc"))  # fmt: skip


def need(*tools: str) -> None:
    """Skip without the tools, or fail where everything is required."""
    missing = [tool for tool in tools if shutil.which(tool) is None]
    if missing and os.environ.get("REGARD_REQUIRE"):
        pytest.fail(f"REGARD_REQUIRE is set and these tools are missing: {', '.join(missing)}")
    if missing or platform.machine() != "x86_64":
        pytest.skip(f"needs an x86-64 machine with {', '.join(tools)}")


def run(*words: str | Path, **environment: str) -> str:
    """Run a program and return what it prints; fail with its own words."""
    done = subprocess.run(
        [str(word) for word in words], capture_output=True, text=True, check=False, env={**os.environ, **environment}
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


def objects(folder: Path, compiler: str) -> list[Path]:
    """Compile the units that every machine gets."""
    made = []
    for name in PORTABLE:
        made.append(folder / (Path(name).stem + ".o"))
        run(compiler, *FLAGS, "-c", ROOT / "csrc" / name, "-o", made[-1])
    return made


def test_without_avx(tmp_path: Path) -> None:
    """On a processor of 2008 the library that is installed loads, takes the baseline, and computes right."""
    need("g++", "qemu-x86_64")
    library = library_path()
    run("g++", "-std=c++17", "-O1", "-I", ROOT / "csrc", CHECK, library, f"-Wl,-rpath,{library.parent}", "-o",
        tmp_path / "check")  # fmt: skip
    printed = run("qemu-x86_64", "-cpu", "Nehalem", tmp_path / "check")
    assert printed.splitlines()[0] == "baseline"


def test_memory_is_clean(tmp_path: Path) -> None:
    """Valgrind finds no read or write outside what was given, and no decision on what was never written."""
    need("g++", "valgrind")
    library = library_path()
    run("g++", "-std=c++17", "-O1", "-I", ROOT / "csrc", CHECK, library, f"-Wl,-rpath,{library.parent}", "-o",
        tmp_path / "check")  # fmt: skip
    # It imitates a processor without AVX-512, so these are the units for AVX2.
    printed = run("valgrind", "--quiet", "--error-exitcode=9", "--leak-check=full", tmp_path / "check")
    assert printed.splitlines()[0] == "avx2"


def test_arm(tmp_path: Path) -> None:
    """On 64-bit Arm the portable units compute right, forward and backward."""
    need("aarch64-linux-gnu-g++", "qemu-aarch64")
    compiler = "aarch64-linux-gnu-g++"
    run(compiler, "-std=c++17", "-O1", "-static", "-I", ROOT / "csrc", CHECK, *objects(tmp_path, compiler), "-lpthread",
        "-o", tmp_path / "check")  # fmt: skip
    printed = run("qemu-aarch64", tmp_path / "check")
    assert len(printed.splitlines()) == 32


def test_portable_units_hold_no_avx(tmp_path: Path) -> None:
    """What runs on every x86-64 uses no wide register, and shares no inline function with the other units."""
    need("g++", "objdump", "nm")
    for unit in objects(tmp_path, "g++"):
        assert not re.search(r"%[yz]mm\d", run("objdump", "-d", unit)), unit.name
        weak = [line for line in run("nm", "-C", unit).splitlines() if re.search(r" [WVu] ", line)]
        assert not weak, unit.name
