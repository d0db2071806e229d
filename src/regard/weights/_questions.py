"""Questions about a matrix, and who answers them: the first machine that has no reason not to."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor

from .._tracing import quiet, traced
from ..backends.native import MOST_TOP, PASSES, cannot_inspect, inspect, with_factor
from ._source import FAR, SoftmaxSource, WeightSource
from ._stream import Stream

__all__ = ["MACHINES", "Kernel", "KernelMap", "Machine", "Question", "answer", "full_precision", "sums_rows"]


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked of a rectangle of the matrix. Rows and columns are slices with plain bounds."""

    name: Literal[
        "lse",
        "tile",
        "pooled",
        "highest",
        "entropy",
        "received",
        "peak",
        "top",
        "distances",
        "profile",
        "product",
    ]
    """`pooled` sums over the keys of a cell and averages over its queries; `highest` is the largest of a cell."""
    source: WeightSource
    """Its `tracked` says whether gradients are wanted."""
    rows: slice
    columns: slice
    cell: tuple[int, int] = (1, 1)
    """Queries and keys of a cell, for `pooled` and `highest`."""
    count: int = 0
    """How many, for `top`."""
    values: Tensor | None = None
    """`(B, H, S, D)`, for `product`."""


class Machine(Protocol):
    """One way to answer."""

    name: str

    def why_not(self, question: Question) -> str | None:
        """Say why this machine cannot answer, or None."""
        ...

    def run(self, question: Question) -> tuple[Tensor, ...]:
        """Answer: one tensor, or values and indices for `peak` and `top`."""
        ...


class KernelMap:
    """Cells that are multiples of those of a map which the forward pass has already made."""

    name = "map"

    def why_not(self, question: Question) -> str | None:
        """Only sums, without gradient, on the borders of the map's cells."""
        source, cell = question.source, question.source.map_cell
        if source.map is None or cell < 1:
            return "the forward pass made no map"
        if question.name != "pooled" or source.tracked or source.log_factor is not None:
            return "a map holds plain sums without gradient"
        for part, size, wanted in zip((question.rows, question.columns), source.shape[2:], question.cell, strict=True):
            if wanted % cell or part.start % cell or (part.stop % cell and part.stop != size):
                return f"the map has cells of {cell} tokens"
        return None

    def run(self, question: Question) -> tuple[Tensor, ...]:
        """Join cells: keys add up, queries are averaged by how many there are."""
        source, cell = question.source, question.source.map_cell
        if source.map is None:
            raise ValueError("the forward pass made no map")
        down, across = (c // cell for c in question.cell)
        rows, columns = (slice(s.start // cell, -(-s.stop // cell)) for s in (question.rows, question.columns))
        part = source.map[:, :, rows, columns]
        edges = torch.arange(question.rows.start, question.rows.stop + cell, cell, device=part.device)
        queries = edges.clamp(max=question.rows.stop).diff().to(part.dtype)
        sums = _joined(part * queries[:, None], down, 2)
        return (_joined(sums, across, 3) / _joined(queries, down, 0)[:, None],)


def _joined(tensor: Tensor, count: int, dim: int) -> Tensor:
    if count == 1:
        return tensor
    missing = -tensor.shape[dim] % count
    pads = [0, 0] * (tensor.ndim - 1 - dim) + [0, missing]
    joined: Tensor = torch.nn.functional.pad(tensor, pads).unflatten(dim, (-1, count)).sum(dim + 1)
    return joined


class Kernel:
    """The passes of the native kernel: softmax weights on the CPU, without gradient."""

    name = "native"

    def why_not(self, question: Question) -> str | None:
        """Refuse what the kernel has no pass for."""
        source = question.source
        if source.tracked:
            return "has no gradient"
        if traced():
            return "cannot be written down"
        if question.name not in PASSES or not isinstance(source, SoftmaxSource):
            return f"has no pass for {question.name} of a {type(source).__name__}"
        if question.rows.start >= question.rows.stop or question.columns.start >= question.columns.stop:
            return "takes no empty rectangle"
        if question.count > MOST_TOP:
            return f"keeps at most the {MOST_TOP} largest"
        if source.log_factor is not None and source.inputs.bias is not None:
            return "takes no factor beside a dense bias"
        if not sums_rows(source):
            return "sums rows far from zero by their scores alone"
        return cannot_inspect(source.inputs)

    def run(self, question: Question) -> tuple[Tensor, ...]:
        """Run the pass."""
        source = question.source
        inputs = with_factor(source.inputs, source.log_factor)
        return inspect(
            question.name, inputs, source.lse, question.rows, question.columns, question.cell, question.count
        )


def sums_rows(source: WeightSource) -> bool:
    """Return whether the kernel finds weights from `lse`, or from a row's own sum where that is far from zero."""
    if source.lse is None or (source.log_factor is None and source.lse_of == "scores"):
        return True
    return bool((source.lse.abs().nan_to_num(0.0, 0.0) <= FAR).all())


# Fastest first; `Stream` answers everything.
MACHINES: tuple[Machine, ...] = (KernelMap(), Kernel(), Stream())


def answer(question: Question) -> tuple[Tensor, ...]:
    """Ask the first machine that can answer."""
    with quiet(), full_precision(question.source.device.type):
        machine = next(m for m in MACHINES if m.why_not(question) is None)
        return machine.run(question)


def full_precision(device: str) -> AbstractContextManager[object]:
    """Switch autocast off: scores and sums stay in the accumulation dtype."""
    return (
        torch.autocast(device, enabled=False)
        if device != "meta" and torch.is_autocast_enabled(device)
        else nullcontext()
    )
