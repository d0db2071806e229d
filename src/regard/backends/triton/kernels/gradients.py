"""The backward pass. Every sum is taken by one program in one order: results are the same to the bit each time.

`prepare` finds what a row's gradients share, `query_gradient` goes once more over the keys of a tile of queries, and
`key_gradients` over the queries of a tile of keys, all heads that share them in turn.
"""

import triton
import triton.language as tl

from .map import far
from .random import keep
from .scores import LN2, dot, dot_into, finite, load_rows, slope_of_cap, unit, unit_scores
from .visibility import blocks, place, row_spans, seen


@triton.jit
def rows_of_call(call, grad_output, grad_strides, at, rows, E: tl.constexpr, EV: tl.constexpr, BE: tl.constexpr,
                 BEV: tl.constexpr):  # fmt: skip
    """Return the queries of a tile and what flows into their outputs."""
    _, batch, head, _ = at
    base = call.query + batch * call.query_strides[0] + head * call.query_strides[1]
    q = load_rows(base, call.query_strides[2], rows, call.queries, E, BE, False)
    base = grad_output + batch * grad_strides[0] + head * grad_strides[1]
    return q, load_rows(base, grad_strides[2], rows, call.queries, EV, BEV, False)


@triton.jit
def row_statistics(call, stats, item, rows):
    """Return of each row its reference, the factor of its weights and the product of output and gradient."""
    inside = rows < call.queries
    at = stats + item.to(tl.int64) * 3 * call.queries + rows
    # Beyond the last row weights are 2^-inf.
    top = tl.load(at, mask=inside, other=float("inf"))
    inverse = tl.load(at + call.queries, mask=inside, other=0.0)
    return top, inverse, tl.load(at + 2 * call.queries, mask=inside, other=0.0)


@triton.jit
def _far_rows(
    call, q, grad, spans, at, rows, begin, end,
    E: tl.constexpr, EV: tl.constexpr, BE: tl.constexpr, BEV: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr,
):  # fmt: skip
    """Return maximum, sum and row sum of P · dP of each row, made of the scores as the gradients will see them."""
    item, batch, head, group = at
    top = tl.full((BM,), float("-inf"), tl.float32)
    total = tl.zeros((BM,), tl.float32)
    shared = tl.zeros((BM,), tl.float32)
    keys = call.key + batch * call.key_strides[0] + group * call.key_strides[1]
    values = call.value + batch * call.value_strides[0] + group * call.value_strides[1]
    for first in range(begin, end, BN):
        columns = first + tl.arange(0, BN)
        k = load_rows(keys, call.key_strides[2], columns, call.keys, E, BE, False)
        v = load_rows(values, call.value_strides[2], columns, call.keys, EV, BEV, False)
        visible = seen(call, batch, head, rows[:, None], columns[None, :], spans[0][:, None], spans[1][:, None])
        product = dot(q, tl.trans(k))
        score, visible = unit_scores(call, product, batch, head, rows[:, None], columns[None, :], visible)
        score = tl.where(visible, score, float("-inf"))
        highest = tl.maximum(top, tl.max(score, 1))
        known = tl.where(highest == float("-inf"), 0.0, highest)
        p = tl.exp2((score - known[:, None]) * unit(call))
        rescale = tl.exp2((top - known) * unit(call))
        grad_weights = dot(grad, tl.trans(v))
        if call.seed is not None:
            grad_weights = tl.where(keep(call, item, rows, first, BM, BN), grad_weights * call.kept, 0.0)
        total = total * rescale + tl.sum(p, 1)
        shared = shared * rescale + tl.sum(tl.where(visible, p * grad_weights, 0.0), 1)
        top = highest
    return top, total, shared


@triton.jit
def prepare(
    call, output, output_strides, rest, lse, grad_output, grad_strides, grad_lse, stats, reached,
    E: tl.constexpr, EV: tl.constexpr, BE: tl.constexpr, BEV: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr,
):  # fmt: skip
    """Write what the rows of a tile share, and the keys that the tile sees.

    `stats` is float32 `(items, 3, L)`: weights are `2^((score - first) · unit) · second`, gradients of scores
    `weight · (dP - third)`. `reached` is int32 `(items, tiles, 4)`: first and last key that the tile sees, and within
    these the ones that every row sees.
    """
    tiles = tl.cdiv(call.queries, BM)
    item = tl.program_id(0) // tiles
    tile = tl.program_id(0) % tiles
    rows = tile * BM + tl.arange(0, BM)
    batch, head, group = place(call, item)
    at = (item, batch, head, group)
    inside = rows < call.queries
    q, grad = rows_of_call(call, grad_output, grad_strides, at, rows, E, EV, BE, BEV)
    base = batch * output_strides[0] + head * output_strides[1]
    out = load_rows(output + base, output_strides[2], rows, call.queries, EV, BEV, False).to(tl.float32)
    if rest is not None:
        out += load_rows(rest + base, output_strides[2], rows, call.queries, EV, BEV, False).to(tl.float32)
    shared = tl.sum(out * grad.to(tl.float32), 1)
    line = item.to(tl.int64) * call.queries + rows
    sums = tl.load(lse + line, mask=inside, other=0.0)
    top = tl.where(sums == float("-inf"), float("inf"), sums / (unit(call) * LN2))
    inverse = tl.full((BM,), 1.0, tl.float32)

    spans = row_spans(call, batch, head, rows)
    first, full_first, full_last, last = blocks(call, head, rows, spans[0], spans[1], 1)
    wanted = far(sums)
    if tl.max(wanted.to(tl.int32), 0) > 0:
        own = _far_rows(call, q, grad, spans, at, rows, first // BN * BN, last, E, EV, BE, BEV, BM, BN)
        top = tl.where(wanted, own[0], top)
        inverse = tl.where(wanted, 1 / own[1], inverse)
        shared = tl.where(wanted, own[2] / own[1], shared)
    if grad_lse is not None:
        shared -= tl.load(grad_lse + line, mask=inside, other=0.0)

    to = stats + item.to(tl.int64) * 3 * call.queries + rows
    tl.store(to, top, mask=inside)
    tl.store(to + call.queries, inverse, mask=inside)
    tl.store(to + 2 * call.queries, shared, mask=inside)
    to = reached + tl.program_id(0).to(tl.int64) * 4
    tl.store(to, first)
    tl.store(to + 1, full_first)
    tl.store(to + 2, full_last)
    tl.store(to + 3, last)


@triton.jit
def grad_scores(
    call, at, q, grad, k, v, row_stats, spans, rows, columns, kept, MASKED: tl.constexpr, TURNED: tl.constexpr
):
    """Return of a tile its weights, the gradients of its scores, its products and what may be seen of it.

    Rows are queries; `TURNED`, rows are keys. `kept` is what dropout keeps, turned alike; None without dropout.
    """
    _, batch, head, _ = at
    top, inverse, shared = row_stats
    start, stop = spans
    if TURNED:
        row, column = rows[None, :], columns[:, None]
        top, inverse, shared = top[None, :], inverse[None, :], shared[None, :]
        start, stop = start[None, :], stop[None, :]
        product = dot(k, tl.trans(q))
        grad_weights = dot(v, tl.trans(grad))
    else:
        row, column = rows[:, None], columns[None, :]
        top, inverse, shared = top[:, None], inverse[:, None], shared[:, None]
        start, stop = start[:, None], stop[:, None]
        product = dot(q, tl.trans(k))
        grad_weights = dot(grad, tl.trans(v))
    visible = (row < call.queries) & (column < call.keys)
    if MASKED:
        visible = seen(call, batch, head, row, column, start, stop)
    score, visible = unit_scores(call, product, batch, head, row, column, visible)
    p = tl.exp2((score - top) * unit(call)) * inverse
    if call.seed is not None:
        grad_weights = tl.where(kept, grad_weights * call.kept, 0.0)
    slope = p * (grad_weights - shared)
    if MASKED:
        p = tl.where(visible, p, 0.0)
        slope = tl.where(visible, slope, 0.0)
    return p, slope, product, visible


@triton.jit
def _query_walk(
    call, total, q, grad, row_stats, spans, at, rows, begin, end,
    MASKED: tl.constexpr, E: tl.constexpr, EV: tl.constexpr, BE: tl.constexpr, BEV: tl.constexpr,
    BM: tl.constexpr, BN: tl.constexpr,
):  # fmt: skip
    item, batch, head, group = at
    keys = call.key + batch * call.key_strides[0] + group * call.key_strides[1]
    values = call.value + batch * call.value_strides[0] + group * call.value_strides[1]
    for first in range(begin, end, BN):
        columns = first + tl.arange(0, BN)
        k = load_rows(keys, call.key_strides[2], columns, call.keys, E, BE, not MASKED)
        v = load_rows(values, call.value_strides[2], columns, call.keys, EV, BEV, not MASKED)
        kept = None
        if call.seed is not None:
            kept = keep(call, item, rows, first, BM, BN)
        p, slope, product, visible = grad_scores(
            call, at, q, grad, k, v, row_stats, spans, rows, columns, kept, MASKED, False
        )
        if call.softcap is not None:
            slope *= slope_of_cap(call, product)
        if MASKED:
            clean = finite(k)
            lost = tl.max((clean != k).to(tl.int32), 1) > 0
            slope = tl.where(visible, tl.where(lost[None, :], float("nan"), slope), 0.0)
            k = clean
        total = dot_into(total, slope.to(k.dtype), k)
    return total


@triton.jit
def query_gradient(
    call, grad_output, grad_strides, stats, found, found_strides,
    E: tl.constexpr, EV: tl.constexpr, BE: tl.constexpr, BEV: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr,
):  # fmt: skip
    """Write the gradient of a tile of queries."""
    tiles = tl.cdiv(call.queries, BM)
    item = tl.program_id(0) // tiles
    rows = (tiles - 1 - tl.program_id(0) % tiles) * BM + tl.arange(0, BM)
    batch, head, group = place(call, item)
    at = (item, batch, head, group)
    q, grad = rows_of_call(call, grad_output, grad_strides, at, rows, E, EV, BE, BEV)
    of_rows = row_statistics(call, stats, item, rows)
    spans = row_spans(call, batch, head, rows)
    begin, full_begin, full_end, end = blocks(call, head, rows, spans[0], spans[1], BN)
    sums = tl.zeros((BM, BE), tl.float32)
    sums = _query_walk(call, sums, q, grad, of_rows, spans, at, rows, begin, full_begin, True, E, EV, BE, BEV, BM, BN)
    sums = _query_walk(
        call, sums, q, grad, of_rows, spans, at, rows, full_begin, full_end, False, E, EV, BE, BEV, BM, BN
    )
    sums = _query_walk(call, sums, q, grad, of_rows, spans, at, rows, full_end, end, True, E, EV, BE, BEV, BM, BN)
    _store(found, found_strides, batch, head, rows, call.queries, sums * call.scale, E, BE)


@triton.jit
def _store(found, strides, batch, head, rows, limit, tile, E: tl.constexpr, BE: tl.constexpr):
    columns = tl.arange(0, BE)
    at = batch * strides[0] + head * strides[1] + rows.to(tl.int64)[:, None] * strides[2] + columns[None, :]
    inside = (rows < limit)[:, None] & (columns < E)[None, :]
    tl.store(found + at, tile.to(found.dtype.element_ty), mask=inside)


@triton.jit
def _tiles_of(reached, item, tiles, begin, end):
    """Return which tiles of queries see keys in `begin … end - 1`: first, the first run that sees all of them, last."""
    CHUNK: tl.constexpr = 128
    first, last, full_first = tiles, tiles * 0, tiles
    for at in range(0, tiles, CHUNK):
        tile = at + tl.arange(0, CHUNK)
        touched, full = _touched(reached, item, tiles, tile, begin, end)
        first = tl.minimum(first, tl.min(tl.where(touched, tile, tiles), 0))
        last = tl.maximum(last, tl.max(tl.where(touched, tile + 1, 0), 0))
        full_first = tl.minimum(full_first, tl.min(tl.where(full, tile, tiles), 0))
    full_last = tiles
    for at in range(0, tiles, CHUNK):
        tile = at + tl.arange(0, CHUNK)
        _, full = _touched(reached, item, tiles, tile, begin, end)
        other = (tile >= full_first) & (tile < tiles) & ~full
        full_last = tl.minimum(full_last, tl.min(tl.where(other, tile, tiles), 0))
    return first, tl.minimum(full_first, last), tl.minimum(full_last, last), last


@triton.jit
def _touched(reached, item, tiles, tile, begin, end):
    at = reached + (item.to(tl.int64) * tiles + tile) * 4
    inside = tile < tiles
    touched = (tl.load(at, mask=inside, other=0) < end) & (tl.load(at + 3, mask=inside, other=0) > begin)
    full = (tl.load(at + 1, mask=inside, other=0) <= begin) & (tl.load(at + 2, mask=inside, other=0) >= end)
    return touched & inside, touched & full & inside


@triton.jit
def _key_walk(
    call, sums, grad_output, grad_strides, stats, k, v, at, columns, begin, end,
    MASKED: tl.constexpr, E: tl.constexpr, EV: tl.constexpr, BE: tl.constexpr, BEV: tl.constexpr,
    BM: tl.constexpr, BN: tl.constexpr,
):  # fmt: skip
    of_keys, of_values = sums
    item, batch, head, _ = at
    for tile in range(begin, end):
        rows = tile * BM + tl.arange(0, BM)
        q, grad = rows_of_call(call, grad_output, grad_strides, at, rows, E, EV, BE, BEV)
        row_stats = row_statistics(call, stats, item, rows)
        spans = row_spans(call, batch, head, rows)
        kept = None
        if call.seed is not None:
            kept = tl.trans(keep(call, item, rows, tl.min(columns, 0), BM, BN))
        p, slope, product, visible = grad_scores(
            call, at, q, grad, k, v, row_stats, spans, rows, columns, kept, MASKED, True
        )
        if call.softcap is not None:
            slope *= slope_of_cap(call, product)
        if call.seed is not None:
            p = tl.where(kept, p * call.kept, 0.0)
        if MASKED:
            clean = finite(grad)
            lost = tl.max((clean != grad).to(tl.int32), 1) > 0
            p = tl.where(visible & lost[None, :], float("nan"), p)
            grad = clean
            clean = finite(q)
            lost = tl.max((clean != q).to(tl.int32), 1) > 0
            slope = tl.where(visible, tl.where(lost[None, :], float("nan"), slope), 0.0)
            q = clean
        of_values = dot_into(of_values, p.to(grad.dtype), grad)
        of_keys = dot_into(of_keys, slope.to(q.dtype), q)
    return of_keys, of_values


@triton.jit
def key_gradients(
    call, grad_output, grad_strides, stats, reached, of_key, key_strides, of_value, value_strides,
    E: tl.constexpr, EV: tl.constexpr, BE: tl.constexpr, BEV: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr,
):  # fmt: skip
    """Write the gradients of a tile of keys and values: the heads that share them one after the other.

    Keys beyond the last are zeros, and rows of sums of their own.
    """
    tiles = tl.cdiv(call.keys, BN)
    groups = call.heads // call.shared
    batch = (tl.program_id(0) // tiles // groups).to(tl.int64)
    group = (tl.program_id(0) // tiles % groups).to(tl.int64)
    first = tl.program_id(0) % tiles * BN
    columns = first + tl.arange(0, BN)
    base = call.key + batch * call.key_strides[0] + group * call.key_strides[1]
    k = load_rows(base, call.key_strides[2], columns, call.keys, E, BE, False)
    base = call.value + batch * call.value_strides[0] + group * call.value_strides[1]
    v = load_rows(base, call.value_strides[2], columns, call.keys, EV, BEV, False)
    sums = tl.zeros((BN, BE), tl.float32), tl.zeros((BN, BEV), tl.float32)
    for of_group in range(call.shared):
        head = group * call.shared + of_group
        item = batch * call.heads + head
        at = (item, batch, head, group)
        last = tl.minimum(first + BN, call.keys)
        begin, full_begin, full_end, end = _tiles_of(reached, item, tl.cdiv(call.queries, BM), first, last)
        sums = _key_walk(
            call, sums, grad_output, grad_strides, stats, k, v, at, columns, begin, full_begin, True,
            E, EV, BE, BEV, BM, BN,
        )  # fmt: skip
        sums = _key_walk(
            call, sums, grad_output, grad_strides, stats, k, v, at, columns, full_begin, full_end, False,
            E, EV, BE, BEV, BM, BN,
        )  # fmt: skip
        sums = _key_walk(
            call, sums, grad_output, grad_strides, stats, k, v, at, columns, full_end, end, True,
            E, EV, BE, BEV, BM, BN,
        )  # fmt: skip
    _store(of_key, key_strides, batch, group, columns, call.keys, sums[0] * call.scale, E, BE)
    _store(of_value, value_strides, batch, group, columns, call.keys, sums[1], EV, BEV)
