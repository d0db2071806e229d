"""The call as operators of torch, `regard::attention_forward` and `regard::attention_backward`.

Compiled and exported graphs, fake tensors and dispatch modes see these; eager mode goes around them.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..._inputs import KERNEL_LEARNT, KERNEL_TENSORS, AttentionInputs
from .._again import again
from .._formula import accumulating, formula
from ._calls import backward, empty_output, forward

__all__ = ["attend"]

# `AttentionInputs.flat`.
_TENSORS = ", ".join(f"Tensor{'' if name in ('query', 'key', 'value') else '?'} {name}" for name in KERNEL_TENSORS)
_NUMBERS = "float scale, float? softcap, float dropout"
_LIBRARY = torch.library.Library("regard", "DEF")
_LIBRARY.define(
    f"attention_forward({_TENSORS}, {_NUMBERS}, SymInt cell) -> (Tensor output, Tensor lse, Tensor map)",
    tags=(torch.Tag.pt2_compliant_tag,),
)
_LIBRARY.define(
    f"attention_backward(Tensor grad_output, Tensor? grad_lse, Tensor output, Tensor lse, {_TENSORS}, {_NUMBERS}, "
    "bool of_position_bias, bool of_bias) -> (Tensor, Tensor, Tensor, Tensor, Tensor)",
    tags=(torch.Tag.pt2_compliant_tag,),
)
# An operator returns tensors: where there is no map, or no gradient, one without elements.
_Five = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]


def attend(x: AttentionInputs, cell: int) -> tuple[Tensor, Tensor, Tensor | None]:
    """Run a call through the operator."""
    output, lse, found = torch.ops.regard.attention_forward(*x.flat(), cell)
    return output, lse, found if cell else None


def _forward(*arguments: Any) -> tuple[Tensor, Tensor, Tensor]:
    *call, cell = arguments
    output, lse, found = forward(AttentionInputs.from_flat(*call), cell)
    return output, lse, lse.new_empty(0) if found is None else found


def _forward_fake(*arguments: Any) -> tuple[Tensor, Tensor, Tensor]:
    query, key, value, *_, cell = arguments
    batch, heads, queries, _ = query.shape
    lse = query.new_empty((batch, heads, queries), dtype=torch.float32)
    sides = (batch, heads, -(-queries // cell), -(-key.shape[2] // cell)) if cell else (0,)
    return empty_output(query, value), lse, lse.new_empty(sides)


def _backward(
    grad_output: Tensor, grad_lse: Tensor | None, output: Tensor, lse: Tensor, *call_and_needed: Any
) -> _Five:
    *call, of_position_bias, of_bias = call_and_needed
    query, key, value, position, bias = backward(
        AttentionInputs.from_flat(*call), output, lse, grad_output, grad_lse, (of_position_bias, of_bias)
    )
    # Two tensors of their own: an operator's results may not share memory.
    position, bias = (lse.new_empty(0) if gradient is None else gradient for gradient in (position, bias))
    return query, key, value, position, bias


def _backward_fake(
    grad_output: Tensor, grad_lse: Tensor | None, output: Tensor, lse: Tensor, *call_and_needed: Any
) -> _Five:
    query, key, value, position_bias, bias, *_, of_position_bias, of_bias = call_and_needed
    return (
        torch.empty_like(query),
        torch.empty_like(key),
        torch.empty_like(value),
        position_bias.new_empty(position_bias.shape) if of_position_bias else lse.new_empty(0),
        bias.new_empty(bias.shape) if of_bias else lse.new_empty(0),
    )


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:
    *call, _ = inputs
    ctx.save_for_backward(*call[: len(KERNEL_TENSORS)], *output[:2])
    ctx.numbers = call[len(KERNEL_TENSORS) :]
    ctx.mark_non_differentiable(output[2])
    ctx.set_materialize_grads(False)


def _differentiate(ctx: Any, grad_output: Tensor | None, grad_lse: Tensor | None, _: None) -> tuple[Any, ...]:
    *tensors, output, lse = ctx.saved_tensors
    if grad_output is None:
        grad_output = torch.zeros_like(output)
    needed, rest = ctx.needs_input_grad[: len(KERNEL_LEARNT)], ctx.needs_input_grad[len(KERNEL_LEARNT) :]
    if torch.is_grad_enabled():
        x = AttentionInputs.from_flat(*tensors, *ctx.numbers)
        return (*again(x, lse, grad_output, grad_lse, needed), *(None for _ in rest))
    gradients = torch.ops.regard.attention_backward(
        grad_output, grad_lse, output, lse, *tensors, *ctx.numbers, *needed[3:]
    )
    return (*(g if need else None for g, need in zip(gradients, needed, strict=True)), *(None for _ in rest))


def _decomposed(*arguments: Any) -> tuple[Tensor, Tensor, Tensor]:
    # The ONNX exporter asks for this where it is given a program that torch.export has made.
    *call, _ = arguments
    x = AttentionInputs.from_flat(*call)
    output, lse = formula(accumulating(x))
    return output.to(x.query.dtype), lse, lse.new_empty(0)


_LIBRARY.impl("attention_forward", _forward, "CPU")
_LIBRARY.impl("attention_backward", _backward, "CPU")
torch.library.register_fake("regard::attention_forward", _forward_fake, lib=_LIBRARY)
torch.library.register_fake("regard::attention_backward", _backward_fake, lib=_LIBRARY)
torch.library.register_autograd("regard::attention_forward", _differentiate, setup_context=_save, lib=_LIBRARY)
torch._decomp.register_decomposition(torch.ops.regard.attention_forward.default)(_decomposed)
