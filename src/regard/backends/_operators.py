"""The call as operators of torch, `regard::attention_forward` and `regard::attention_backward`.

Compiled and exported graphs, fake tensors and dispatch modes see these; eager mode goes around them. One pair serves
all kernels: those of `native` on the CPU, those of `triton` on GPUs, and on the CPU where a graph was made with these
asked for by name (`interpreted`).
"""

from __future__ import annotations

import os
import sys
from typing import Any

import torch
from torch import Tensor

from .._inputs import KERNEL_LEARNT, KERNEL_TENSORS, AttentionInputs
from ._again import again
from ._compiled import Kernels, empty_output
from ._formula import accumulating, formula

KERNELS: dict[str, Kernels] = {}
"""By the name of their backend, which puts them here."""

# What `AttentionInputs.flat` gives.
_TENSORS = ", ".join(f"Tensor{'' if name in ('query', 'key', 'value') else '?'} {name}" for name in KERNEL_TENSORS)
_NUMBERS = "float scale, float? softcap, float dropout"
_LIBRARY = torch.library.Library("regard", "DEF")
_LIBRARY.define(
    f"attention_forward({_TENSORS}, {_NUMBERS}, SymInt cell, bool interpreted=False) -> "
    "(Tensor output, Tensor lse, Tensor map)",
    tags=(torch.Tag.pt2_compliant_tag,),
)
_LIBRARY.define(
    f"attention_backward(Tensor grad_output, Tensor? grad_lse, Tensor output, Tensor lse, {_TENSORS}, {_NUMBERS}, "
    "bool of_position_bias, bool of_bias, bool interpreted=False) -> (Tensor, Tensor, Tensor, Tensor, Tensor)",
    tags=(torch.Tag.pt2_compliant_tag,),
)
# How many of them there are: the tensors, and three numbers.
_CALL = len(KERNEL_TENSORS) + 3
# An operator returns tensors: where there is no map, or no gradient, one without elements.
_Five = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]


def attend(x: AttentionInputs, cell: int, interpreted: bool = False) -> tuple[Tensor, Tensor, Tensor | None]:
    """Run a call through the operator; what is exported keeps no map, whose size would fix which lengths it takes."""
    cell = 0 if torch.compiler.is_exporting() else cell
    output, lse, found = torch.ops.regard.attention_forward(*x.flat(), cell, interpreted)
    return output, lse, found if cell else None


def _kernels(x: AttentionInputs, interpreted: bool) -> Kernels:
    return KERNELS["native" if x.query.device.type == "cpu" and not interpreted else "triton"]


def _forward(*arguments: Any) -> tuple[Tensor, Tensor, Tensor]:
    # A kernel is not told of last arguments that are as by default.
    x, (cell, interpreted, *_) = AttentionInputs.from_flat(*arguments[:_CALL]), (*arguments[_CALL:], False)
    output, lse, found = _kernels(x, interpreted).forward(x, cell)
    return output, lse, lse.new_empty(0) if found is None else found


def _forward_fake(*arguments: Any) -> tuple[Tensor, Tensor, Tensor]:
    _stays_whole()
    query, key, value, cell = *arguments[:3], arguments[_CALL]
    batch, heads, queries, _ = query.shape
    lse = query.new_empty((batch, heads, queries), dtype=torch.float32)
    sides = (batch, heads, -(-queries // cell), -(-key.shape[2] // cell)) if cell else (0,)
    return empty_output(query, value), lse, lse.new_empty(sides)


def _backward(
    grad_output: Tensor, grad_lse: Tensor | None, output: Tensor, lse: Tensor, *call_and_needed: Any
) -> _Five:
    x = AttentionInputs.from_flat(*call_and_needed[:_CALL])
    of_position_bias, of_bias, interpreted, *_ = (*call_and_needed[_CALL:], False)
    query, key, value, position, bias = _kernels(x, interpreted).backward(
        x, output, lse, grad_output, grad_lse, (of_position_bias, of_bias)
    )
    # Two tensors of their own: an operator's results may not share memory.
    position, bias = (lse.new_empty(0) if gradient is None else gradient for gradient in (position, bias))
    return query, key, value, position, bias


def _backward_fake(
    grad_output: Tensor, grad_lse: Tensor | None, output: Tensor, lse: Tensor, *call_and_needed: Any
) -> _Five:
    query, key, value, position_bias, bias = call_and_needed[:5]
    of_position_bias, of_bias = call_and_needed[_CALL : _CALL + 2]
    return (
        torch.empty_like(query),
        torch.empty_like(key),
        torch.empty_like(value),
        position_bias.new_empty(position_bias.shape) if of_position_bias else lse.new_empty(0),
        bias.new_empty(bias.shape) if of_bias else lse.new_empty(0),
    )


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:
    ctx.save_for_backward(*inputs[: len(KERNEL_TENSORS)], *output[:2])
    ctx.numbers, ctx.interpreted = inputs[len(KERNEL_TENSORS) : _CALL], inputs[_CALL + 1]
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
        grad_output, grad_lse, output, lse, *tensors, *ctx.numbers, *needed[3:], ctx.interpreted
    )
    return (*(g if need else None for g, need in zip(gradients, needed, strict=True)), *(None for _ in rest))


def _decomposed(*arguments: Any) -> tuple[Tensor, Tensor, Tensor]:
    # The ONNX exporter asks for this where it is given a program that torch.export has made.
    x = AttentionInputs.from_flat(*arguments[:_CALL])
    output, lse = formula(accumulating(x))
    return output.to(x.query.dtype), lse, lse.new_empty(0)


def _stays_whole() -> None:
    """Where the environment has CI, inductor refuses an operator that can be decomposed: have it called as it is."""
    lowering: Any = sys.modules.get("torch._inductor.lowering") if os.environ.get("CI") else None
    if lowering is not None and _OPERATOR not in lowering.lowerings:
        lowering.make_fallback(_OPERATOR, getattr(lowering, "constrain_to_fake_tensors", None), warn=False)


for _device in ("CPU", "CUDA"):
    _LIBRARY.impl("attention_forward", _forward, _device)
    _LIBRARY.impl("attention_backward", _backward, _device)
torch.library.register_fake("regard::attention_forward", _forward_fake, lib=_LIBRARY)
torch.library.register_fake("regard::attention_backward", _backward_fake, lib=_LIBRARY)
torch.library.register_autograd("regard::attention_forward", _differentiate, setup_context=_save, lib=_LIBRARY)
_OPERATOR = torch.ops.regard.attention_forward.default
torch._decomp.register_decomposition(_OPERATOR)(_decomposed)
# Where sizes are symbols, fake tensors prefer a decomposition, whose results lie otherwise, to what was registered
# above; but not to this.
torch._decomp.register_decomposition(_OPERATOR, type="meta")(_forward_fake)
