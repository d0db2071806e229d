"""The running sums of the innermost loops stay in registers."""

from __future__ import annotations

import platform
import re
from collections.abc import Iterator

import pytest

from regard.backends.native import library_info

from .test_imitated import need, run

# A tile of 16 registers has 12 running sums; shorter loops are not those that products spend their time in.
SUMS, LONGEST = 12, 60
INSTRUCTION = re.compile(r"^\s*([0-9a-f]+):\s+(.+)$")
JUMP = re.compile(r"^j\w+\s+([0-9a-f]+)\b")
TO_STACK = re.compile(r"^vmov\w+\s+%[xyz]mm\d+,-?(0x[0-9a-f]+)?\(%r[sb]p\)")


def product_loops(disassembly: str) -> Iterator[list[str]]:
    """Yield the instructions of each loop that multiplies and adds into so many sums, and does little else."""
    places: dict[int, int] = {}
    code: list[str] = []
    for line in disassembly.splitlines():
        found = INSTRUCTION.match(line)
        if not found:
            continue
        places[int(found[1], 16)] = len(code)
        code.append(found[2])
        jump = JUMP.match(found[2])
        first = places.get(int(jump[1], 16)) if jump else None
        if first is not None and len(code) - first <= LONGEST:
            loop = code[first:]
            if sum(one.startswith(("vfmadd", "vdpbf16")) for one in loop) >= SUMS:
                yield loop


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="reads x86-64 instructions")
def test_no_sum_goes_to_memory_and_back() -> None:
    """GCC once kept a constant in a register and one of the sums on the stack: half the speed on AVX2, same numbers."""
    need("objdump")
    loops = list(product_loops(run("objdump", "-d", "--no-show-raw-insn", library_info().path)))
    assert len(loops) > 100
    spilled = [loop for loop in loops if any(TO_STACK.match(one) for one in loop)]
    assert not spilled, "\n".join(spilled[0])
