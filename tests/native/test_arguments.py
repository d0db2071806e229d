"""What the library refuses, in words, before it touches memory: null pointers, sizes beyond its counters."""

from __future__ import annotations

import pytest
import torch

from .library import LIB, Args, arguments, rows

BAD_ARGUMENT = 1


def _call(**changes: int) -> Args:
    q, k, v = (torch.zeros(1, 2, 8, 16) for _ in range(3))
    a = arguments(q, k, v)
    a.kept = [q, k, v, torch.zeros(1, 2, 8, 16), torch.zeros(1, 2, 8), torch.zeros(1, 2, 8, 8)]
    a.output, a.lse, a.values = rows(a.kept[3]), a.kept[4].data_ptr(), a.kept[5].data_ptr()
    a.row_count = a.column_count = 8
    a.cell_rows = a.cell_columns = 1
    for name, value in changes.items():
        setattr(a, name, value)
    return a


def _refused(name: str, args: Args, words: str) -> None:
    assert getattr(LIB, f"regard_{name}")(args) == BAD_ARGUMENT
    assert words in LIB.regard_last_error().decode()


def test_the_call_itself_is_taken() -> None:
    """What the others are changed from is right."""
    assert LIB.regard_forward(_call()) == 0
    assert LIB.regard_tile(_call()) == 0


@pytest.mark.parametrize("name", ["query", "key", "value", "output"])
def test_null_pointers_are_refused(name: str) -> None:
    """A pointer that a pass reads or writes is given, or nothing runs."""
    args = _call()
    getattr(args, name).data = None
    _refused("forward", args, "need")


@pytest.mark.parametrize("operation", ["tile", "pooled", "received", "entropy"])
def test_null_results_are_refused(operation: str) -> None:
    """Inspection writes nowhere unless it was told where."""
    _refused(operation, _call(values=None), "needs lse and values")
    _refused(operation, _call(lse=None), "needs lse and values")


@pytest.mark.parametrize("name", ["queries", "keys"])
def test_lengths_near_the_end_of_32_bits_are_refused(name: str) -> None:
    """Loops count in steps of blocks: the last step must not wrap around."""
    for length in (2**31 - 1, 2**31 - 65535, 2**31, 2**62):
        _refused("forward", _call(**{name: length}), "are covered")


@pytest.mark.parametrize(
    "changes", [{"batch": 2**40, "heads": 2**20}, {"batch": 2**62}, {"heads": 2**61, "kv_heads": 1}]
)
def test_sizes_whose_product_overflows_are_refused(changes: dict[str, int]) -> None:
    """A product of sizes that wraps around would look like a small call."""
    _refused("forward", _call(**changes), "too much to count")


def test_rectangles_and_cells_do_not_wrap_around() -> None:
    """A start and a count whose sum overflows leave the matrix; so do cells that no counter holds."""
    _refused("tile", _call(row_start=2**63 - 1, row_count=2), "leaves the matrix")
    _refused("tile", _call(column_start=2**63 - 4, column_count=8), "leaves the matrix")
    _refused("pooled", _call(cell_rows=2**62), "cells of")


def test_what_rounding_left_is_kept_in_half_precision_only() -> None:
    """In float32 nothing is left, so nobody may ask for it."""
    args = _call()
    args.output_rest = args.kept[3].data_ptr()
    _refused("forward", args, "leaves no rest")
