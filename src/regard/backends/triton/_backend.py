"""The Triton kernels as a backend: what they cover, and which way a call reaches them."""

from __future__ import annotations

import torch
from torch import Tensor

from ..._inputs import KERNEL_LEARNT, AttentionInputs, AttentionResult
from ..._tracing import plain
from .._compiled import Kernels, too_large, uncovered
from .._contract import FEATURES
from .._graph import Attend
from .._operators import KERNELS, attend
from .._sinks import beside_sinks
from ._available import interpreted, problem
from ._device import tile_for
from ._table import FEW_QUERIES, map_cell

__all__ = ["Triton"]


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


# Graphs find them by name. Triton itself is imported when the first of them runs.
KERNELS["triton"] = Kernels(_forward, _backward)


class Triton:
    """Kernels that Triton compiles for the GPU at hand."""

    name = "triton"
    honours = frozenset(FEATURES) | {"float32", "bfloat16", "float16", "cuda", "cpu"}

    def why_not(self, inputs: AttentionInputs) -> str | None:
        """Refuse wide heads, empty tensors, `torch.func`, and everything where Triton cannot run."""
        return problem(inputs.query.device.type) or too_large(inputs) or uncovered(inputs)

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
