"""What all kernels that are compiled have in common: the calls they cover, and the room that they fill."""

from __future__ import annotations

import math
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from .._inputs import AttentionInputs
from .._tracing import forward_mode, jit_traced, transformed

_WIDEST = 256
_LONGEST = 2**31 - 1
# The gradient of a dense bias is stored in full before it is summed to the shape of the bias.
_GRADIENT_BYTES = 1 << 30


class Forward(Protocol):
    """The forward pass of a call."""

    def __call__(
        self, x: AttentionInputs, cell: int, rest: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Return output, `lse`, and the map with cells of `cell` tokens, or None if that is 0; fill `rest`."""
        ...


class Backward(Protocol):
    """The backward pass of a call."""

    def __call__(
        self,
        x: AttentionInputs,
        output: Tensor,
        lse: Tensor,
        grad_output: Tensor,
        grad_lse: Tensor | None,
        needed: tuple[bool, bool],
        rest: Tensor | None = None,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor | None, Tensor | None]:
        """Return the gradients of query, key, value, and of position bias and bias where `needed`.

        `rest` is that of the forward pass; it lies as the output does.
        """
        ...


class Kernels(NamedTuple):
    """The two passes of one backend."""

    forward: Forward
    backward: Backward


def uncovered(x: AttentionInputs) -> str | None:
    """Say why no kernel runs a call, whatever the machine, or None."""
    if jit_traced():
        return "is no operator that torch.jit.trace can write down"
    if transformed() or forward_mode():
        return "cannot be transformed by torch.func, and has no forward-mode derivative"
    batch, heads, queries, keys = x.shape
    width, value_width = x.query.shape[3], x.value.shape[3]
    if width > _WIDEST or value_width > _WIDEST:
        return f"covers head widths up to {_WIDEST}, not {max(width, value_width)}"
    if not (batch and heads and queries and keys and width and value_width):
        return "takes no empty tensor"
    if queries > _LONGEST or keys > _LONGEST:
        return "counts rows and columns in 32 bits"
    return None


def too_large(x: AttentionInputs) -> str | None:
    """Say why the backward pass of a call would take too much memory, or None."""
    if x.bias is not None and x.bias.requires_grad and torch.is_grad_enabled():
        size = math.prod(x.shape) * 4
        if size > _GRADIENT_BYTES:
            return f"would have to store {size >> 20} MiB for the gradient of the bias"
    return None


def empty_output(query: Tensor, value: Tensor) -> Tensor:
    """Return room for the output: heads next to each other for each token, so that joining them copies nothing."""
    batch, heads, queries, _ = query.shape
    width = value.shape[3]
    strides = (queries * heads * width, width, heads * width, 1)
    return query.new_empty_strided((batch, heads, queries, width), strides)


def output_rest(x: AttentionInputs) -> Tensor | None:
    """Return room for what rounding leaves of an output in half precision, for its backward pass; else None."""
    if x.query.dtype == torch.float32:
        return None
    return torch.empty_like(empty_output(x.query, x.value), dtype=torch.bfloat16)
