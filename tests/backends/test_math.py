"""The math backend: its blocks do not show, and keep memory linear."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
import torch

import regard
from regard import biases, masks
from regard.backends import _blocks

_PEAK = """
import sys, torch, regard
from benchmarks.peak import peak_mebibytes
torch.set_num_threads(1)
length = int(sys.argv[1])
tensors = [torch.randn(1, 1, length, 8, requires_grad=True) for _ in range(3)]
before = peak_mebibytes()
regard.attention(*tensors, backend="math").sum().backward()
print(peak_mebibytes() - before)
"""


@pytest.mark.parametrize("rows", [1, 3, 8])
@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"causal": True},
        {"window": (2, 1)},
        {"mask": masks.documents([3, 5, 4, 7]), "causal": True},
        {"bias": "relative", "causal": True},
        {"bias": "dense"},
        {"bias": "shared"},
        {"dropout": 0.4, "softcap": 2.0},
    ],
    ids=lambda arguments: "-".join(map(str, arguments.values())) or "plain",
)
def test_blocks_do_not_show(rows: int, arguments: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut into blocks of any height, output and gradients stay the same up to rounding."""
    q, k, v = (torch.randn(2, 2, 19, 4, dtype=torch.float64, requires_grad=True) for _ in range(3))
    leaf = {
        "relative": torch.randn(2, 37, dtype=torch.float64, requires_grad=True),
        "dense": torch.randn(1, 2, 19, 19, dtype=torch.float64, requires_grad=True),
        "shared": torch.randn(2, 1, 1, 19, dtype=torch.float64, requires_grad=True),
    }.get(str(arguments.get("bias")))
    if leaf is not None:
        bias = biases.RelativeBias(leaf) if arguments["bias"] == "relative" else leaf
        arguments = arguments | {"bias": bias}
    leaves = [q, k, v] + ([] if leaf is None else [leaf])
    found = []
    for cut in (False, True):
        if cut:
            monkeypatch.setattr(_blocks, "LEAST_ROWS", rows)
            monkeypatch.setattr(_blocks, "BLOCK_BYTES", 1)
        generator = torch.Generator().manual_seed(5)
        output = regard.attention(q, k, v, **arguments, generator=generator, backend="math")
        found.append([output, *torch.autograd.grad(output.square().sum(), leaves)])
    for whole, pieces in zip(*found, strict=True):
        torch.testing.assert_close(pieces, whole, rtol=1e-11, atol=1e-12)


def test_hidden_columns_are_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks reach no further than their spans; together they cover each visible entry once."""
    monkeypatch.setattr(_blocks, "LEAST_ROWS", 4)
    monkeypatch.setattr(_blocks, "BLOCK_BYTES", 1)
    query = torch.randn(1, 1, 10, 4)
    start, stop, _ = masks.window(2, 0).resolve(10, 10)
    inputs = regard._inputs.AttentionInputs(query, query, query, 0.5, regard._inputs.Spans(start, stop))
    assert list(_blocks.blocks(inputs)) == [
        (slice(0, 4), slice(0, 4)),
        (slice(4, 8), slice(2, 8)),
        (slice(8, 10), slice(6, 10)),
    ]


def test_memory_is_linear() -> None:
    """Forward and backward over 10,000 tokens stay far below the 381 MiB of one matrix."""
    done = subprocess.run([sys.executable, "-c", _PEAK, "10000"], capture_output=True, text=True, check=True, env=None)
    assert float(done.stdout) < 120


def test_lse_gradient_alone() -> None:
    """A loss that uses only `lse` reaches query and key, and leaves the value at zero."""
    q, k, v = (torch.randn(1, 1, 4, 3, requires_grad=True) for _ in range(3))
    lse = regard.backends.math.Math().run(regard._inputs.AttentionInputs(q, k, v, 1.0)).lse
    assert lse is not None
    grads = torch.autograd.grad(lse.sum(), (q, k, v))
    expected = torch.autograd.grad(torch.logsumexp(q @ k.transpose(-2, -1), -1).sum(), (q, k))
    torch.testing.assert_close(grads[:2], expected)
    assert not grads[2].any()
