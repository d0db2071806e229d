"""What a kernel's backward cannot do itself, computed by PyTorch operations: second derivatives, and gradients that are
batched or carry tangents.

Which of these will be asked for is known in the backward pass alone, when the kernel has run already.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .._inputs import KERNEL_LEARNT, KERNEL_TENSORS, AttentionInputs, AttentionResult
from .._tracing import full_precision, plain
from ._formula import accumulating, formula
from ._gradients import gradients


def beyond_kernels(*grads: Tensor | None) -> bool:
    """Return whether a backward pass that was given these wants more of its gradients than numbers."""
    return torch.is_grad_enabled() or not plain() or _batched(*grads)


def _batched(*grads: Tensor | None) -> bool:
    # What `torch.autograd.grad(is_grads_batched=True)` hands in; `vectorize=True` of torch.autograd.functional does.
    return plain() and any(grad is not None and torch._C._functorch.is_legacy_batchedtensor(grad) for grad in grads)


def again(
    x: AttentionInputs,
    lse: Tensor,
    grad_output: Tensor,
    grad_lse: Tensor | None,
    needed: tuple[bool, ...],
) -> tuple[Tensor | None, ...]:
    """Return the gradients of the tensors of `KERNEL_LEARNT`, None where not `needed`.

    `lse` is a result of the node; which rows see nothing is read from it.
    """
    if _batched(grad_output, grad_lse):
        return _each(x, lse, grad_output, grad_lse, needed)
    wide = accumulating(x)
    with full_precision(x.query.device.type):
        found = gradients(wide, lse, grad_output.to(wide.query.dtype), grad_lse, needed)
    tensors = x.flat()[: len(KERNEL_LEARNT)]
    return tuple(g if g is None or t is None else g.to(t.dtype) for g, t in zip(found, tensors, strict=True))


def _each(
    x: AttentionInputs,
    lse: Tensor,
    grad_output: Tensor,
    grad_lse: Tensor | None,
    needed: tuple[bool, ...],
) -> tuple[Tensor | None, ...]:
    # Those batches come from an older vmap, which knows few operators: the newer one works inside them.
    level = torch._C._vmapmode_increment_nesting() - 1
    torch._C._vmapmode_decrement_nesting()
    given = [grad for grad in (grad_output, grad_lse) if grad is not None]
    size = max(torch._remove_batch_dim(grad, level, 1, 0).shape[0] for grad in given)
    inner = [torch._remove_batch_dim(grad, level, size, 0) for grad in given]

    def one(*grads: Tensor) -> tuple[Tensor, ...]:
        found = again(x, lse, grads[0], None if grad_lse is None else grads[1], needed)
        return tuple(gradient for gradient in found if gradient is not None)

    found = iter(torch.vmap(one)(*inner))
    return tuple(torch._add_batch_dim(next(found), 0, level) if need else None for need in needed)


def differentiable(x: AttentionInputs, result: AttentionResult) -> AttentionResult:
    """Add the higher derivatives, and those of `lse`, to the result of a kernel that has only the first derivative."""
    output, lse = _Beyond.apply(result.output, result.lse, *x.flat())  # type: ignore[no-untyped-call]
    return result._replace(output=output, lse=lse, lse_has_gradient=lse is not None)


class _Beyond(torch.autograd.Function):
    """Hands the results on; backward, the kernel's own graph or the gradients made again."""

    @staticmethod
    def forward(ctx: Any, output: Tensor, lse: Tensor | None, *call: Any) -> tuple[Tensor, Tensor | None]:
        output, lse = output.view_as(output), None if lse is None else lse.view_as(lse)
        ctx.save_for_backward(*call[: len(KERNEL_TENSORS)], lse)
        ctx.numbers = call[len(KERNEL_TENSORS) :]
        ctx.set_materialize_grads(False)
        return output, lse

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor | None, grad_lse: Tensor | None) -> tuple[Tensor | None, ...]:
        if grad_lse is None and not beyond_kernels(grad_output):
            return (grad_output, *(None,) * (len(ctx.needs_input_grad) - 1))
        *tensors, lse = ctx.saved_tensors
        x = AttentionInputs.from_flat(*tensors, *ctx.numbers)
        if lse is None:
            with torch.no_grad():
                lse = formula(accumulating(x))[1]
        if grad_output is None:
            grad_output = x.query.new_zeros(*x.query.shape[:3], x.value.shape[3])
        learnt, rest = ctx.needs_input_grad[2 : 2 + len(KERNEL_LEARNT)], ctx.needs_input_grad[2 + len(KERNEL_LEARNT) :]
        return (None, None, *again(x, lse, grad_output, grad_lse, learnt), *(None for _ in rest))
