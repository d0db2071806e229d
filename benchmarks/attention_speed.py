"""Time of one attention call by `math` and `fused` against torch and a naive version."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

import regard

from .measure import Table, add_ratios, compare
from .peers import core_of, naive

NAME = "attention-speed"
_SIZES = ((1, 16, 16), (8, 64, 64), (4, 256, 64), (1, 1024, 64), (1, 4096, 64))  # B, n, E
_HEADS = 8


def run(quick: bool) -> Table:
    """Return CPU time as multiples of `scaled_dot_product_attention`, on 8 heads."""
    columns = ["dtype", "B x n x E", "causal", "pass", "SDPA ms", "fused", "fused+weights", "math", "naive", "nn.MHA"]
    table = Table("Time of attention, as multiples of torch's scaled_dot_product_attention (less is better)", columns)
    for dtype in (torch.float32, torch.bfloat16):
        for batch, length, width in _SIZES[: 3 if quick else None]:
            for causal in (False, True):
                for backward in (False, True):
                    setting = {
                        "dtype": str(dtype).removeprefix("torch."), "size": f"{batch} x {length} x {width}",
                        "causal": causal, "pass": "forward+backward" if backward else "forward",
                    }  # fmt: skip
                    peers = _peers(batch, length, width, dtype, causal, backward)
                    add_ratios(table, setting, compare(peers, 0.05 if quick else 0.5), "SDPA")
    return table


def _peers(
    batch: int, length: int, width: int, dtype: torch.dtype, causal: bool, backward: bool
) -> dict[str, Callable[[], object]]:
    q, k, v = (torch.randn(batch, _HEADS, length, width).to(dtype).requires_grad_(backward) for _ in range(3))
    module = torch.nn.MultiheadAttention(_HEADS * width, _HEADS, batch_first=True, dtype=dtype)
    tokens = torch.randn(batch, length, _HEADS * width).to(dtype).requires_grad_(backward)

    def regard_by(backend: str, need_weights: bool = False) -> Callable[[], Tensor]:
        settings: dict[str, Any] = {"causal": causal, "backend": backend, "need_weights": need_weights}

        def call() -> Tensor:
            result = regard.attention(q, k, v, **settings)
            output: Tensor = result[0] if need_weights else result
            return output

        return call

    calls: dict[str, Callable[[], Tensor]] = {
        "SDPA": lambda: scaled_dot_product_attention(q, k, v, is_causal=causal),
        "fused": regard_by("fused"),
        "fused+weights": regard_by("fused", need_weights=True),
        "math": regard_by("math"),
        "naive": lambda: naive(q, k, v, causal),
        "nn.MHA": lambda: core_of(module, tokens, causal, need_weights=False),
    }
    return {name: _with_backward(call) if backward else _without(call) for name, call in calls.items()}


def _with_backward(call: Callable[[], Tensor]) -> Callable[[], object]:
    def whole() -> None:
        output = call()
        output.backward(torch.ones_like(output))

    return whole


def _without(call: Callable[[], Tensor]) -> Callable[[], object]:
    def whole() -> Tensor:
        with torch.no_grad():
            return call()

    return whole
