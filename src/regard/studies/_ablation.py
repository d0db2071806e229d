"""Ablation of single heads: removing one and measuring what that costs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ..layers import MultiHeadAttention

Ablation = Literal["mean", "zero"]


def attention_layers(model: nn.Module) -> list[MultiHeadAttention]:
    """Return the attention layers of a model, in order."""
    return [module for module in model.modules() if isinstance(module, MultiHeadAttention)]


@contextmanager
def without_head(layer: MultiHeadAttention, head: int, put: Tensor | None = None) -> Iterator[None]:
    """Within the block, replace the output of one head, before the output map, by `put` `(E,)`, or by zeros."""
    part = slice(head * layer.head_dim, (head + 1) * layer.head_dim)

    def replace(module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Tensor, ...]:
        joined = inputs[0].clone()
        joined[..., part] = 0.0 if put is None else put.to(joined.dtype)
        return (joined, *inputs[1:])

    handle = layer.output.register_forward_pre_hook(replace)
    try:
        yield
    finally:
        handle.remove()


@torch.no_grad()
def mean_outputs(model: nn.Module, batches: Sequence[tuple[Tensor, Tensor]]) -> list[Tensor]:
    """Return each head's mean output over all real tokens: `(H, E)` for each attention layer."""
    layers = attention_layers(model)
    sums = [torch.zeros(layer.num_heads * layer.head_dim) for layer in layers]
    real = torch.empty(0)
    handles = []
    for total, layer in zip(sums, layers, strict=True):

        def add(module: nn.Module, inputs: tuple[Any, ...], total: Tensor = total) -> None:
            total += (inputs[0] * real).sum((0, 1))

        handles.append(layer.output.register_forward_pre_hook(add))
    try:
        for tokens, lengths in batches:
            real = (torch.arange(tokens.shape[1]) < lengths[:, None])[..., None].float()
            model(tokens, lengths)
    finally:
        for handle in handles:
            handle.remove()
    count = float(sum(int(lengths.sum()) for _, lengths in batches))
    return [(total / count).view(layer.num_heads, -1) for total, layer in zip(sums, layers, strict=True)]
