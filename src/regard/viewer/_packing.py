"""Numbers as bytes, and bytes as text of a page."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

_SMALLEST_F2 = float(np.finfo(np.float16).smallest_subnormal)
_SAMPLE = 4096


def binary(numbers: NDArray[Any] | Sequence[int], kind: str) -> bytes:
    """Return numbers as little-endian bytes of this dtype."""
    given = np.asarray(numbers)
    if kind == "f2":  # too small for float16, but not zero
        given = np.where((given > 0) & (given < _SMALLEST_F2), _SMALLEST_F2, given)
    with np.errstate(over="ignore"):
        return np.ascontiguousarray(given, np.dtype("<" + kind)).tobytes()


def packed(block: bytes, *, bytewise: bool = False) -> tuple[str, str]:
    """Return "deflate" or "none", and base64. `bytewise`: of single bytes that repeat, if at all, one after another."""
    if bytewise:
        return "deflate", base64.b64encode(_deflated(block, True)).decode()
    # float16 weights rarely compress; codes, uniform weights and text do. A sample decides whether it is tried.
    sample = block[:_SAMPLE] + block[-_SAMPLE:]
    if len(_deflated(sample, False)) < 0.9 * len(sample):
        return "deflate", base64.b64encode(_deflated(block, False)).decode()
    return "none", base64.b64encode(block).decode()


def size_of(block: bytes, *, bytewise: bool = False) -> int:
    """Return the letters that a block takes in a page."""
    return len(packed(block, bytewise=bytewise)[1])


def _deflated(block: bytes, bytewise: bool) -> bytes:
    # Rounded weights hold no words that come again: looking for them took twice the time, and 10 % more bytes.
    packer = zlib.compressobj(1, zlib.DEFLATED, -15, zlib.DEF_MEM_LEVEL, zlib.Z_RLE if bytewise else 0)
    return packer.compress(block) + packer.flush()
