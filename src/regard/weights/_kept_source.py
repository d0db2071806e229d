"""The source of weights of which a summary was kept; the matrix is on disk, or was not kept."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from .._inputs import Index, Summary
from ..errors import ArgumentError
from ._source import WeightSource


@dataclass(eq=False)
class KeptSource:
    """A summary at hand, without gradient; the matrix is fetched whenever its entries are needed.

    Has what of a `WeightSource` is asked without its entries.
    """

    summary: Summary
    sums_to_one: bool = True
    fetch: Callable[[], WeightSource] | None = None
    """Reads the matrix; None if only the summary was kept."""

    tracked = False
    lse_has_gradient = False
    backend = None
    requires_grad = False

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """`(B, H, L, S)`."""
        batch, heads, queries = self.summary.entropy.shape
        return batch, heads, queries, self.summary.received.shape[2]

    @property
    def device(self) -> torch.device:
        """Where the summary lies."""
        return self.summary.lse.device

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the weights."""
        return self.summary.lse.dtype

    @property
    def lse(self) -> Tensor:
        """`(B, H, L)`, as kept."""
        return self.summary.lse

    @property
    def kept_cell(self) -> int:
        """Tokens per side of the finest kept cells; 0 where entries can be computed."""
        return 0 if self.fetch is not None else self.summary.cell

    @property
    def map_cell_at_hand(self) -> int:
        """Tokens per side of the cells that were kept."""
        return self.summary.cell

    def entries(self, what: str | None = None) -> WeightSource:
        """Return the matrix; raises `ArgumentError` where only a summary was kept."""
        if self.fetch is not None:
            return self.fetch()
        raise ArgumentError(
            f"This recording kept summaries, not {what or 'single entries or rows'}. Record again with "
            'keep="exact", which keeps query and key, or ask for entropy(), received(), peak(), lse or '
            "pooled(weights.kept_cell)."
        )

    def fresh(self, reads: Collection[str] = ()) -> KeptSource:
        """Return this: what was kept does not change."""
        return self

    def tracking(self) -> KeptSource:
        """Return this: no gradient flows through it."""
        return self

    def detached(self) -> KeptSource:
        """Return this: no gradient flows through it."""
        return self

    def select(self, batch: Index, heads: Index) -> KeptSource:
        """Return what was kept of some batch rows and query heads."""
        return self._changed(self.summary.of_heads(batch, heads), lambda whole: whole.select(batch, heads))

    def moved(self, device: torch.device | str) -> KeptSource:
        """Return a copy on another device, where the matrix goes when it is needed."""
        return self._changed(self.summary.each(lambda tensor: tensor.to(device)), lambda whole: whole.moved(device))

    def owned(self) -> KeptSource:
        """Return a copy of the summary; this where the matrix is on disk."""
        return self if self.fetch is not None else replace(self, summary=self.summary.each(torch.Tensor.clone))

    def _changed(self, summary: Summary, change: Callable[[WeightSource], WeightSource]) -> KeptSource:
        fetch = self.fetch
        return replace(self, summary=summary, fetch=None if fetch is None else lambda: change(fetch()))

    def __getstate__(self) -> dict[str, Any]:
        """Pickle, and `copy.deepcopy`: with the matrix, which is read for that."""
        fetch = None if self.fetch is None else partial(_itself, self.fetch())
        return {**self.__dict__, "fetch": fetch}


Source = WeightSource | KeptSource
"""What the questions about one attention matrix are answered from."""


def _itself(source: WeightSource) -> WeightSource:
    return source
