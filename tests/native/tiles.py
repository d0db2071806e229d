"""Builds the unit of tiles (AMX) with its tiles imitated, or as they are."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from .test_imitated import FLAGS, ROOT, run

WIDE = "-mavx2 -mfma -mf16c -mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx512bf16 -mprefer-vector-width=512".split()


class Built(NamedTuple):
    """A library whose only unit is that of tiles, imitated."""

    path: Path
    wide: bool


def build(folder: Path, *flags: str) -> Path:
    """Compile a library with that unit alone."""
    sources = [ROOT / "csrc" / name for name in ("dispatch.cpp", "threads.cpp", "isa/imitated.cpp")]
    path = folder / f"lib{len(flags)}.so"
    run("g++", *FLAGS, "-ffp-contract=fast", "-DREGARD_BASELINE_ONLY", *flags, "-shared", *sources, "-o", path)
    return path
