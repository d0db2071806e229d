"""Every kernel compiles for devices that are not here, and takes of them what the table of tiles says."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import triton

from regard.backends.triton import _table
from regard.backends.triton._table import ROWS, row_of
from tests.interpreted import EVERY

NEWER = (80, 90, 100)
MEASURED = [row for row in ROWS if row.capability >= min(NEWER)]
# Compiling the whole table takes six minutes. Each time: of each capability one forward and one backward pass, of the
# other passes one.
FEW = {
    ("forward", 80, 64, 2), ("backward", 80, 256, 2), ("decode", 80, 128, 2), ("bias", 80, 256, 4),
    ("by row", 80, 128, 2), ("forward", 90, 256, 2), ("backward", 90, 64, 2), ("forward", 100, 64, 2),
    ("backward", 100, 256, 2),
}  # fmt: skip


def outside(code: str) -> str:
    """Run Python where Triton compiles, which it does not in a process with the interpreter."""
    env = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=env)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def test_every_row_was_measured() -> None:
    """A row that nobody compiled says 0 registers."""
    assert [row for row in MEASURED if row.registers < 16 or row.spilled < 0] == []
    assert {row[:4] for row in MEASURED} >= FEW


def test_registers_and_spills() -> None:
    """What a row of the table says is what the assembler says, and every call has room on the device.

    With REGARD_EVERY=triton for each row that a device takes, those of older capabilities among them.
    """
    questions = sorted({(row.work, row.width, row.itemsize) for row in MEASURED})
    taken = [(capability, row_of(work, capability, *of)) for capability in NEWER for work, *of in questions]
    rows = [
        (capability, row) for capability, row in dict.fromkeys(taken)
        if EVERY or (row.capability == capability and row[:4] in FEW)
    ]  # fmt: skip
    assert {row for _, row in rows} >= {row for row in MEASURED if EVERY or row[:4] in FEW}
    code = f"from tests.triton.ahead import Row, Tile, worst\nfor capability, row in {rows}:\n"
    code += "    print(*worst(row._replace(capability=capability)))"
    found = [tuple(map(int, line.split())) for line in outside(code).splitlines()]
    for (capability, row), (registers, spilled, shared, columns) in zip(rows, found, strict=True):
        # Devices with 99 KiB take the rows of 8.0. What wants more tensor memory than there is does not start.
        assert shared <= (99 if row.capability == 80 else 227) << 10, (capability, row)
        assert columns <= 512, (capability, row)
        if triton.__version__.startswith("3.9.") and capability == row.capability:
            assert (registers, spilled) == (row.registers, row.spilled), row


def test_what_else_a_call_may_have_compiles() -> None:
    """Masks, biases, a cap and dropout, forward and backward, for the newest device but one; the forward for AMD."""
    code = f"""
import torch
from regard import biases
from regard.backends.triton.kernels.bias_gradients import bias_gradients
from regard.backends.triton.kernels.gradients import query_gradient
from tests.triton.ahead import compiled, launches, prepared
query = torch.empty(2, 4, 512, 16, dtype=torch.float16)
key = torch.empty(2, 2, 512, 16, dtype=torch.float16)
vector = torch.zeros(4, 1023, requires_grad=True)
rich = prepared(query, key, key, bias=biases.RelativeBias(vector), dropout=0.1, softcap=2.0, window=(5, 5))
dense = prepared(query, key, key, mask=torch.rand(512, 512) > 0.5, bias=torch.zeros(512, 512, requires_grad=True))
for x in (rich, dense):
    for launch in launches(x, 90, backward=True):
        if {EVERY} or launch.kernel is bias_gradients or (x is rich and launch.kernel is not query_gradient):
            print(launch.kernel.__name__, len(compiled(launch, 90).asm["cubin"]))
for launch in launches(rich, 90) + launches(prepared(query[:, :, :1], key, key, dropout=0.1), 90):
    print(launch.kernel.__name__, len(compiled(launch, 90).asm["cubin"]))
for launch in launches(prepared(query, key, key), 1, 128):
    print(launch.kernel.__name__, len(compiled(launch, "gfx942").asm["hsaco"]))
"""
    names = {line.split()[0] for line in outside(code).splitlines()}
    assert names - {"query_gradient"} == {
        "prepare", "key_gradients", "bias_gradients", "along", "forward", "split", "join", "cells",
    }  # fmt: skip


@pytest.mark.parametrize("itemsize", [2, 4])
@pytest.mark.parametrize("width", [1, 64, 65, 128, 129, 256])
@pytest.mark.parametrize("capability", [0, 1, 80, 86, 89, 90, 100, 103, 120])
def test_every_call_finds_a_row(capability: int, width: int, itemsize: int) -> None:
    """For each pass; a device with little shared memory takes what fits an older one."""
    for work in ("forward", "backward", "bias", "decode", "inspection"):
        row = row_of(work, capability, width, itemsize)
        assert row.width >= width
        assert row.itemsize >= itemsize
        assert row.capability <= capability
        if capability in (86, 89, 120):
            assert row == row_of(work, 80, width, itemsize)
        if work == "bias":
            assert row.tile.rows == row.tile.keys


def test_cells_are_whole_blocks() -> None:
    """A map's cell holds whole blocks of keys and whole groups of rows, and a map at most 2,048 cells a side."""
    for row in ROWS:
        for length in (10, 200_000):
            cell = _table.map_cell(length, length, row.tile)
            assert cell % row.tile.keys == 0 == cell % _table.MAP_ROWS
            assert length <= cell * 2048
