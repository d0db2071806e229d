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

from . import library

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


def checked(printed: str, isa: str) -> None:
    """Demand that a run of the check went through all calls, on that instruction set."""
    lines = printed.splitlines()
    assert lines[0] == isa
    assert lines[-1] == f"{len(lines) - 2} calls"


@pytest.fixture(scope="module")
def check(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the check against the library that is installed."""
    need("g++")
    program, beside = tmp_path_factory.mktemp("imitated") / "check", library.library_path()
    run("g++", "-std=c++17", "-O2", "-I", ROOT / "csrc", CHECK, beside, f"-Wl,-rpath,{beside.parent}", "-o", program)
    return program


def test_without_avx(check: Path) -> None:
    """On a processor of 2008 the library that is installed loads, takes the baseline, and computes right."""
    need("qemu-x86_64")
    checked(run("qemu-x86_64", "-cpu", "Nehalem", check, REGARD_ISA=""), "baseline")


@pytest.mark.parametrize("isa", library.LIB.regard_isas().decode().split())
def test_every_pass(check: Path, isa: str) -> None:
    """Every pass, feature and dtype, over every shape to 70 x 70; a byte beyond the memory given ends the program."""
    checked(run(check, "fenced", REGARD_ISA=isa), isa)


@pytest.mark.parametrize("isa", ["avx2", "baseline"])
def test_memory_is_clean(check: Path, isa: str) -> None:
    """Valgrind finds no read or write outside what was given, and no decision on what was never written."""
    need("valgrind")
    # The processor that it imitates has no AVX-512.
    checked(run("valgrind", "--quiet", "--error-exitcode=9", "--leak-check=full", check, REGARD_ISA=isa), isa)


def test_arm(tmp_path: Path) -> None:
    """On 64-bit Arm the portable units compute right: every pass, feature and dtype."""
    need("aarch64-linux-gnu-g++", "qemu-aarch64")
    compiler = "aarch64-linux-gnu-g++"
    run(compiler, "-std=c++17", "-O2", "-static", "-I", ROOT / "csrc", CHECK, *objects(tmp_path, compiler), "-lpthread",
        "-o", tmp_path / "check")  # fmt: skip
    checked(run("qemu-aarch64", tmp_path / "check", REGARD_ISA=""), "baseline")


def test_portable_units_hold_no_avx(tmp_path: Path) -> None:
    """What runs on every x86-64 uses no wide register."""
    need("g++", "objdump")
    for unit in objects(tmp_path, "g++"):
        assert not re.search(r"%[yz]mm\d", run("objdump", "-d", unit)), unit.name


@pytest.mark.parametrize("isa", ["baseline", "avx2", "avx512", "avx512_bf16", "avx512_amx"])
def test_units_share_nothing(tmp_path: Path, isa: str) -> None:
    """A unit shows its table and no function: the linker cannot give one unit's code to another."""
    need("g++", "nm")
    wide = "-mavx2 -mfma -mf16c -mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx512bf16 -mamx-tile".split()
    unit = tmp_path / "unit.o"
    # Without optimisation nothing that is inline disappears.
    run("g++", *FLAGS, "-O0", *wide[: {"baseline": 0, "avx2": 3, "avx512": 7, "avx512_bf16": 8}.get(isa)], "-c",
        ROOT / "csrc" / "isa" / f"{isa}.cpp", "-o", unit)  # fmt: skip
    shown = run("nm", "-C", "--defined-only", "--extern-only", unit).splitlines()
    assert [line.split()[-1] for line in shown] == [f"regard::{isa}_table"]
