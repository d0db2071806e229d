"""One to four queries over many keys: the keys are shared among programs, and their results joined.

A program takes all query heads of a key/value head at once, so that a key is read one time: its rows are heads times
queries.
"""

import triton
import triton.language as tl

from .forward import row_results, walk
from .scores import unit
from .visibility import reach, row_spans


@triton.jit
def _rows(call, batch, group, ROWS: tl.constexpr):
    """Return head and query of each row of a key/value head; rows that are none have a query beyond the last."""
    row = tl.arange(0, ROWS)
    real = row < call.shared * call.queries
    head = group * call.shared + tl.where(real, row // call.queries, 0)
    return head, tl.where(real, row % call.queries, call.queries)


@triton.jit
def split(
    call, tops, totals, outputs, splits, length,
    E: tl.constexpr, EV: tl.constexpr, BE: tl.constexpr, BEV: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr,
):  # fmt: skip
    """Write maximum, sum and output of each row over `length` keys, a multiple of `BN`.

    `tops` and `totals` are float32 `(items, splits, L)`, `outputs` `(items, splits, L, EV)`.
    """
    groups = call.heads // call.shared
    part = tl.program_id(0) % splits
    batch = (tl.program_id(0) // splits // groups).to(tl.int64)
    group = (tl.program_id(0) // splits % groups).to(tl.int64)
    head, query = _rows(call, batch, group, BM)
    item = batch * call.heads + head
    inside = query < call.queries
    at = call.query + batch * call.query_strides[0] + head * call.query_strides[1] + query * call.query_strides[2]
    columns = tl.arange(0, BE)
    q = tl.load(at[:, None] + columns[None, :], mask=inside[:, None] & (columns < E)[None, :], other=0.0)
    spans = row_spans(call, batch, head, query)
    first, last, _, _ = reach(call, query, spans[0], spans[1])
    begin = tl.maximum(part * length, first // BN * BN)
    end = tl.minimum(part * length + length, last)
    state = (
        tl.full((BM,), float("-inf"), tl.float32), tl.zeros((BM,), tl.float32), tl.zeros((BM, BEV), tl.float32),
    )  # fmt: skip
    place = (item[:, None], batch, head[:, None], group)
    top, total, out = walk(call, state, None, q, spans, place, query, begin, end, True, E, EV, BE, BEV, BM, BN)
    row = (item * splits + part) * call.queries + query
    tl.store(tops + row, top, mask=inside)
    tl.store(totals + row, total, mask=inside)
    wide = tl.arange(0, BEV)
    tl.store(outputs + row[:, None] * EV + wide[None, :], out, mask=inside[:, None] & (wide < EV)[None, :])


@triton.jit
def join(
    call, tops, totals, outputs, splits, output, output_strides, rest, lse,
    EV: tl.constexpr, BEV: tl.constexpr, SPLITS: tl.constexpr,
):  # fmt: skip
    """Write output, `rest` and `lse` of one row from its `splits` parts, always in the same order."""
    query = tl.program_id(0) % call.queries
    item = (tl.program_id(0) // call.queries).to(tl.int64)
    part = tl.arange(0, SPLITS)
    row = (item * splits + part) * call.queries + query
    inside = part < splits
    tops_of = tl.load(tops + row, mask=inside, other=float("-inf"))
    top = tl.max(tops_of, 0)
    known = tl.where(top == float("-inf"), 0.0, top)
    share = tl.exp2((tops_of - known) * unit(call))
    total = tl.sum(share * tl.load(totals + row, mask=inside, other=0.0), 0)
    wide = tl.arange(0, BEV)
    filled = inside[:, None] & (wide < EV)[None, :]
    outs = tl.load(outputs + row[:, None] * EV + wide[None, :], mask=filled, other=0.0)
    # As tiles of one row.
    one = tl.zeros((1,), tl.float32)
    out, sums = row_results(call, (one + top, one + total, tl.sum(outs * share[:, None], 0)[None, :]))
    tl.store(lse + item * call.queries + query + tl.arange(0, 1), sums)
    start = item // call.heads * output_strides[0] + item % call.heads * output_strides[1] + query * output_strides[2]
    rounded = out.to(output.dtype.element_ty)
    tl.store(output + start + wide[None, :], rounded, mask=(wide < EV)[None, :])
    if rest is not None:
        tl.store(
            rest + start + wide[None, :], (out - rounded.to(tl.float32)).to(tl.bfloat16), mask=(wide < EV)[None, :]
        )
