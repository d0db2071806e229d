"""Attention in plain PyTorch operations: refuses nothing, and is differentiable as often as one likes.

It works through blocks of query rows, forward and backward, so memory grows with the sequence and not with its
square; keys outside the spans of a block are skipped. The backward pass recomputes the weights and is made
of differentiable operations itself (a second derivative then does store matrices). Under a tool that records
operators or differentiates forwards it is one expression instead, `_formula`.

Zero times NaN is NaN, so a weight of zero alone does not keep a hidden NaN out. On the CPU the numbers are looked at:
if all are finite nothing needs care. Else, and wherever looking is not possible, the careful form runs, in which
hidden entries never meet a value.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .._inputs import KERNEL_LEARNT, KERNEL_TENSORS, AttentionInputs, AttentionResult
from .._tracing import full_precision, recorded
from ._again import again
from ._blocks import LEAST_ROWS, Rows, blocks, drop_factor, hides, mix, needs_care, seen_entries
from ._contract import FEATURES
from ._formula import accumulating, formula
from ._scores import per_key_head, scores
from ._sinks import beside_sinks
from ._values import readable


class Math:
    """The backend that serves every call."""

    name = "math"
    honours = frozenset(FEATURES) | {"float64", "float32", "bfloat16", "float16", "cpu", "cuda", "mps", "xpu", "meta"}

    def why_not(self, inputs: AttentionInputs) -> str | None:
        """Nothing is refused."""
        return None

    def instead(self, inputs: AttentionInputs) -> None:
        """No other backend runs in its place."""

    def run(self, inputs: AttentionInputs) -> AttentionResult:
        """Compute output and `lse` block by block; both carry gradients."""
        if inputs.sinks is not None:
            return beside_sinks(inputs, self.run)
        x = inputs
        with full_precision(x.query.device.type):
            if recorded():
                output, lse = formula(accumulating(x))
                return AttentionResult(output.to(x.query.dtype), lse, lse_has_gradient=True)
            output, lse = _Attend.apply(*x.flat())  # type: ignore[no-untyped-call]
        return AttentionResult(output, lse, lse_has_gradient=True)


class _Attend(torch.autograd.Function):
    """The call as one node of the graph; tensors first, so that autograd and `torch.func` see each of them."""

    generate_vmap_rule = True

    @staticmethod
    def forward(
        query: Tensor, key: Tensor, value: Tensor, position_bias: Any, bias: Any, start: Any, stop: Any,
        dense_mask: Any, seed: Any, scale: float, softcap: float | None, dropout: float,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        # Named one by one: torch.compile counts them to see that none is a context, where nothing needs a gradient.
        inputs = AttentionInputs.from_flat(
            query, key, value, position_bias, bias, start, stop, dense_mask, seed, scale, softcap, dropout
        )
        output, lse = _forward(accumulating(inputs))
        return output.to(inputs.query.dtype), lse

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        ctx.save_for_backward(*inputs[: len(KERNEL_TENSORS)], *output)
        ctx.numbers = inputs[len(KERNEL_TENSORS) :]
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor | None, grad_lse: Tensor | None) -> tuple[Tensor | None, ...]:
        *tensors, output, lse = ctx.saved_tensors
        if grad_output is None:
            grad_output = torch.zeros_like(output)
        x = AttentionInputs.from_flat(*tensors, *ctx.numbers)
        learnt, rest = ctx.needs_input_grad[: len(KERNEL_LEARNT)], ctx.needs_input_grad[len(KERNEL_LEARNT) :]
        return (*again(x, lse, grad_output, grad_lse, learnt), *(None for _ in rest))


def _forward(inputs: AttentionInputs) -> tuple[Tensor, Tensor]:
    careful = needs_care(inputs, inputs.value)
    batch, heads, queries, _ = inputs.shape
    ahead = readable(inputs.query) and queries > LEAST_ROWS
    width = inputs.value.shape[3]
    outputs = Rows(inputs.query.new_empty(batch, heads, queries, width) if ahead else None)
    lses = Rows(inputs.query.new_empty(batch, heads, queries) if ahead else None)
    for rows, columns in blocks(inputs):
        output, lse = _forward_block(inputs, rows, columns, careful)
        outputs.put(rows, output)
        lses.put(rows, lse)
    return outputs.result(), lses.result()


def _forward_block(inputs: AttentionInputs, rows: slice, columns: slice, careful: bool) -> tuple[Tensor, Tensor]:
    value = inputs.value[:, :, columns]
    batch, heads, queries, _ = inputs.query[:, :, rows].shape
    if columns.stop == columns.start:
        output = value.new_zeros(batch, heads, queries, value.shape[3])
        return output, value.new_full((batch, heads, queries), -torch.inf)
    score = scores(inputs, rows, columns)
    top = score.amax(-1)
    weights = torch.softmax(score, -1)
    lse = top - torch.log(weights.amax(-1))
    factor = drop_factor(inputs, rows, columns)
    if factor is not None:
        weights = weights * factor
    groups = value.shape[1]
    seen = per_key_head(seen_entries(inputs, rows, columns), groups) if careful else None
    output = mix(per_key_head(weights, groups), value, seen).reshape(batch, heads, queries, value.shape[3])
    if hides(inputs):  # softmax makes NaN of a row that sees nothing
        nothing = top == -torch.inf
        output, lse = output.masked_fill_(nothing[..., None], 0.0), lse.masked_fill_(nothing, -torch.inf)
    return output, lse
