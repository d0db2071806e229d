"""The call as a node of autograd's graph, for eager mode: less than half the cost of going through an operator."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ..._inputs import AttentionInputs
from .._again import again, beyond_kernels, joined
from ._calls import backward

__all__ = ["Attend", "Run"]

Run = Callable[[AttentionInputs, int], tuple[Tensor, Tensor, Any]]
"""Of a call and the tokens a side of a cell: output, `lse`, and what of the weights was kept on the way."""


class Attend(torch.autograd.Function):
    """Keeps query, key, value, output and `lse`: the backward pass computes the weights again."""

    @staticmethod
    def forward(
        ctx: Any, run: Run, x: AttentionInputs, cell: int, *tensors: Tensor | None
    ) -> tuple[Tensor, Tensor, Any]:
        """Run the kernel. `tensors` are those of `x` that gradients may flow into, once more, for autograd to see."""
        output, lse, found = run(x, cell)
        ctx.save_for_backward(*tensors, x.start, x.stop, x.dense_mask, x.seed, output, lse)
        ctx.settings = (x.scale, x.softcap, x.dropout)
        ctx.set_materialize_grads(False)
        if isinstance(found, Tensor):
            ctx.mark_non_differentiable(found)
        return output, lse, found

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor | None, grad_lse: Tensor | None, _: None) -> tuple[Tensor | None, ...]:
        """Run the kernel, or PyTorch's operations where more than numbers is wanted."""
        *tensors, output, lse = ctx.saved_tensors
        x = joined(*tensors, *ctx.settings)
        if grad_output is None:
            grad_output = torch.zeros_like(output)
        needed = ctx.needs_input_grad[3:]
        if beyond_kernels(grad_output, grad_lse):
            return (None, None, None, *again(x, output, lse, grad_output, grad_lse, needed))
        return (None, None, None, *backward(x, output, lse, grad_output, grad_lse, needed[3:]))
