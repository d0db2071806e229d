"""Our layers against PyTorch's own with the same parameters: evaluation (its fused path) and training."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from regard.layers import from_torch

from .measure import Table, add_ratios, compare

NAME = "layers-speed"
# Batch, tokens, width; heads of 64, at least 4.
_SIZES = ((1, 10, 64), (1, 50, 256), (32, 50, 256), (8, 128, 512), (1, 196, 768), (8, 512, 512))


def run(quick: bool) -> Table:
    """Return CPU time of ours as multiples of PyTorch's layer of the same parameters."""
    columns = ["layer", "B x n x width", "dtype", "pass", "torch ms", "regard"]
    table = Table("Time of layers, as multiples of torch.nn's (less is better)", columns)
    for batch, tokens, width in _SIZES[: 3 if quick else None]:
        heads = max(4, width // 64)
        for dtype in (torch.float32, torch.bfloat16):
            x = torch.randn(batch, tokens, width).to(dtype)
            for name, layer in (
                ("encoder", nn.TransformerEncoderLayer(width, heads, 4 * width, batch_first=True, dtype=dtype)),
                ("attention", nn.MultiheadAttention(width, heads, batch_first=True, dtype=dtype)),
            ):
                for training in (False, True):
                    setting = {
                        "layer": name, "size": f"{batch} x {tokens} x {width}",
                        "dtype": str(dtype).removeprefix("torch."), "pass": "training" if training else "evaluation",
                    }  # fmt: skip
                    add_ratios(table, setting, compare(_peers(layer, x, training), 0.05 if quick else 0.5), "torch")
    return table


def _peers(layer: nn.Module, x: Tensor, training: bool) -> dict[str, Callable[[], object]]:
    layer = layer.train(training)
    ours: Any = from_torch(layer).train(training)
    attention = isinstance(layer, nn.MultiheadAttention)

    def theirs_of(x: Tensor) -> Tensor:
        found: Tensor = layer(x, x, x, need_weights=False)[0] if attention else layer(x)
        return found

    return {"torch": _pass(theirs_of, x, training), "regard": _pass(ours, x, training)}


def _pass(layer: Callable[[Tensor], Tensor], x: Tensor, training: bool) -> Callable[[], object]:
    def evaluate() -> Tensor:
        with torch.inference_mode():
            return layer(x)

    def train() -> None:
        output = layer(x)
        output.backward(torch.ones_like(output))

    return train if training else evaluate
