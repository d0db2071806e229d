"""Linear attention against the five lines of PyTorch that tutorials show, and against its two products alone."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import elu

import regard

from .measure import Table, add_ratios, compare

NAME = "linear-speed"
_HEADS, _WIDTH = 8, 64


def run(quick: bool) -> Table:
    """Return CPU time as multiples of the five lines, on 8 heads of 64."""
    columns = ["tokens", "dtype", "pass", "five lines ms", "products", "regard", "regard causal"]
    table = Table("Time of linear attention, as multiples of five lines of PyTorch (less is better)", columns)
    for tokens in (1000, 4096, 16384)[: 1 if quick else None]:
        for dtype in (torch.float32, torch.bfloat16):
            for training in (False, True):
                setting = {
                    "tokens": tokens, "dtype": str(dtype).removeprefix("torch."),
                    "pass": "forward+backward" if training else "forward",
                }  # fmt: skip
                add_ratios(
                    table, setting, compare(_peers(tokens, dtype, training), 0.05 if quick else 0.5), "five lines"
                )
    return table


def five_lines(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Linear attention as tutorials show it."""
    q, k = elu(q) + 1, elu(k) + 1
    summed = k.transpose(-2, -1) @ v
    total = q @ k.sum(-2).unsqueeze(-1)
    return (q @ summed) / total


def _peers(tokens: int, dtype: torch.dtype, training: bool) -> dict[str, Callable[[], object]]:
    q, k, v = (torch.randn(1, _HEADS, tokens, _WIDTH).to(dtype).requires_grad_(training) for _ in range(3))
    calls: dict[str, Callable[[], Tensor]] = {
        "five lines": lambda: five_lines(q, k, v),
        "products": lambda: q @ (k.transpose(-2, -1) @ v),
        "regard": lambda: regard.linear_attention(q, k, v),
        "regard causal": lambda: regard.linear_attention(q, k, v, causal=True),
    }

    def whole(call: Callable[[], Tensor]) -> Callable[[], object]:
        def train() -> None:
            output = call()
            output.backward(torch.ones_like(output))

        return train if training else call

    return {name: whole(call) for name, call in calls.items()}
