"""Questions answered by what was kept of a call: its summary, or the map that came with the output."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from .._inputs import Summary
from ..backends import any_of, cell_sizes, in_cells
from ._question import Question
from ._source import WeightSource


class KeptSummary:
    """A summary: the figures of each row and key, and cells that are multiples of those of its map."""

    name = "summary"

    def why_not(self, question: Question) -> str | None:
        """Say what of it was not kept."""
        summary = question.source.summary
        if summary is None:
            return "a summary"
        if question.name in ("pooled", "masked"):
            if _on_cells(question, summary.cell):
                return None
            if question.name == "masked":
                return f"masks finer than cells of {summary.cell} tokens"
            return "single entries, rows, or cells other than the kept ones"
        if question.name == "top":
            most = min(summary.top.shape[3], question.source.shape[3])
            return None if question.count <= most else f"the {question.count} largest weights of each row, only {most}"
        if question.name == "share":
            known = question.offset in (-1, 0, 1, "first")
            return None if known else f"the share at offset {question.offset!r}, only at -1, 0, 1 and 'first'"
        return None if question.name in _ANSWERS else _NEVER_KEPT.get(question.name, _ENTRIES)

    def run(self, question: Question) -> tuple[Tensor, ...]:
        """Answer in new tensors: writing to them does not change what is kept."""
        summary = question.source.summary
        if summary is None:
            raise ValueError("there is no summary")
        return _ANSWERS[question.name](summary, question)


# Kept numbers that are joined at a time.
_TOGETHER = 1 << 22
_ENTRIES = "single entries, rows or other summaries"
_NEVER_KEPT = {
    "highest": "the largest weight of a cell",
    "uniform": "the mask itself, which even attention is spread over",
}


def _on_cells(question: Question, cell: int) -> bool:
    parts = zip((question.rows, question.columns), question.source.shape[2:], question.cell, strict=True)
    return all(
        wanted % cell == 0 and part.start % cell == 0 and (part.stop % cell == 0 or part.stop == size)
        for part, size, wanted in parts
    )


def _cells(question: Question, cell: int) -> tuple[slice, slice]:
    """Return which of the kept cells a question is about."""
    rows, columns = (slice(part.start // cell, -(-part.stop // cell)) for part in (question.rows, question.columns))
    return rows, columns


def _pooled(kept: Tensor, cell: int, question: Question) -> Tensor:
    """Join cells: keys add up, queries are averaged by how many there are."""
    part = kept[(..., *_cells(question, cell))]
    down, across = (wanted // cell for wanted in question.cell)
    if down == across == 1:
        return part.clone()
    height = question.rows.stop - question.rows.start
    queries = cell_sizes(height, cell, kept.device).to(kept.dtype)[:, None]
    # Some rows at a time: a map of a page on disk may take most of the memory.
    step = max(1, _TOGETHER // max(1, part[:, :, :down].numel())) * down
    sums = [
        in_cells(in_cells(some, (1, across), torch.sum) * of, (down, 1), torch.sum)
        for some, of in zip(part.split(step, 2), queries.split(step), strict=True)
    ]
    return torch.cat(sums, 2) / cell_sizes(height, question.cell[0], kept.device).to(kept.dtype)[:, None]


def _masked(summary: Summary, question: Question) -> Tensor:
    rows, columns = _cells(question, summary.cell)
    down, across = (wanted // summary.cell for wanted in question.cell)
    seen = in_cells(~summary.masked[..., rows, columns], (down, across), any_of)
    return (~seen).expand(*question.source.shape[:2], *seen.shape[2:])


def _share(summary: Summary, question: Question) -> Tensor:
    if question.offset != "first":
        return summary.neighbours[..., question.offset + 1].clone()
    first = (summary.visible_queries > 0).to(torch.uint8).argmax(-1, keepdim=True)
    received = summary.received
    return received.gather(-1, first.expand(*received.shape[:2], 1))[..., 0]


_ANSWERS: dict[str, Callable[[Summary, Question], tuple[Tensor, ...]]] = {
    "lse": lambda s, q: (s.lse.clone(),),
    "pooled": lambda s, q: (_pooled(s.map, s.cell, q),),
    "entropy": lambda s, q: (s.entropy.clone(),),
    "received": lambda s, q: (s.received.clone(),),
    "distances": lambda s, q: (s.distance.clone(),),
    "peak": lambda s, q: (s.top[..., 0].clone(), s.top_keys[..., 0].long()),
    "top": lambda s, q: (s.top[..., : q.count].clone(), s.top_keys[..., : q.count].long()),
    "share": lambda s, q: (_share(s, q),),
    "masked": lambda s, q: (_masked(s, q),),
    "visible_keys": lambda s, q: (s.visible_keys.expand(s.entropy.shape).clone(),),
    "visible_queries": lambda s, q: (s.visible_queries.clone(),),
}


class KeptMap:
    """Cells that are multiples of those of a map which the forward pass has already made."""

    name = "map"

    def why_not(self, question: Question) -> str | None:
        """Only sums, without gradient, on the borders of the map's cells."""
        source = question.source
        if not isinstance(source, WeightSource) or source.map is None or source.map_cell < 1:
            return "the forward pass made no map"
        if question.name != "pooled" or source.tracked or source.log_factor is not None:
            return "a map holds plain sums without gradient"
        return None if _on_cells(question, source.map_cell) else f"the map has cells of {source.map_cell} tokens"

    def run(self, question: Question) -> tuple[Tensor, ...]:
        """Join cells."""
        source = question.matrix
        if source.map is None:
            raise ValueError("the forward pass made no map")
        return (_pooled(source.map, source.map_cell, question),)
