"""Questions about a matrix, and the interface of those that answer them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

from torch import Tensor

from ._kept_source import Source
from ._source import WeightSource

QuestionName = Literal[
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
    "share",
    "product",
    "masked",
    "uniform",
    "visible_keys",
    "visible_queries",
]


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked of a rectangle of the matrix. Rows and columns are slices with plain bounds."""

    name: QuestionName
    """`pooled` sums over the keys of a cell and averages over its queries; `highest` is the largest of a cell; `share`
    the sum over queries of the weight at an offset."""
    source: Source
    """Its `tracked` says whether gradients are wanted."""
    rows: slice
    columns: slice
    cell: tuple[int, int] = (1, 1)
    """Queries and keys of a cell, for `pooled`, `highest`, `masked` and `uniform`."""
    count: int = 0
    """How many, for `top`."""
    offset: int | Literal["first"] = 0
    """Key minus query, or the first key that some query may see; for `share`."""
    values: Tensor | None = None
    """`(B, H, S, D)`, for `product`."""

    @property
    def matrix(self) -> WeightSource:
        """The source, for answerers that compute entries."""
        if not isinstance(self.source, WeightSource):
            raise TypeError(f"entries of a {type(self.source).__name__} are not at hand")
        return self.source


class Answerer(Protocol):
    """One way to answer."""

    name: str

    def why_not(self, question: Question) -> str | None:
        """Say why this answerer cannot answer, or None."""
        ...

    def run(self, question: Question) -> tuple[Tensor, ...]:
        """Answer: one tensor, or values and indices for `peak` and `top`."""
        ...
