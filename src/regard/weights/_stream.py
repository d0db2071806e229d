"""Every summary of a matrix, streamed over its blocks in PyTorch: memory grows with the sequence, not its square.

Without gradients the blocks fit the cache and their sums are added in place. With gradients a block is a stripe of
rows, recomputed in the backward pass, so memory stays linear there too. Blocks wholly outside the spans are skipped.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad
from torch.utils.checkpoint import checkpoint

from .._tracing import jit_traced
from ..backends import (
    cell_sizes,
    in_cells,
    masked_cells,
    steady_exp2_,
    steady_sum,
    uniform_cells,
    visible_keys,
    visible_queries,
)
from ._question import Question
from ._source import WeightSource

# Entries of a block. On the CPU 4 MiB of float32 were fastest (1 to 4 MiB within a third); an accelerator wants few
# large blocks.
_ENTRIES = {"cpu": 1 << 20}
_ENTRIES_ELSEWHERE = 1 << 26
_STRIPE_ENTRIES = 1 << 22
_COLUMNS = 4096
BITS_OF_NOTHING = -16384.0
"""2 to the power of it is 0, and times 0 it is 0 as well."""


class Block(NamedTuple):
    """A rectangle of the matrices of some batch rows and heads; `source` holds just those."""

    source: WeightSource
    batch: slice
    heads: slice
    rows: slice
    columns: slice


def blocks(question: Question) -> Iterator[Block]:
    """Cut what is asked for into blocks that do not straddle cells, without those that the spans hide."""
    source, rows, columns, cell = question.matrix, question.rows, question.columns, question.cell
    if cell == (1, 1) and (jit_traced() or torch.compiler.is_compiling()):  # cuts would hold for these sizes alone
        yield Block(source, slice(0, source.shape[0]), slice(0, source.shape[1]), rows, columns)
        return
    limit = _STRIPE_ENTRIES if source.tracked else _ENTRIES.get(source.device.type, _ENTRIES_ELSEWHERE)
    height, width = rows.stop - rows.start, columns.stop - columns.start
    for batch, heads in _matrices(source, limit // max(1, height * width)):
        part = source.select(batch, heads)
        matrices = part.shape[0] * part.shape[1]
        if source.tracked:
            across = max(1, width)
        else:
            across = min(max(1, width), max(_COLUMNS, limit // max(1, matrices * height)))
        for r in _cuts(rows.start, rows.stop, cell[0], max(1, limit // max(1, matrices * across))):
            first, last = part.reach(r)
            first, last = max(first, columns.start), min(last, columns.stop)
            left = columns.start + (first - columns.start) // cell[1] * cell[1]
            right = min(columns.stop, columns.start - (columns.start - last) // cell[1] * cell[1])
            for a, b in _segments(part, r, left, right, cell[1]):
                yield from (Block(part, batch, heads, r, c) for c in _cuts(a, b, cell[1], across))


def _segments(source: WeightSource, rows: slice, left: int, right: int, cell: int) -> list[tuple[int, int]]:
    """Cut columns, on borders of cells, so that only narrow blocks at the ends of the spans have to be masked."""
    first, last = source.inside(rows)
    a = left + max(0, -((left - first) // cell)) * cell
    b = min(right, left + max(0, last - left) // cell * cell)
    if source.tracked or a >= b:  # a stripe holds whole rows
        return [(left, right)]
    return [(left, a), (a, b), (b, right)]


def _matrices(source: WeightSource, together: int) -> Iterator[tuple[slice, slice]]:
    """Cut batch and heads so that about `together` matrices are taken at once, key heads kept whole or split evenly."""
    batch, heads, _, _ = source.shape
    if batch * heads == 0:
        return
    if together >= heads:
        step = max(1, together // max(1, heads))
        yield from ((slice(b, min(b + step, batch)), slice(0, heads)) for b in range(0, batch, step))
        return
    shared = heads // source.inputs.key.shape[1]
    if together >= shared:
        step = together // shared * shared
    else:
        step = next(n for n in range(max(1, together), 0, -1) if shared % n == 0)
    for b in range(batch):
        yield from ((slice(b, b + 1), slice(h, min(h + step, heads))) for h in range(0, heads, step))


def _cuts(start: int, stop: int, cell: int, most: int) -> Iterator[slice]:
    """Cut `start … stop` into pieces of at most `most`, each of whole cells or inside one cell."""
    if cell <= most:
        whole = start + max(0, stop - start) // cell * cell
        step = most // cell * cell
        yield from (slice(a, min(a + step, whole)) for a in range(start, whole, step))
        if whole < stop:
            yield slice(whole, stop)
        return
    for a in range(start, stop, cell):
        end = min(a + cell, stop)
        yield from (slice(b, min(b + most, end)) for b in range(a, end, most))


_Step = Callable[[Block], Tensor]
_Place = Callable[[Block], tuple[slice, ...]]


def _total(question: Question, step: _Step, sizes: tuple[int, ...], place: _Place) -> Tensor:
    """Add up what `step` makes of each block, at its place behind batch and heads."""
    source = question.matrix
    sizes = (*source.shape[:2], *sizes)
    total = torch.zeros(sizes, dtype=source.dtype, device=source.device)
    every = blocks(question)
    if not source.tracked:
        for block in every:
            total[(block.batch, block.heads, *place(block))] += step(block)
        return total
    several = [*every]
    for block in several:
        part = step(block) if len(several) == 1 else _again(step, block)
        where = (block.batch, block.heads, *place(block))
        edges = [(s.start, size - s.stop) for s, size in zip(where, sizes, strict=True)]
        total = total + pad(part, [edge for pair in reversed(edges) for edge in pair])
    return total


def _again(step: _Step, block: Block) -> Tensor:
    # Keep nothing of the block for the backward pass; make it again there, of what it was made of before.
    def true(block: Block) -> Tensor:
        block.source.fresh()
        return step(block)

    made: Tensor = checkpoint(true, block, use_reentrant=False, preserve_rng_state=False)
    return made


def _rows(question: Question) -> tuple[tuple[int, ...], _Place]:
    rows = question.rows
    return (rows.stop - rows.start,), lambda b: (slice(b.rows.start - rows.start, b.rows.stop - rows.start),)


def _columns(question: Question) -> tuple[tuple[int, ...], _Place]:
    columns = question.columns
    first = columns.start
    return (columns.stop - first,), lambda b: (slice(b.columns.start - first, b.columns.stop - first),)


def _cells(question: Question) -> tuple[tuple[int, ...], _Place]:
    sides = [
        (part.start, -(-(part.stop - part.start) // cell), cell)
        for part, cell in zip((question.rows, question.columns), question.cell, strict=True)
    ]

    def place(block: Block) -> tuple[slice, ...]:
        return tuple(
            slice((part.start - first) // cell, -(-(part.stop - first) // cell))
            for part, (first, _, cell) in zip((block.rows, block.columns), sides, strict=True)
        )

    return tuple(count for _, count, _ in sides), place


def _weights(block: Block) -> Tensor:
    return block.source.tile(block.rows, block.columns)


def _lse(question: Question) -> Tensor:
    if question.matrix.tracked:
        # A stripe holds whole rows. Rows that no block covers see nothing.
        found = _total(question, _log_sum, *_rows(question))
        return torch.where(_covered(question), found, -torch.inf)
    source = question.matrix
    shape = source.shape[:3]
    top = torch.full(shape, -torch.inf, dtype=source.dtype, device=source.device)
    total = torch.zeros_like(top)
    for block in blocks(question):
        where = (block.batch, block.heads, block.rows)
        x = block.source.raw_logs(block.rows, block.columns)
        high = torch.maximum(top[where], x.amax(-1))
        safe = torch.where(high == -torch.inf, 0.0, high)
        total[where] = total[where] * torch.exp(top[where] - safe) + steady_sum((x - safe[..., None]).exp_(), -1)
        top[where] = high
    return torch.log(total) + torch.where(top == -torch.inf, 0.0, top)


def _log_sum(block: Block) -> Tensor:
    return torch.logsumexp(block.source.raw_logs(block.rows, block.columns), -1)


def _covered(question: Question) -> Tensor:
    covered = torch.zeros(question.matrix.shape[:3], dtype=torch.bool, device=question.matrix.device)
    for block in blocks(question):
        covered[block.batch, block.heads, block.rows] = True
    return covered


def _tile(question: Question) -> Tensor:
    source = question.matrix
    if source.tracked:
        return source.tile(question.rows, question.columns)
    rows, columns = question.rows, question.columns
    sizes = (*source.shape[:2], rows.stop - rows.start, columns.stop - columns.start)
    whole = torch.zeros(sizes, dtype=source.dtype, device=source.device)
    for block in blocks(question):
        (down,), (across,) = _rows(question)[1](block), _columns(question)[1](block)
        whole[block.batch, block.heads, down, across] = _weights(block)
    return whole


def _pooled(question: Question) -> Tensor:
    def step(block: Block) -> Tensor:
        return in_cells(_weights(block), question.cell, steady_sum)

    found = _total(question, step, *_cells(question))
    queries = cell_sizes(question.rows.stop - question.rows.start, question.cell[0], found.device)
    return found / queries.to(found.dtype)[:, None]


def _highest(question: Question) -> Tensor:
    (down, across), place = _cells(question)
    source = question.matrix
    found = torch.zeros(*source.shape[:2], down, across, dtype=source.dtype, device=source.device)
    for block in blocks(question):
        where = (block.batch, block.heads, *place(block))
        found[where] = torch.maximum(found[where], in_cells(_weights(block), question.cell, torch.amax))
    return found


def _surprise(block: Block) -> Tensor:
    if block.source.tracked:
        x = block.source.logs(block.rows, block.columns)
        hidden = x == -torch.inf
        x = torch.where(hidden, 0.0, x)
        found = -steady_sum(torch.where(hidden, 0.0, x.exp() * x), -1)
        return found - found.detach().clamp(max=0.0)
    x = block.source.bits(block.rows, block.columns)
    weights = steady_exp2_(x.clone())
    # 0 · -inf is NaN; 2 to the power of the bound is 0 as well.
    # A weight that rounds above 1 would make it negative.
    return steady_sum(weights.mul_(x.clamp_(min=BITS_OF_NOTHING)), -1).mul_(-math.log(2.0)).clamp_(min=0.0)


def _distance(block: Block) -> Tensor:
    weights, shift = _weights(block), block.source.shift
    query = torch.arange(block.rows.start + shift, block.rows.stop + shift, device=weights.device).to(weights.dtype)
    key = torch.arange(block.columns.start, block.columns.stop, device=weights.device).to(weights.dtype)
    return steady_sum(weights * (key - query[:, None]).abs_(), -1)


def _diagonal_sums(block: Block) -> Tensor:
    # Rows from last to first, each one entry longer than a row of the skewed view: diagonals become columns.
    tile = _weights(block).flip(2)
    batch, heads, height, width = tile.shape
    padded = pad(tile, (0, height)).flatten(2)[..., : height * (width + height - 1)]
    return padded.view(batch, heads, height, width + height - 1).sum(2)


def _profile(question: Question) -> Tensor:
    _, _, queries, keys = question.matrix.shape

    def place(block: Block) -> tuple[slice, ...]:
        first = block.columns.start - block.rows.stop + queries
        height, width = block.rows.stop - block.rows.start, block.columns.stop - block.columns.start
        return (slice(first, first + width + height - 1),)

    return _total(question, _diagonal_sums, (max(0, queries + keys - 1),), place)


def _share(question: Question) -> Tensor:
    source = question.matrix
    if question.offset == "first":
        return steady_sum(_first_column(source), -1)
    rows = torch.arange(source.shape[2], device=source.device)
    columns = rows + source.shift + question.offset
    inside = (columns >= 0) & (columns < source.shape[3])
    return steady_sum(source.pairs(rows[inside], columns[inside]), -1)


def _first_column(source: WeightSource) -> Tensor:
    """Return the weights `(B, H, L)` on the first key that some query may see."""
    found = torch.zeros(source.shape[:3], dtype=source.dtype, device=source.device)
    if source.shape[3] == 0:
        return found
    first = (visible_queries(source.inputs) > 0).to(torch.uint8).argmax(-1)
    rows = torch.arange(source.shape[2], device=source.device)
    for key in first.unique().tolist():
        here = source.pairs(rows, torch.full_like(rows, key))
        found = torch.where((first == key)[..., None], here, found)
    return found


def _mixed(question: Question) -> Tensor:
    values = question.values
    if values is None:
        raise ValueError("nothing to multiply the weights with")
    across = slice(0, values.shape[3])
    (height,), place = _rows(question)

    def step(block: Block) -> Tensor:
        return _weights(block) @ values[block.batch, block.heads][:, :, block.columns]

    return _total(question, step, (height, values.shape[3]), lambda b: (*place(b), across))


def _peak(question: Question) -> tuple[Tensor, Tensor]:
    values, indices = _top(question, 1)
    return values[..., 0], indices[..., 0]


def _top(question: Question, count: int) -> tuple[Tensor, Tensor]:
    """Keep the best of each row; among equals the first key stays. Index -1 where no key is left to see."""
    source = question.matrix
    shape = (*source.shape[:3], count)
    best = torch.full(shape, -torch.inf, dtype=source.dtype, device=source.device)
    index = torch.full(shape, -1, dtype=torch.long, device=source.device)
    for block in blocks(question):
        where = (block.batch, block.heads, block.rows)
        bits = block.source.bits(block.rows, block.columns)
        value, at = largest(bits, min(count, bits.shape[-1]))
        value = torch.cat([best[where], value], -1)
        at = torch.cat([index[where], at + block.columns.start], -1)
        order = value.sort(dim=-1, descending=True, stable=True).indices[..., :count]
        best[where], index[where] = value.gather(-1, order), at.gather(-1, order)
    index.masked_fill_(best == -torch.inf, -1)
    return steady_exp2_(best), index


def largest(rows: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Return the largest entries of each row and where they are, largest first; among equals the first."""
    if count <= 1:
        value, at = rows.max(-1, keepdim=True) if count else (rows[..., :0], rows[..., :0].long())
        return value, at
    value, at = rows.topk(min(count + 1, rows.shape[-1]), -1)
    tied = ((value[..., 1:] == value[..., :-1]) & (value[..., 1:] > -torch.inf)).any(-1)
    if bool(tied.any()):  # topk takes any of them
        one, place = rows[tied].sort(dim=-1, descending=True, stable=True)
        value[tied], at[tied] = one[..., : value.shape[-1]], place[..., : value.shape[-1]]
    return value[..., :count], at[..., :count]


_ANSWERS: dict[str, Callable[[Question], Tensor]] = {
    "lse": _lse,
    "tile": _tile,
    "pooled": _pooled,
    "highest": _highest,
    "entropy": lambda q: _total(q, _surprise, *_rows(q)),
    "received": lambda q: _total(q, lambda b: steady_sum(_weights(b), 2), *_columns(q)),
    "distances": lambda q: _total(q, _distance, *_rows(q)),
    "product": _mixed,
    "profile": _profile,
    "share": _share,
    "masked": lambda q: masked_cells(q.matrix.inputs, q.rows, q.columns, q.cell),
    "uniform": lambda q: uniform_cells(q.matrix.inputs, q.rows, q.columns, q.cell),
    "visible_keys": lambda q: visible_keys(q.matrix.inputs),
    "visible_queries": lambda q: visible_queries(q.matrix.inputs),
}


class Stream:
    """Blocks, in PyTorch: any source, any device."""

    name = "stream"

    def why_not(self, question: Question) -> str | None:
        """Nothing is refused of a matrix whose entries can be computed."""
        return None if isinstance(question.source, WeightSource) else "its entries are not at hand"

    def run(self, question: Question) -> tuple[Tensor, ...]:
        """Stream over the blocks."""
        with torch.set_grad_enabled(question.matrix.tracked):
            if question.name == "peak":
                return _peak(question)
            if question.name == "top":
                return _top(question, question.count)
            return (_ANSWERS[question.name](question),)
