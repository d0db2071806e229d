"""Passes over the weights of a call that was made: each computes the scores once more and keeps what it was asked for.

A weight is `2^((score - shift) · unit + lift)` with two numbers a row, which `norms` makes: for most rows what `lse`
says, for rows far from zero their own maximum and sum. The rectangle that is looked at cuts the spans of its rows, so a
pass visits what is seen of it and nothing else. Every result is written by one program, in one order.
"""

import triton
import triton.language as tl

from .scores import LN2, LOG2E, dot, load_rows, unit, unit_scores
from .visibility import place, reach, row_spans, seen

_INFINITE = tl.constexpr(float("inf"))
_NOTHING = tl.constexpr(-(2**63) + 1)
"""Stands below every packed weight."""
_LAST = tl.constexpr(2**31 - 1)


@triton.jit
def _cut(call, batch, head, rows, row_end, left, right):
    """Return the spans of rows inside a rectangle, and the first key that one of them sees and one past the last."""
    start, stop = row_spans(call, batch, head, rows)
    start = tl.maximum(start, left)
    stop = tl.where(rows < row_end, tl.minimum(stop, right), 0)
    first, last, _, _ = reach(call, rows, start, stop)
    return start, stop, first, last


@triton.jit
def _queries(call, batch, head, rows, E: tl.constexpr, BE: tl.constexpr):
    base = call.query + batch * call.query_strides[0] + head * call.query_strides[1]
    return load_rows(base, call.query_strides[2], rows, call.queries, E, BE, False)


@triton.jit
def _scores(call, at, q, rows, start, stop, columns, E: tl.constexpr, BE: tl.constexpr):
    """Return the scores of a tile in the unit of the call, -inf where hidden."""
    _, batch, head, group = at
    base = call.key + batch * call.key_strides[0] + group * call.key_strides[1]
    k = load_rows(base, call.key_strides[2], columns, call.keys, E, BE, False)
    visible = seen(call, batch, head, rows[:, None], columns[None, :], start[:, None], stop[:, None])
    score, visible = unit_scores(call, dot(q, tl.trans(k)), batch, head, rows[:, None], columns[None, :], visible)
    return tl.where(visible, score, -_INFINITE)


@triton.jit
def _norms_of(call, norm, item, rows):
    """Return shift and lift of rows."""
    at = norm + item.to(tl.int64) * call.queries * 2 + rows * 2
    inside = rows < call.queries
    return tl.load(at, mask=inside, other=0.0), tl.load(at + 1, mask=inside, other=0.0)


@triton.jit
def _bits(call, at, q, rows, start, stop, shift, lift, columns, E: tl.constexpr, BE: tl.constexpr):
    """Return log2 of the weights of a tile, -inf where hidden."""
    score = _scores(call, at, q, rows, start, stop, columns, E, BE)
    # Where a row holds a NaN, what is hidden from it is 0 all the same.
    return tl.where(score == -_INFINITE, score, (score - shift[:, None]) * unit(call) + lift[:, None])


@triton.jit
def norms(call, lse, norm, FAR: tl.constexpr, E: tl.constexpr, BE: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr):
    """Write shift and lift of each row, float32 `(items, L, 2)`; rows whose `lse` lies beyond `FAR` are summed anew."""
    tiles = tl.cdiv(call.queries, BM)
    item = tl.program_id(0) // tiles
    rows = tl.program_id(0) % tiles * BM + tl.arange(0, BM)
    batch, head, group = place(call, item)
    inside = rows < call.queries
    known = tl.load(lse + item.to(tl.int64) * call.queries + rows, mask=inside, other=0.0)
    shift = tl.where(known == -_INFINITE, 0.0, known * (LOG2E / unit(call)))
    lift = tl.zeros((BM,), tl.float32)
    if FAR > 0:
        far = (tl.abs(known) > FAR) & (tl.abs(known) < _INFINITE)
        if tl.max(far.to(tl.int32), 0) > 0:
            start, stop, first, last = _cut(call, batch, head, rows, call.queries, 0, call.keys)
            q = _queries(call, batch, head, rows, E, BE)
            best = tl.full((BM,), -_INFINITE, tl.float32)
            total = tl.zeros((BM,), tl.float32)
            for begin in range(first // BN * BN, last, BN):
                columns = begin + tl.arange(0, BN)
                score = _scores(call, (item, batch, head, group), q, rows, start, stop, columns, E, BE)
                higher = tl.maximum(best, tl.max(score, 1))
                finite = tl.where(higher == -_INFINITE, 0.0, higher)
                total = total * tl.exp2((best - finite) * unit(call))
                total += tl.sum(tl.exp2((score - finite[:, None]) * unit(call)), 1)
                best = higher
            seeing = far & (best > -_INFINITE)
            shift = tl.where(seeing, best, shift)
            lift = tl.where(seeing, -tl.log2(tl.where(seeing, total, 1.0)), lift)
    target = norm + item.to(tl.int64) * call.queries * 2 + rows * 2
    tl.store(target, shift, mask=inside)
    tl.store(target + 1, lift, mask=inside)


@triton.jit
def tile(
    call, norm, out, top, bottom, left, right, chunk,
    E: tl.constexpr, BE: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr,
):  # fmt: skip
    """Write the weights of a rectangle, `(items, r, c)`; a program takes `BM` rows and `chunk` columns."""
    across = tl.cdiv(right - left, chunk)
    down = tl.cdiv(bottom - top, BM)
    item = tl.program_id(0) // (across * down)
    rows = top + tl.program_id(0) // across % down * BM + tl.arange(0, BM)
    edge = left + tl.program_id(0) % across * chunk
    batch, head, group = place(call, item)
    start, stop, first, last = _cut(call, batch, head, rows, bottom, left, right)
    shift, lift = _norms_of(call, norm, item, rows)
    q = _queries(call, batch, head, rows, E, BE)
    line = out + (item.to(tl.int64) * (bottom - top) + (rows - top)) * (right - left)
    for begin in range(edge, tl.minimum(edge + chunk, right), BN):
        columns = begin + tl.arange(0, BN)
        weights = tl.zeros((BM, BN), tl.float32)
        if (begin < last) & (begin + BN > first):
            at = (item, batch, head, group)
            weights = tl.exp2(_bits(call, at, q, rows, start, stop, shift, lift, columns, E, BE))
        inside = (rows < bottom)[:, None] & (columns < right)[None, :]
        tl.store(line[:, None] + (columns - left)[None, :], weights, mask=inside)


@triton.jit
def _in_cells(weights, cw, PEAK: tl.constexpr, REGULAR: tl.constexpr, NR: tl.constexpr, NC: tl.constexpr):
    """Return sums or maxima of a tile's cells, `(NR, NC)`; unless `REGULAR` there is one row, of cells `cw` wide."""
    BM: tl.constexpr = weights.shape[0]
    BN: tl.constexpr = weights.shape[1]
    split = tl.reshape(weights, (NR, BM // NR, BN))
    line = tl.max(split, 1) if PEAK else tl.sum(split, 1)
    if REGULAR:
        split = tl.reshape(line, (NR, NC, BN // NC))
        return tl.max(split, 2) if PEAK else tl.sum(split, 2)
    else:
        own = (tl.arange(0, BN) // cw)[None, :, None] == tl.arange(0, NC)[None, None, :]
        split = tl.where(own, line[:, :, None], 0.0)
        return tl.max(split, 1) if PEAK else tl.sum(split, 1)


@triton.jit
def cells(
    call, norm, out, top, bottom, left, right, ch, cw, groups,
    PEAK: tl.constexpr, REGULAR: tl.constexpr, NR: tl.constexpr, NC: tl.constexpr, PER: tl.constexpr,
    E: tl.constexpr, BE: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr,
):  # fmt: skip
    """Write the cells of a rectangle: means over rows of sums over keys, or the largest weights.

    Cells are `ch` rows by `cw` keys. A program takes `NR` lines of cells and `groups` times `PER` cells of each; a
    tile holds up to `PER` cells side by side, and `NC` is the next power of two.
    """
    down = tl.cdiv(bottom - top, ch)
    across = tl.cdiv(right - left, cw)
    lines = tl.cdiv(down, NR)
    chunks = tl.cdiv(across, groups * PER)
    item = tl.program_id(0) // (lines * chunks)
    line = tl.program_id(0) // chunks % lines * NR
    cell = tl.program_id(0) % chunks * groups * PER
    batch, head, group = place(call, item)
    row_begin = top + line * ch
    row_end = tl.minimum(row_begin + NR * ch, bottom)
    down_at = line + tl.arange(0, NR)
    held = tl.minimum(top + (down_at + 1) * ch, bottom) - (top + down_at * ch)
    target = out + (item.to(tl.int64) * down + down_at) * across
    for here in range(cell, tl.minimum(cell + groups * PER, across), PER):
        edge = left + here * cw
        limit = tl.minimum(edge + PER * cw, right)
        total = tl.zeros((NR, NC), tl.float32)
        for begin_row in range(row_begin, row_end, BM):
            rows = begin_row + tl.arange(0, BM)
            start, stop, first, last = _cut(call, batch, head, rows, row_end, edge, limit)
            if first < last:
                shift, lift = _norms_of(call, norm, item, rows)
                q = _queries(call, batch, head, rows, E, BE)
                for begin in range(edge + (first - edge) // BN * BN, last, BN):
                    columns = begin + tl.arange(0, BN)
                    at = (item, batch, head, group)
                    weights = tl.exp2(_bits(call, at, q, rows, start, stop, shift, lift, columns, E, BE))
                    if PEAK:
                        weights = tl.where(weights != weights, _INFINITE, weights)
                        total = tl.maximum(total, _in_cells(weights, cw, PEAK, REGULAR, NR, NC))
                    else:
                        total += _in_cells(weights, cw, PEAK, REGULAR, NR, NC)
        if PEAK:
            total = tl.where(total == _INFINITE, float("nan"), total)
        else:
            total = total / held.to(tl.float32)[:, None]
        aside = tl.arange(0, NC)
        inside = (down_at < down)[:, None] & ((aside < PER) & (here + aside < across))[None, :]
        tl.store(target[:, None] + (here + aside)[None, :], total, mask=inside)


@triton.jit
def received(
    call, norm, out, top, bottom, left, right,
    E: tl.constexpr, BE: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr,
):  # fmt: skip
    """Write the sum over rows of the weights on each key, `(items, c)`; a program takes `BN` keys and all rows."""
    across = tl.cdiv(right - left, BN)
    item = tl.program_id(0) // across
    edge = left + tl.program_id(0) % across * BN
    limit = tl.minimum(edge + BN, right)
    columns = edge + tl.arange(0, BN)
    batch, head, group = place(call, item)
    total = tl.zeros((BN,), tl.float32)
    begin = top
    if call.causal is not None:  # no row above sees a key of the block
        begin = tl.maximum(top, top + (edge - top) // BM * BM)
    for begin_row in range(begin, bottom, BM):
        rows = begin_row + tl.arange(0, BM)
        start, stop, first, last = _cut(call, batch, head, rows, bottom, edge, limit)
        if first < last:
            shift, lift = _norms_of(call, norm, item, rows)
            q = _queries(call, batch, head, rows, E, BE)
            at = (item, batch, head, group)
            total += tl.sum(tl.exp2(_bits(call, at, q, rows, start, stop, shift, lift, columns, E, BE)), 0)
    tl.store(out + item.to(tl.int64) * (right - left) + (columns - left), total, mask=columns < limit)


@triton.jit
def _surprise(bits):
    """Return the entropy of the rows of a tile, from log2 of its weights."""
    return tl.sum(tl.where(bits == -_INFINITE, 0.0, tl.exp2(bits) * bits), 1) * -LN2


@triton.jit
def entropy(
    call, norm, out, top, bottom, left, right,
    E: tl.constexpr, BE: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr,
):  # fmt: skip
    """Write the entropy of each row, `(items, r)`."""
    tiles = tl.cdiv(bottom - top, BM)
    item = tl.program_id(0) // tiles
    rows = top + tl.program_id(0) % tiles * BM + tl.arange(0, BM)
    batch, head, group = place(call, item)
    start, stop, first, last = _cut(call, batch, head, rows, bottom, left, right)
    shift, lift = _norms_of(call, norm, item, rows)
    q = _queries(call, batch, head, rows, E, BE)
    total = tl.zeros((BM,), tl.float32)
    for begin in range(first // BN * BN, last, BN):
        columns = begin + tl.arange(0, BN)
        at = (item, batch, head, group)
        total += _surprise(_bits(call, at, q, rows, start, stop, shift, lift, columns, E, BE))
    # A weight may round above 1; a NaN stays one.
    total = tl.where(total < 0.0, 0.0, total)
    tl.store(out + item.to(tl.int64) * (bottom - top) + (rows - top), total, mask=rows < bottom)


@triton.jit
def _packed(bits, columns):
    """Return weights and their keys as integers in the order of the weights, among equals the first key highest.

    A NaN stands above every number, as in PyTorch's own `topk`.
    """
    known = tl.where(bits != bits, _INFINITE, bits)
    word = known.to(tl.int32, bitcast=True)
    word = word ^ ((word >> 31) & _LAST)
    found = (word.to(tl.int64) << 32) | (columns ^ _LAST).to(tl.int64)[None, :]
    return tl.where(bits == -_INFINITE, _NOTHING, found)


@triton.jit
def _unpacked(packed):
    """Return weights and their keys, 0 and -1 where there is none."""
    word = (packed >> 32).to(tl.int32)
    word = word ^ ((word >> 31) & _LAST)
    bits = word.to(tl.float32, bitcast=True)
    nothing = packed == _NOTHING
    value = tl.where(bits == _INFINITE, float("nan"), tl.exp2(bits))
    return tl.where(nothing, 0.0, value), tl.where(nothing, -1, (packed & _LAST) ^ _LAST)


@triton.jit
def _with_best(best, found, count):
    """Return the `count` highest of both, highest first."""
    slots = tl.arange(0, best.shape[1])[None, :]
    worst = tl.max(tl.where(slots == count - 1, best, _NOTHING), 1)
    if tl.max((tl.max(found, 1) > worst).to(tl.int32), 0) > 0:
        kept = tl.full(best.shape, _NOTHING, tl.int64)
        for place_of in range(count):
            highest = tl.maximum(tl.max(best, 1), tl.max(found, 1))[:, None]
            kept = tl.where(slots == place_of, highest, kept)
            best = tl.where(best == highest, _NOTHING, best)
            found = tl.where(found == highest, _NOTHING, found)
        best = kept
    return best


@triton.jit
def top(
    call, norm, values, indices, above, below, left, right, count,
    K: tl.constexpr, E: tl.constexpr, BE: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr,
):  # fmt: skip
    """Write the `count` largest weights of each row and their keys, `(items, r, count)`; `K`: the next power of two."""
    tiles = tl.cdiv(below - above, BM)
    item = tl.program_id(0) // tiles
    rows = above + tl.program_id(0) % tiles * BM + tl.arange(0, BM)
    batch, head, group = place(call, item)
    start, stop, first, last = _cut(call, batch, head, rows, below, left, right)
    shift, lift = _norms_of(call, norm, item, rows)
    q = _queries(call, batch, head, rows, E, BE)
    best = tl.full((BM, K), _NOTHING, tl.int64)
    for begin in range(first // BN * BN, last, BN):
        columns = begin + tl.arange(0, BN)
        at = (item, batch, head, group)
        bits = _bits(call, at, q, rows, start, stop, shift, lift, columns, E, BE)
        best = _with_best(best, _packed(bits, columns), count)
    value, key = _unpacked(best)
    slots = tl.arange(0, K)
    line = (item.to(tl.int64) * (below - above) + (rows - above)) * count
    inside = (rows < below)[:, None] & (slots < count)[None, :]
    tl.store(values + line[:, None] + slots[None, :], value, mask=inside)
    tl.store(indices + line[:, None] + slots[None, :], key, mask=inside)


@triton.jit
def summary(
    call, norm, sums, entropies, distances, neighbours, values, indices, cell,
    GROUP: tl.constexpr, NR: tl.constexpr, K: tl.constexpr,
    E: tl.constexpr, BE: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr,
):  # fmt: skip
    """Write all that a recording keeps, in one pass over the weights.

    `sums` `(items, ⌈L/cell⌉, S)`: the weights on each key by the queries of each line of cells; of it, map and
    received are made. `neighbours` `(3, items, L)`: the weights before, at and after the own place. A program takes the
    `GROUP` rows of one line of cells, or the `NR` lines of cells of one tile.
    """
    groups = tl.cdiv(call.queries, GROUP)
    item = tl.program_id(0) // groups
    group_at = tl.program_id(0) % groups
    batch, head, group = place(call, item)
    at = (item, batch, head, group)
    lines = tl.cdiv(call.queries, cell)
    line = group_at * NR + tl.arange(0, NR)
    target = sums + (item.to(tl.int64) * lines + line) * call.keys
    moved = call.keys - call.queries
    for begin_row in range(group_at * GROUP, tl.minimum((group_at + 1) * GROUP, call.queries), BM):
        rows = begin_row + tl.arange(0, BM)
        start, stop, first, last = _cut(call, batch, head, rows, call.queries, 0, call.keys)
        shift, lift = _norms_of(call, norm, item, rows)
        q = _queries(call, batch, head, rows, E, BE)
        surprise = tl.zeros((BM,), tl.float32)
        distance = tl.zeros((BM,), tl.float32)
        before = tl.zeros((BM,), tl.float32)
        same = tl.zeros((BM,), tl.float32)
        after = tl.zeros((BM,), tl.float32)
        best = tl.full((BM, K), _NOTHING, tl.int64)
        if GROUP > BM:
            tl.debug_barrier()  # the sums of the tile before were written by other threads
        for begin in range(first // BN * BN, last, BN):
            columns = begin + tl.arange(0, BN)
            bits = _bits(call, at, q, rows, start, stop, shift, lift, columns, E, BE)
            weights = tl.exp2(bits)
            apart = columns[None, :] - (rows + moved)[:, None]
            surprise += _surprise(bits)
            distance += tl.sum(weights * tl.abs(apart).to(tl.float32), 1)
            if (begin <= begin_row + BM + moved) & (begin + BN >= begin_row + moved):
                before += tl.sum(tl.where(apart == -1, weights, 0.0), 1)
                same += tl.sum(tl.where(apart == 0, weights, 0.0), 1)
                after += tl.sum(tl.where(apart == 1, weights, 0.0), 1)
            best = _with_best(best, _packed(bits, columns), K)
            inside = (line < lines)[:, None] & (columns < call.keys)[None, :]
            sides = target[:, None] + columns[None, :]
            part = tl.sum(tl.reshape(weights, (NR, BM // NR, BN)), 1)
            if GROUP > BM:
                part += tl.load(sides, mask=inside, other=0.0)
            tl.store(sides, part, mask=inside)
        inside_rows = rows < call.queries
        place_of = item.to(tl.int64) * call.queries + rows
        tl.store(entropies + place_of, tl.where(surprise < 0.0, 0.0, surprise), mask=inside_rows)
        tl.store(distances + place_of, distance, mask=inside_rows)
        every = tl.num_programs(0).to(tl.int64) // groups * call.queries
        tl.store(neighbours + place_of, before, mask=inside_rows)
        tl.store(neighbours + every + place_of, same, mask=inside_rows)
        tl.store(neighbours + 2 * every + place_of, after, mask=inside_rows)
        value, key = _unpacked(best)
        slots = place_of[:, None] * K + tl.arange(0, K)[None, :]
        tl.store(values + slots, value, mask=inside_rows[:, None])
        tl.store(indices + slots, key.to(tl.int32), mask=inside_rows[:, None])
