"""Triton's interpreter takes a tenth of a second for a small call: which tests run in it each time.

Always the same ones; all of them with REGARD_EVERY=triton, which takes hours more.
"""

from __future__ import annotations

import itertools
import os
import sys
import zlib
from collections.abc import Iterable
from typing import Any

import pytest

from regard.backends.triton import version

EVERY = "triton" in os.environ.get("REGARD_EVERY", "")
MISSING = version() is None and sys.platform != "linux"
"""Whether the kernels cannot be tested: Triton has wheels for Linux alone, where it is required."""


def sampled(backend: str, what: str, one_in: int) -> bool:
    """Return whether a test runs: of those of the Triton backend one in so many."""
    if backend != "triton":
        return True
    return not MISSING and (EVERY or zlib.crc32(what.encode()) % one_in == 0)


def share(backends: Iterable[Any], things: Iterable[Any], one_in: int) -> list[Any]:
    """Return parameters `backend, thing` for pytest, of the Triton backend's one in so many."""
    return [
        pytest.param(backend, thing, id=f"{thing}-{backend.name}".replace(" ", "-"))
        for backend, thing in itertools.product(backends, things)
        if sampled(backend.name, str(thing), one_in)
    ]
