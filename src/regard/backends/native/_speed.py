"""Which of the two fast kernels runs a call, by measured speed (`_measured.py`).

A processor without a row of its own uses the last row with the same instruction set and the same best one; if there is
none either, the native kernel is assumed to be faster. A backend asked for by name is never overruled, and whether
weights are wanted has no influence.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

import torch
from torch import Tensor

from ..._inputs import AttentionInputs
from .._values import readable
from ._library import available, library
from ._measured import LENGTHS, ROWS, Row, Work

__all__ = ["hidden_from_kernel", "ratio_at", "row_of", "why_slower"]

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


_measured._dynamo_marked_constant = True  # type: ignore[attr-defined]


@functools.lru_cache(maxsize=4096)
def _ratio(dtype: torch.dtype, trains: bool, queries: int, keys: int) -> tuple[float, str]:
    """Return the ratio that applies to a call and where it is from; every call asks, and a tiny one takes 30 µs."""
    work: Work = "training" if trains else "decoding" if queries <= FEW_QUERIES else "forward"
    ratios, source = _measured(_NAMES.get(dtype, ""), work)
    return (ratio_at(ratios, work, queries, keys), source) if ratios else (math.inf, source)


def why_slower(query: Tensor, key: Tensor, trains: bool, hidden: Callable[[], float] | None = None) -> str | None:
    """Say why PyTorch's kernel is the faster one for a call that it serves, or None.

    `trains`: a gradient is wanted. `hidden()` gives the share of the weights that only the native kernel skips, in
    [0, 1), and is asked only where that decides; None for nothing. In a compiled graph the longest length stands for
    all, so that no size is fixed.
    """
    queries, keys = query.shape[-2], key.shape[-2]
    known = type(queries) is int and type(keys) is int and not torch.compiler.is_compiling()
    if known:
        ratio, source = _ratio(query.dtype, trains, queries, keys)
    else:
        ratios, source = _measured(_NAMES.get(query.dtype, ""), "training" if trains else "forward")
        ratio = ratios[-1] if ratios else math.inf
    if ratio >= _AS_FAST or (known and hidden is not None and ratio >= _AS_FAST * (1 - hidden())):
        return None
    return f"takes {1 / ratio:.1f} times as long here as PyTorch's own kernel ({source})"


def hidden_from_kernel(x: AttentionInputs) -> float:
    """Return the share of the weights that spans hide and PyTorch's kernel computes all the same."""
    if x.spans is None or x.causal or not readable(x.spans.start):
        return 0.0
    return 1.0 - float((x.spans.stop - x.spans.start).float().mean()) / max(1, x.key.shape[2])
