"""Which of the two fast kernels runs a call, by measured speed (`_measured.py`).

A processor without a row of its own uses the last row with the same instruction set and the same best one; if there is
none either, the native kernel is assumed to be faster. A backend asked for by name is never overruled, and whether
weights are wanted has no influence.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from ..._inputs import AttentionInputs
from .._values import readable
from ._library import available, library
from ._measured import BY_PARTS, LENGTHS, ROWS, Row, Work
from ._products import Fp32, fp32

FEW_QUERIES = 4
# Less than what a repeated measurement moves by.
_AS_FAST = 0.97
_NAMES = {torch.float32: "float32", torch.bfloat16: "bfloat16", torch.float16: "float16"}


def row_of(processor: str, best: str, isa: str, rows: tuple[Row, ...]) -> Row | None:
    """Return the row that applies to a processor, or None."""
    alike = [row for row in rows if (row.best, row.isa) == (best, isa)]
    own = [row for row in alike if row.processor == processor]
    speaks = own or alike
    return speaks[-1] if speaks else None


def ratio_at(ratios: tuple[float, ...], work: Work, queries: int, keys: int) -> float:
    """Return the ratio at the measured length that is nearest, as a factor, to a call's size."""
    side = math.log(max(1, keys)) if work == "decoding" else math.log(max(1, queries * keys)) / 2
    return min(zip(LENGTHS[work], ratios, strict=True), key=lambda at: abs(math.log(at[0]) - side))[1]


def _measured(dtype: str, work: Work) -> tuple[tuple[float, ...], str]:
    # While a graph is compiled the answer is a constant.
    if not available():
        return (), ""
    here = library()
    row = row_of(here.processor, here.isas[0], here.isa, ROWS)
    if row is None:
        return (), ""
    return row.ratios.get((dtype, work), ()), f"{here.isa}, measured {row.measured}"


def _has_parts(dtype: str) -> bool:
    return available() and dtype in {_NAMES[one] for one in library().parts}


_measured._dynamo_marked_constant = True  # type: ignore[attr-defined]
_has_parts._dynamo_marked_constant = True  # type: ignore[attr-defined]


class Choice(NamedTuple):
    """The faster of the ways in which the kernel multiplies."""

    ratio: float
    """PyTorch's time as a multiple of ours; infinite where nothing was measured."""
    parts: bool
    other: float | None
    """The same of the other way, where there is one that was measured."""
    source: str


def _choose(dtype: str, work: Work, asked: Fp32, size: tuple[int, int] | None) -> Choice:
    """Choose for the queries and keys of a call; None: for the longest."""

    def at(ratios: tuple[float, ...]) -> float | None:
        if not ratios:
            return None
        return ratios[-1] if size is None else ratio_at(ratios, work, *size)

    ratios, source = _measured(dtype, work)
    plain, parts = at(ratios), None
    few = work == "decoding" or (size is not None and size[0] <= FEW_QUERIES)
    possible = not few and _has_parts(dtype)
    if possible:
        parts = at(_measured(dtype + BY_PARTS, work)[0])
    # What was not measured is taken where it is asked for, and nowhere else.
    faster = parts is not None and plain is not None and parts > plain
    if possible and (asked == "parts" or (asked == "auto" and faster)):
        return Choice(math.inf if parts is None else parts, True, plain, source)
    return Choice(math.inf if plain is None else plain, False, parts, source)


@functools.lru_cache(maxsize=4096)
def _choice(dtype: torch.dtype, trains: bool, queries: int, keys: int, asked: Fp32) -> Choice:
    """Return what applies to a call; every call asks, and a tiny one takes 30 µs."""
    work: Work = "training" if trains else "decoding" if queries <= FEW_QUERIES else "forward"
    return _choose(_NAMES.get(dtype, ""), work, asked, (queries, keys))


def never_slower(dtype: torch.dtype) -> bool:
    """Return whether no call in this dtype was measured to be slower here: a tiny call need not ask further."""
    fp32()  # complains of a wrong setting
    return _never_slower(dtype)


@functools.lru_cache(maxsize=16)
def _never_slower(dtype: torch.dtype) -> bool:
    works: tuple[Work, ...] = ("forward", "training", "decoding")
    return all(ratio >= _AS_FAST for work in works for ratio in _measured(_NAMES.get(dtype, ""), work)[0])


def forget() -> None:
    """Choose anew, for tests that change what was measured."""
    _choice.cache_clear()
    _never_slower.cache_clear()


def by_parts(query: Tensor, key: Tensor, trains: bool) -> bool:
    """Return whether a call is to be multiplied by parts, if its numbers allow it."""
    if query.dtype not in library().parts:
        return False
    return _choice(query.dtype, trains, query.shape[-2], key.shape[-2], fp32()).parts


def how_multiplied(query: Tensor, key: Tensor, trains: bool) -> str | None:
    """Say how a call's numbers are multiplied and why; None where there is one way."""
    if not available() or query.dtype not in library().parts or type(query.shape[-2]) is not int:
        return None
    asked = fp32()
    choice = _choice(query.dtype, trains, query.shape[-2], key.shape[-2], asked)
    name, count = _NAMES[query.dtype], library().parts[query.dtype]
    first = (
        f"by {count} parts of bfloat16 ({name} as it is where a number is out of range)"
        if choice.parts
        else f"with {name} as it is"
    )
    if query.shape[-2] <= FEW_QUERIES:
        return f"{first}: too few queries for parts"
    if asked != "auto":
        return f"{first}: asked for"
    if choice.other is None:
        return f"{first}: parts were not measured on this processor"
    return f"{first}: {choice.ratio:.2f} times PyTorch's speed, {choice.other:.2f} the other way ({choice.source})"


def why_slower(query: Tensor, key: Tensor, trains: bool, hidden: Callable[[], float] | None = None) -> str | None:
    """Say why PyTorch's kernel is the faster one for a call that it serves, or None.

    `trains`: a gradient is wanted. `hidden()` gives the share of the weights that only the native kernel skips, in
    [0, 1), and is asked only where that decides; None for nothing. In a compiled graph the longest length stands for
    all, so that no size is fixed.
    """
    queries, keys = query.shape[-2], key.shape[-2]
    known = type(queries) is int and type(keys) is int and not torch.compiler.is_compiling()
    if known:
        choice = _choice(query.dtype, trains, queries, keys, fp32())
    else:
        choice = _choose(_NAMES.get(query.dtype, ""), "training" if trains else "forward", fp32(), None)
    ratio = choice.ratio
    if ratio >= _AS_FAST or (known and hidden is not None and ratio >= _AS_FAST * (1 - hidden())):
        return None
    return f"takes {1 / ratio:.1f} times as long here as PyTorch's own kernel ({choice.source})"


def hidden_from_kernel(x: AttentionInputs) -> float:
    """Return the share of the weights that spans hide and PyTorch's kernel computes all the same."""
    if x.spans is None or x.causal or not readable(x.spans.start):
        return 0.0
    return 1.0 - float((x.spans.stop - x.spans.start).float().mean()) / max(1, x.key.shape[2])
