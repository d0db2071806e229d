"""The forward pass: one tile of queries over the blocks of keys that it sees, with an online softmax."""

import triton
import triton.language as tl

from .map import mend
from .random import keep
from .scores import LN2, dot, dot_into, finite, load_rows, unit, unit_scores
from .visibility import blocks, place, row_spans, seen


@triton.jit
def walk(
    call, state, line, q, spans, at, rows, begin, end,
    MASKED: tl.constexpr, E: tl.constexpr, EV: tl.constexpr, BE: tl.constexpr, BEV: tl.constexpr,
    BM: tl.constexpr, BN: tl.constexpr,
):  # fmt: skip
    """Take the blocks of keys from `begin` on into the state: maximum, sum and output of each row.

    `at` is item, batch, head and key/value head; item and head may differ by row, as `(BM, 1)`. `line`: where the sums
    of each row in the first block of keys are kept for the map, or None.
    """
    top, total, out = state
    item, batch, head, group = at
    keys = call.key + batch * call.key_strides[0] + group * call.key_strides[1]
    values = call.value + batch * call.value_strides[0] + group * call.value_strides[1]
    for first in range(begin, end, BN):
        columns = first + tl.arange(0, BN)
        k = load_rows(keys, call.key_strides[2], columns, call.keys, E, BE, not MASKED)
        product = dot(q, tl.trans(k))
        visible = (rows < call.queries)[:, None] & (columns < call.keys)[None, :]
        if MASKED:
            visible = seen(call, batch, head, rows[:, None], columns[None, :], spans[0][:, None], spans[1][:, None])
        score, visible = unit_scores(call, product, batch, head, rows[:, None], columns[None, :], visible)
        if MASKED:
            score = tl.where(visible, score, float("-inf"))
        highest = tl.maximum(top, tl.max(score, 1))
        known = tl.where(highest == float("-inf"), 0.0, highest)
        p = tl.exp2((score - known[:, None]) * unit(call))
        part = tl.sum(p, 1)
        rescale = tl.exp2((top - known) * unit(call))
        total = total * rescale + part
        top = highest
        if line is not None:
            # What the map needs of this block, in one number: its sum, under the maximum of the row so far.
            block = first // BN * tl.full((), call.queries, tl.int64)
            tl.store(line + block, tl.log2(part) + known * unit(call), mask=rows < call.queries)
        if call.seed is not None:
            p = tl.where(keep(call, item, rows, first, BM, BN), p, 0.0)
        v = load_rows(values, call.value_strides[2], columns, call.keys, EV, BEV, not MASKED)
        if MASKED:
            clean = finite(v)
            lost = tl.max((clean != v).to(tl.int32), 1) > 0
            p = tl.where(visible & lost[None, :], float("nan"), p)
            v = clean
        out = dot_into(out * rescale[:, None], p.to(v.dtype), v)
    return top, total, out


@triton.jit
def row_results(call, state):
    """Return output and `lse` of rows whose keys have all been taken."""
    top, total, out = state
    nothing = top == float("-inf")
    out = out * (call.kept / tl.where(nothing, 1.0, total))[:, None]
    return out, tl.where(nothing, top, top * (unit(call) * LN2) + tl.log2(total) * LN2)


@triton.jit
def forward(
    call, output, output_strides, rest, lse, parts,
    E: tl.constexpr, EV: tl.constexpr, BE: tl.constexpr, BEV: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr,
):  # fmt: skip
    """Write output and `lse`, and if wanted what rounding left of the output (`rest`) and the sums of blocks (`parts`).

    A program is one tile of `BM` queries of one head; the last tiles, which see most under a causal mask, come first.
    `parts` is float32 `(items, blocks, L)`, as `map` reads it.
    """
    tiles = tl.cdiv(call.queries, BM)
    item = tl.program_id(0) // tiles
    rows = (tiles - 1 - tl.program_id(0) % tiles) * BM + tl.arange(0, BM)
    batch, head, group = place(call, item)
    base = call.query + batch * call.query_strides[0] + head * call.query_strides[1]
    q = load_rows(base, call.query_strides[2], rows, call.queries, E, BE, False)
    spans = row_spans(call, batch, head, rows)
    begin, full_begin, full_end, end = blocks(call, head, rows, spans[0], spans[1], BN)
    at = (item, batch, head, group)
    line = None
    if parts is not None:
        line = parts + item.to(tl.int64) * tl.cdiv(call.keys, BN) * call.queries + rows
    state = (
        tl.full((BM,), float("-inf"), tl.float32), tl.zeros((BM,), tl.float32), tl.zeros((BM, BEV), tl.float32),
    )  # fmt: skip
    state = walk(call, state, line, q, spans, at, rows, begin, full_begin, True, E, EV, BE, BEV, BM, BN)
    state = walk(call, state, line, q, spans, at, rows, full_begin, full_end, False, E, EV, BE, BEV, BM, BN)
    state = walk(call, state, line, q, spans, at, rows, full_end, end, True, E, EV, BE, BEV, BM, BN)
    out, sums = row_results(call, state)
    if parts is not None:
        mend(call, line, q, spans, at, rows, begin, end, sums, state[0], state[1], E, BE, BN)

    inside = rows < call.queries
    tl.store(lse + item.to(tl.int64) * call.queries + rows, sums, mask=inside)
    columns = tl.arange(0, BEV)
    stored = inside[:, None] & (columns < EV)[None, :]
    start = batch * output_strides[0] + head * output_strides[1]
    place_of = start + rows.to(tl.int64)[:, None] * output_strides[2] + columns[None, :]
    rounded = out.to(output.dtype.element_ty)
    tl.store(output + place_of, rounded, mask=stored)
    if rest is not None:
        tl.store(rest + place_of, (out - rounded.to(tl.float32)).to(tl.bfloat16), mask=stored)
