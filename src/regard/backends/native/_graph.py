"""The call as a node of autograd's graph, for eager mode: less than half the cost of going through an operator."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ..._inputs import AttentionInputs
from ..math import Math
from ._calls import backward, output_rest

__all__ = ["Attend", "again_in_math", "joined"]

Run = Callable[[AttentionInputs, int, Tensor | None], tuple[Tensor, Tensor, Any]]
"""Of a call, the tokens a side of a cell, and room for the rest of the output: output, `lse`, and what of the weights
was kept on the way."""
Gradients = tuple[Tensor | None, Tensor | None, Tensor | None, Tensor | None, Tensor | None]


class Attend(torch.autograd.Function):
    """Keeps query, key, value, output and `lse`: the backward pass computes the weights again.

    In half precision also what rounding left of the output: what a row's gradients have in common is the product of
    the output with its gradient, and where a row is nearly certain the rest of them is smaller than that rounding.
    """

    @staticmethod
    def forward(
        ctx: Any, run: Run, x: AttentionInputs, cell: int, *tensors: Tensor | None
    ) -> tuple[Tensor, Tensor, Any]:
        """Run the kernel. `tensors` are those of `x` that gradients may flow into, once more, for autograd to see."""
        rest = output_rest(x)
        output, lse, found = run(x, cell, rest)
        ctx.save_for_backward(*tensors, x.start, x.stop, x.dense_mask, x.seed, output, lse, rest)
        ctx.settings = (x.scale, x.softcap, x.dropout)
        ctx.set_materialize_grads(False)
        if isinstance(found, Tensor):
            ctx.mark_non_differentiable(found)
        return output, lse, found

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor | None, grad_lse: Tensor | None, _: None) -> tuple[Tensor | None, ...]:
        """Run the kernel, or `math` if a second derivative is wanted."""
        *tensors, output, lse, rest = ctx.saved_tensors
        x = joined(*tensors, *ctx.settings)
        if grad_output is None:
            grad_output = torch.zeros_like(output)
        needed = ctx.needs_input_grad[3:]
        if torch.is_grad_enabled():
            return (None, None, None, *again_in_math(x, grad_output, grad_lse, needed))
        return (None, None, None, *backward(x, output, lse, grad_output, grad_lse, needed[3:], rest))


def joined(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    position_bias: Tensor | None,
    bias: Tensor | None,
    start: Tensor | None,
    stop: Tensor | None,
    dense_mask: Tensor | None,
    seed: Tensor | None,
    scale: float,
    softcap: float | None,
    dropout: float,
) -> AttentionInputs:
    """Return the call that the parts of a graph node describe."""
    return AttentionInputs(
        query, key, value, scale, start, stop, dense_mask, position_bias, bias, softcap, dropout, seed
    )


def again_in_math(
    x: AttentionInputs, grad_output: Tensor, grad_lse: Tensor | None, needed: tuple[bool, ...]
) -> list[Tensor | None]:
    """Return differentiable gradients of the five tensors: the call is made again in PyTorch's own operations."""
    made = Math().run(x)
    results, gradients = [made.output], [grad_output]
    if grad_lse is not None and made.lse is not None:
        results.append(made.lse)
        gradients.append(grad_lse)
    tensors = [x.query, x.key, x.value, x.position_bias, x.bias]
    wanted = [t for t, need in zip(tensors, needed, strict=True) if need and t is not None]
    found = iter(torch.autograd.grad(results, wanted, gradients, create_graph=True, allow_unused=True))
    return [next(found) if need and t is not None else None for t, need in zip(tensors, needed, strict=True)]
