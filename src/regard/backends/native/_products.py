"""How float32 and float16 are multiplied where a processor has tiles of bfloat16: as they are, or by parts.

By parts a number is the sum of three (float32) or two (float16) bfloat16, and six or three of the products of such
parts stand for a product. `docs/semantics.md` says what that means for results.
"""

from __future__ import annotations

import functools
import os
from threading import local
from typing import Literal, cast, get_args

from ..._values import choice
from ...errors import BackendError

Fp32 = Literal["auto", "plain", "parts"]
"""By parts where that was measured to be faster on this processor, never, or wherever it is possible."""
_VALUES = get_args(Fp32)


class _Asked(local):
    # For each thread, as `use_backend`.
    def __init__(self) -> None:
        self.value: Fp32 | None = None


_asked = _Asked()


@functools.cache
def _environment() -> Fp32:
    given = os.environ.get("REGARD_FP32") or "auto"
    if given not in _VALUES:
        raise BackendError(
            f"REGARD_FP32 is {given!r}; it is one of {', '.join(_VALUES)}. Unset it, or name one of these."
        )
    return cast(Fp32, given)


def _default() -> Fp32:
    return _environment()


# While a graph is compiled the answer is a constant.
_default._dynamo_marked_constant = True  # type: ignore[attr-defined]


def fp32() -> Fp32:
    """Return what this thread asks for, else what `REGARD_FP32` says, else "auto"; raises `BackendError`."""
    return _asked.value or _default()


def ask_fp32(value: Fp32 | None) -> Fp32 | None:
    """Ask for it on this thread, None for the default; returns what was asked before. Raises `ArgumentError`."""
    if value is not None:
        choice("fp32", value, _VALUES)
    before, _asked.value = _asked.value, value
    return before
