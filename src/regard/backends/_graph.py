"""The call as a node of autograd's graph, for eager mode: less than half the cost of going through an operator."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from .._inputs import KERNEL_LEARNT, KERNEL_TENSORS, AttentionInputs
from ._again import again, beyond_kernels
from ._compiled import Backward, output_rest

Run = Callable[[AttentionInputs, int, Tensor | None], tuple[Tensor, Tensor, Any]]
"""Of a call, the tokens a side of a cell, and room for the rest of the output: output, `lse`, and what of the weights
was kept on the way."""


class Attend(torch.autograd.Function):
    """Keeps query, key, value, output and `lse`: the backward pass computes the weights again.

    In half precision also what rounding left of the output: what a row's gradients have in common is the product of
    the output with its gradient, and where a row is nearly certain the rest of them is smaller than that rounding.
    """

    @staticmethod
    def forward(
        ctx: Any, run: Run, back: Backward, x: AttentionInputs, cell: int, *learnt: Tensor | None
    ) -> tuple[Tensor, Tensor, Any]:
        """Run the kernel; `back` is its other pass. `learnt` are those tensors of `x`, once more, for autograd."""
        rest = output_rest(x)
        output, lse, found = run(x, cell, rest)
        flat = x.flat()
        ctx.save_for_backward(*learnt, *flat[len(KERNEL_LEARNT) : len(KERNEL_TENSORS)], output, lse, rest)
        ctx.numbers, ctx.back = flat[len(KERNEL_TENSORS) :], back
        ctx.set_materialize_grads(False)
        if isinstance(found, Tensor):
            ctx.mark_non_differentiable(found)
        return output, lse, found

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor | None, grad_lse: Tensor | None, _: None) -> tuple[Tensor | None, ...]:
        """Run the kernel, or PyTorch's operations where more than numbers is wanted."""
        *tensors, output, lse, rest = ctx.saved_tensors
        x = AttentionInputs.from_flat(*tensors, *ctx.numbers)
        if grad_output is None:
            grad_output = torch.zeros_like(output)
        needed = ctx.needs_input_grad[4:]
        if beyond_kernels(grad_output, grad_lse):
            return (None, None, None, None, *again(x, lse, grad_output, grad_lse, needed))
        return (None, None, None, None, *ctx.back(x, output, lse, grad_output, grad_lse, needed[3:], rest))
