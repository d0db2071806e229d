"""The answerers in order: the first one that does not refuse answers."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from .._tracing import full_precision, quiet
from ..backends import INSPECTORS
from ._inspected import Inspected
from ._kept import KeptMap, KeptSummary
from ._question import Answerer, Question
from ._stream import Stream

_KEPT = KeptSummary()
# Fastest first. `Stream` answers every question about a matrix whose entries can be computed.
ANSWERERS: tuple[Answerer, ...] = (_KEPT, KeptMap(), *(Inspected(backend) for backend in INSPECTORS), Stream())


def answer(question: Question) -> tuple[Tensor, ...]:
    """Ask the first answerer that can; where none can, the source fetches its entries, or says what was not kept."""
    with quiet(), full_precision(question.source.device.type):
        for answerer in ANSWERERS:
            if answerer.why_not(question) is None:
                return answerer.run(question)
    return answer(replace(question, source=question.source.entries(_KEPT.why_not(question))))
