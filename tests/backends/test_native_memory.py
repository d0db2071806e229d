"""What the native kernel takes beyond its inputs and outputs."""

from __future__ import annotations

import subprocess
import sys

import pytest

_MEASURE = """
import sys, torch, regard
from benchmarks.peak import peak_mebibytes as peak
torch.set_num_threads(2)
dtype, backward = getattr(torch, sys.argv[1]), sys.argv[2] == "backward"

def run(n):
    q, k, v = (torch.randn(1, 8, n, 64).to(dtype).requires_grad_(backward) for _ in range(3))
    up = torch.zeros_like(q)
    before = peak()
    out = regard.attention(q, k, v, causal=True, window=(1023, 0), backend="native")
    if backward:
        torch.autograd.grad(out, (q, k, v), up)
    return before

run(64)
before = run(16384)
print(peak() - before)
"""


@pytest.mark.parametrize("way", ["forward", "backward"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_scratch_is_small(dtype: str, way: str) -> None:
    """At 16,384 tokens the process grows by its results and less than 64 MiB; one matrix would be 8 GiB."""
    done = subprocess.run([sys.executable, "-c", _MEASURE, dtype, way], capture_output=True, text=True, check=True)
    size = 8 * 16384 * 64 * (4 if dtype == "float32" else 2) / 2**20
    results = size * (1 if way == "forward" else 4)
    assert float(done.stdout) < results + 64
