"""The Triton kernels as a backend: what they cover, and which way a call reaches them."""

from __future__ import annotations

import torch
from torch import Tensor

from ..._inputs import KERNEL_LEARNT, AttentionInputs, AttentionResult, Summary
from ..._tracing import plain
from .._compiled import Kernels, too_large, uncovered
from .._contract import FEATURES
from .._graph import Attend
from .._operators import KERNELS, attend
from .._sinks import beside_sinks
from ._available import interpreted, problem
from ._device import capability, tile_for
from ._table import FEW_QUERIES, map_cell

PASSES = ("lse", "tile", "pooled", "highest", "received", "entropy", "peak", "top", "summary")
_MOST_TOP = 64


def _forward(x: AttentionInputs, cell: int, rest: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor | None]:
    from ._forward import forward

    return forward(x, cell, rest)


def _backward(
    x: AttentionInputs,
    output: Tensor,
    lse: Tensor,
    grad_output: Tensor,
    grad_lse: Tensor | None,
    needed: tuple[bool, bool],
    rest: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor | None, Tensor | None]:
    from ._backward import backward

    return backward(x, output, lse, grad_output, grad_lse, needed, rest)


# Ten times the compute capability; what is less is no such device.
_TOO_OLD = (10, 80)
# Graphs find them by name. Triton itself is imported when the first of them runs.
KERNELS["triton"] = Kernels(_forward, _backward)


class Triton:
    """Kernels that Triton compiles for the GPU at hand."""

    name = "triton"
    takes_sinks = True
    honours = frozenset(FEATURES) | {"float32", "bfloat16", "float16", "cuda", "cpu"}

    def why_not(self, inputs: AttentionInputs) -> str | None:
        """Refuse wide heads, empty tensors, `torch.func`, and everything where Triton cannot run."""
        device = inputs.query.device
        reason = problem(device.type) or too_large(inputs) or uncovered(inputs)
        if reason is None and _TOO_OLD[0] <= capability(device) < _TOO_OLD[1]:
            return "needs a GPU of compute capability 8.0 or newer"
        return reason

    def instead(self, inputs: AttentionInputs) -> None:
        """No other backend runs in its place."""

    def run(self, inputs: AttentionInputs) -> AttentionResult:
        """Run the kernel; with `need_weights` it also keeps a coarse map, which changes nothing else."""
        if inputs.sinks is not None:
            return beside_sinks(inputs, self.run)
        x = inputs
        queries, keys = x.shape[2:]
        # A step of a generation has one row of cells; a summary is another pass.
        kept = x.need_weights and x.need_weights != "summary" and queries > FEW_QUERIES
        cell = map_cell(queries, keys, tile_for("forward", x)) if kept else 0
        if not plain():
            output, lse, found = attend(x, cell, x.query.device.type == "cpu" and interpreted())
        elif torch.is_grad_enabled() and x.requires_grad:
            output, lse, found = Attend.apply(_forward, _backward, x, cell, *x.flat()[: len(KERNEL_LEARNT)])  # type: ignore[no-untyped-call]
        else:
            output, lse, found = _forward(x, cell)
        return AttentionResult(output, lse, lse_has_gradient=True, map=found, map_cell=cell)

    def looks_unasked(self, inputs: AttentionInputs) -> bool:
        """Look into any call on a GPU; in the interpreter, which is slow, into those of this backend alone."""
        return not interpreted()

    def cannot_inspect(self, inputs: AttentionInputs, name: str, count: int = 0) -> str | None:
        """Say why there is no such pass over this call, or None."""
        if name not in PASSES:
            return f"has no pass for {name}"
        if count > _MOST_TOP:
            return f"keeps at most the {_MOST_TOP} largest"
        if _name(inputs.query.dtype) not in self.honours or inputs.query.device.type not in self.honours:
            return f"does not compute in {inputs.query.dtype} on {inputs.query.device}"
        return problem(inputs.query.device.type) or uncovered(inputs)

    def inspect(
        self,
        name: str,
        inputs: AttentionInputs,
        lse: Tensor | None,
        rows: slice,
        columns: slice,
        cell: tuple[int, int] = (1, 1),
        count: int = 0,
    ) -> tuple[Tensor, ...]:
        """Run a pass over a rectangle."""
        from ._inspection import inspect

        return inspect(name, inputs, lse, rows, columns, cell, count)

    def summarise(self, inputs: AttentionInputs, lse: Tensor, cell: int) -> Summary:
        """Look once at every weight; `cell` is a power of two."""
        from ._inspection import summary

        return summary(inputs, lse, cell)


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
