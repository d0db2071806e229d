"""The map of the weights in cells, from the sums of exponentials that the forward pass has in its hands anyway.

Of each row and block of keys the forward pass stores one number, `log2(sum) + maximum`: its sum of exponentials,
without the reference that it was taken under. The share of the block in the row is then `2^(that - log2 of the total)`.
Where scores lie far from zero such a number cannot hold a sum: there it is replaced by log2 of the share itself.
"""

import triton
import triton.language as tl

from .scores import LOG2E, dot, load_rows, unit, unit_scores
from .visibility import place, row_spans, seen

# The bound of `FAR` in backends/_contract.py.
_FAR = tl.constexpr(64.0)


@triton.jit
def far(lse):
    """Return which rows have an `lse` that is too coarse to make weights of."""
    size = tl.abs(lse)
    return (size > _FAR) & (size < float("inf"))


@triton.jit
def mend(
    call, line, q, spans, at, rows, begin, end, lse, top, total, E: tl.constexpr, BE: tl.constexpr, BN: tl.constexpr
):
    """Write log2 of the shares of far rows, whose maximum and sum are known by now."""
    wanted = far(lse)
    _, batch, head, group = at
    if tl.max(wanted.to(tl.int32), 0) > 0:
        keys = call.key + batch * call.key_strides[0] + group * call.key_strides[1]
        for first in range(begin, end, BN):
            columns = first + tl.arange(0, BN)
            k = load_rows(keys, call.key_strides[2], columns, call.keys, E, BE, False)
            visible = seen(call, batch, head, rows[:, None], columns[None, :], spans[0][:, None], spans[1][:, None])
            product = dot(q, tl.trans(k))
            score, visible = unit_scores(call, product, batch, head, rows[:, None], columns[None, :], visible)
            p = tl.where(visible, tl.exp2((score - top[:, None]) * unit(call)), 0.0)
            block = first // BN * tl.full((), call.queries, tl.int64)
            tl.store(line + block, tl.log2(tl.sum(p, 1) / total), mask=wanted & (rows < call.queries))


@triton.jit
def cells(call, parts, lse, found, CELL: tl.constexpr, BN: tl.constexpr, BLOCKS: tl.constexpr, BM: tl.constexpr):
    """Write one row of cells of one head: means over the queries of a cell of the sums over its keys.

    `BLOCKS` blocks of `BN` keys are read at a time, in one row of cells `BM` queries at a time.
    """
    PER: tl.constexpr = CELL // BN
    down = tl.cdiv(call.queries, CELL)
    across = tl.cdiv(call.keys, CELL)
    item = tl.program_id(0) // down
    row = tl.program_id(0) % down
    batch, head, _ = place(call, item)
    height = tl.minimum(call.queries - row * CELL, CELL)
    count = tl.cdiv(call.keys, BN)
    for first in range(0, count, BLOCKS):
        block = first + tl.arange(0, BLOCKS)
        total = tl.zeros((BLOCKS,), tl.float32)
        for below in range(0, CELL, BM):
            rows = row * CELL + below + tl.arange(0, BM)
            start, stop = row_spans(call, batch, head, rows)
            sums = tl.load(lse + item.to(tl.int64) * call.queries + rows, mask=rows < call.queries, other=0.0)
            whole = tl.where(far(sums), 0.0, sums * LOG2E)
            # Blocks that a row does not see may not have been visited: nothing was written there.
            visited = ((block * BN)[:, None] < stop[None, :]) & ((block * BN + BN)[:, None] > start[None, :])
            visited = visited & (block < count)[:, None]
            at = parts + (item.to(tl.int64) * count + block)[:, None] * call.queries + rows[None, :]
            part = tl.load(at, mask=visited, other=float("-inf"))
            total += tl.sum(tl.where(visited & (part > float("-inf")), tl.exp2(part - whole[None, :]), 0.0), 1)
            total += tl.sum(tl.where(visited & (part != part), part, 0.0), 1)
        cell = first // PER + tl.arange(0, BLOCKS // PER)
        mean = tl.sum(tl.reshape(total, (BLOCKS // PER, PER)), 1) / height
        tl.store(found + (item.to(tl.int64) * down + row) * across + cell, mean, mask=cell < across)
