"""Peak memory of one attention call, each in a fresh process: what it adds to inputs that exist already."""

from __future__ import annotations

import subprocess
import sys

from .measure import Table

NAME = "attention-memory"
_PEERS = ("SDPA", "fused", "fused+weights", "math", "naive", "nn.MHA")
_CHILD = """
import sys, torch, regard
from benchmarks.peak import peak_mebibytes
from benchmarks.peers import core_of, naive
peer, length, causal, backward = sys.argv[1], int(sys.argv[2]), sys.argv[3] == "True", sys.argv[4] == "True"
torch.set_num_threads(1)
q, k, v = (torch.randn(1, 8, length, 64, requires_grad=backward) for _ in range(3))
module = torch.nn.MultiheadAttention(512, 8, batch_first=True)
tokens = torch.randn(1, length, 512, requires_grad=backward)
calls = {
    "SDPA": lambda: torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=causal),
    "fused": lambda: regard.attention(q, k, v, causal=causal, backend="fused"),
    "fused+weights": lambda: regard.attention(q, k, v, causal=causal, backend="fused", need_weights=True)[0],
    "math": lambda: regard.attention(q, k, v, causal=causal, backend="math"),
    "naive": lambda: naive(q, k, v, causal),
    "nn.MHA": lambda: core_of(module, tokens, causal, need_weights=True),
}
regard.attention  # its rooms are imported when it is first asked for
before = peak_mebibytes()
with torch.set_grad_enabled(backward):
    output = calls[peer]()
if backward:
    output.sum().backward()
print(peak_mebibytes() - before)
"""


def run(quick: bool) -> Table:
    """Return MiB per peer on 1 x 8 x n x 64 float32; the inputs themselves are not counted."""
    table = Table("Memory that a call adds, MiB, 8 heads of 64, float32", ["n", "causal", "pass", *_PEERS])
    for length in (1024,) if quick else (1024, 4096):
        for causal in (False, True):
            for backward in (False, True):
                found = {peer: _peak(peer, length, causal, backward) for peer in _PEERS}
                name = "forward+backward" if backward else "forward"
                table.rows.append([str(length), str(causal), name, *(f"{mebi:.0f}" for mebi in found.values())])
                table.records.append({"n": length, "causal": causal, "pass": name, "mebibytes": found})
    return table


def _peak(peer: str, length: int, causal: bool, backward: bool) -> float:
    command = [sys.executable, "-c", _CHILD, peer, str(length), str(causal), str(backward)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
