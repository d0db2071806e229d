"""Questions that a backend answers: passes of a kernel over a call, whichever backend computed it."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from .._inputs import AttentionInputs
from .._tracing import traced
from ..backends import FAR, Inspector, inspectors
from ._question import Question
from ._softmax_source import SoftmaxSource
from ._source import WeightSource


class Inspected:
    """The passes of one backend: softmax weights, without gradient."""

    def __init__(self, backend: Inspector) -> None:
        self.backend, self.name = backend, backend.name

    def why_not(self, question: Question) -> str | None:
        """Refuse what the backend has no pass for."""
        source = question.source
        if not isinstance(source, SoftmaxSource):
            return f"has no pass over a {type(source).__name__}"
        if source.tracked:
            return "has no gradient"
        if traced():
            return "cannot be written down"
        if question.rows.start >= question.rows.stop or question.columns.start >= question.columns.stop:
            return "takes no empty rectangle"
        if source.log_factor is not None and source.inputs.bias is not None:
            return "takes no factor beside a dense bias"
        reason = self.backend.cannot_inspect(source.inputs, question.name, question.count)
        if reason is None and self.backend is not looking(source, question.name, question.count):
            return "leaves it to the backend that made the call, or sums rows far from zero by their scores alone"
        return reason

    def run(self, question: Question) -> tuple[Tensor, ...]:
        """Run the pass."""
        source = question.matrix
        return self.backend.inspect(
            question.name, _with_factor(source), source.lse, question.rows, question.columns, question.cell,
            question.count,
        )  # fmt: skip


def looking(source: WeightSource, name: str, count: int = 0) -> Inspector | None:
    """Return the backend that looks into the weights of a source: the one that made the call, or the first that can."""
    able = (
        one
        for one in inspectors(source.inputs, source.backend)
        if one.cannot_inspect(source.inputs, name, count) is None
    )
    return next((one for one in able if _sums_rows(source, one)), None)


def _sums_rows(source: WeightSource, backend: Inspector) -> bool:
    """Return whether a backend finds weights from `lse`, or from the sum of a row's own scores where that is far."""
    if source.lse is None or (source.log_factor is None and source.lse_of == "scores"):
        return True
    if source.log_factor is None and source.inputs.sinks is not None and backend.takes_sinks:
        return True
    return bool((source.lse.abs().nan_to_num(0.0, 0.0) <= FAR).all())


def _with_factor(source: WeightSource) -> AttentionInputs:
    # The log of a factor on each key's weights is a bias.
    if source.log_factor is None:
        return source.inputs
    return replace(source.inputs, bias=source.log_factor[:, :, None].to(torch.float32))
