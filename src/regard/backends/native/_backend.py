"""The native kernels as a backend: what they cover, and which way a call reaches them."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from ..._inputs import KERNEL_LEARNT, AttentionInputs, AttentionResult, Summary, summary_cell
from .._compiled import Kernels, too_large, uncovered
from .._contract import FEATURES
from .._graph import Attend, Run
from .._operators import KERNELS, attend
from .._sinks import beside_sinks
from .._values import readable
from ._calls import backward, forward, map_cell
from ._inspection import MOST_TOP, PASSES, forward_summary, inspect, summary
from ._library import problem
from ._speed import by_parts, how_multiplied
from ._words import DTYPES

# Such calls are steps of a generation, whose rows are looked at once their place is known; no pass makes both here.
_FEW_QUERIES = 4


# Graphs find them by name.
KERNELS["native"] = Kernels(forward, backward)


class Native:
    """Compiled kernels for the CPU, chosen by its instruction set."""

    name = "native"
    takes_sinks = False
    honours = frozenset(FEATURES) | {"float32", "bfloat16", "float16", "cpu"}

    def why_not(self, inputs: AttentionInputs) -> str | None:
        """Refuse wide heads, empty tensors, `torch.func`, and everything where the library is missing."""
        return too_large(inputs) or uncovered(inputs) or problem()

    def instead(self, inputs: AttentionInputs) -> None:
        """No other backend runs in its place."""

    def run(self, inputs: AttentionInputs) -> AttentionResult:
        """Run the kernel; with `need_weights` it also keeps a coarse map or a summary, which changes nothing else."""
        if inputs.sinks is not None:
            return beside_sinks(inputs, self.run)
        x, eager = inputs, readable(inputs.query)
        queries, keys = x.shape[2:]
        summed = x.need_weights == "summary" and queries > _FEW_QUERIES and eager
        cell = 0 if not x.need_weights else summary_cell(max(queries, keys)) if summed else map_cell(queries, keys)
        if not eager:
            output, lse, found = attend(x, cell)
        else:
            trains = torch.is_grad_enabled() and x.requires_grad
            parts = by_parts(x.query, x.key, trains)
            run: Run = partial(forward_summary if summed else forward, parts=parts)
            if trains:  # the other pass may run where another setting is in force
                back = partial(backward, parts=parts)
                output, lse, found = Attend.apply(run, back, x, cell, *x.flat()[: len(KERNEL_LEARNT)])  # type: ignore[no-untyped-call]
            else:
                output, lse, found = run(x, cell, None)
        if isinstance(found, Summary):
            return AttentionResult(output, lse, lse_has_gradient=True, summary=found)
        return AttentionResult(output, lse, lse_has_gradient=True, map=found, map_cell=cell)

    def kernel(self, inputs: AttentionInputs) -> str | None:
        """Say how numbers of a call are multiplied, and why; None where there is one way."""
        trains = torch.is_grad_enabled() and inputs.requires_grad
        return None if inputs.query.device.type != "cpu" else how_multiplied(inputs.query, inputs.key, trains)

    def looks_unasked(self, inputs: AttentionInputs) -> bool:
        """Look into any call on the CPU."""
        return True

    def cannot_inspect(self, inputs: AttentionInputs, name: str, count: int = 0) -> str | None:
        """Say why there is no such pass over this call, or None."""
        if name not in PASSES:
            return f"has no pass for {name}"
        if count > MOST_TOP:
            return f"keeps at most the {MOST_TOP} largest"
        if inputs.query.dtype not in DTYPES or inputs.query.device.type != "cpu":
            return f"does not compute in {inputs.query.dtype} on {inputs.query.device}"
        if not readable(inputs.query):
            return "works in eager mode"
        return uncovered(inputs) or problem()

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
        return inspect(name, inputs, lse, rows, columns, cell, count)

    def summarise(self, inputs: AttentionInputs, lse: Tensor, cell: int) -> Summary:
        """Read every weight once; `cell` divides 64 or is a multiple of it."""
        return summary(inputs, lse, cell)
