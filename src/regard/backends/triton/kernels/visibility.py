"""The algebra of spans in tiles: which blocks of keys a tile of queries must visit, and which of these need no mask.

Row `i` sees the keys `start[i] … stop[i] - 1`. A tile visits the keys from the least start to the greatest stop of its
rows that see anything; from the greatest start to the least stop of all its rows every row sees every key.
"""

import triton
import triton.language as tl


@triton.jit
def place(call, item):
    """Return batch, query head and key/value head of an item, `batch · heads + head`."""
    batch = item // call.heads
    head = item % call.heads
    return batch.to(tl.int64), head.to(tl.int64), (head // call.shared).to(tl.int64)


@triton.jit
def row_spans(call, batch, head, rows):
    """Return the first key of each row and the one after its last; rows beyond the last query see nothing."""
    inside = rows < call.queries
    if call.causal is not None:
        return rows * 0, tl.where(inside, rows + 1, 0)
    elif call.start is not None:
        at = batch * call.span_strides[0] + head * call.span_strides[1]
        start = tl.load(call.start + at + rows, mask=inside, other=0)
        return start, tl.load(call.stop + at + rows, mask=inside, other=0)
    else:
        return rows * 0, tl.where(inside, call.keys, 0)


@triton.jit
def reach(call, rows, start, stop):
    """Return of a tile the first key that a row sees and the one after the last, then the same of what all rows see."""
    filled = stop > start
    first = tl.min(tl.where(filled, start, call.keys), 0)
    last = tl.max(tl.where(filled, stop, 0), 0)
    inside = rows < call.queries
    return first, last, tl.max(tl.where(inside, start, 0), 0), tl.min(tl.where(inside, stop, call.keys), 0)


@triton.jit
def _hides(call, head, row_begin, row_end, begin, end):
    """Return whether the position bias hides a key in `begin … end - 1` from a row in `row_begin … row_end - 1`."""
    CHUNK: tl.constexpr = 1024
    first = begin - (row_end - 1) + call.queries - 1
    last = end - row_begin + call.queries - 1
    found = 0
    for at in range(tl.maximum(first, 0), last, CHUNK):
        place = at + tl.arange(0, CHUNK)
        bias = tl.load(call.position + head * call.position_stride + place, mask=place < last, other=0.0)
        found = tl.maximum(found, tl.max((bias == float("-inf")).to(tl.int32), 0))
    return found


@triton.jit
def blocks(call, head, rows, start, stop, BN: tl.constexpr):
    """Return `begin, full_begin, full_end, end`, the keys that a tile of queries visits in blocks of `BN`.

    All but `end` are multiples of `BN`. Blocks in `full_begin … full_end` need no mask, and nothing hides a key there;
    there are none with a dense mask or bias, and none where a position bias of -inf is about.
    """
    first, last, full_first, full_last = reach(call, rows, start, stop)
    begin = first // BN * BN
    full_begin = tl.maximum(tl.cdiv(full_first, BN) * BN, begin)
    full_end = full_last // BN * BN
    if call.mask is not None:
        full_end = full_begin * 0
    if call.bias is not None:
        full_end = full_begin * 0
    if call.position is not None:
        row_begin = tl.min(rows, 0)
        row_end = tl.minimum(tl.max(rows, 0) + 1, call.queries)
        full_end = tl.where(_hides(call, head, row_begin, row_end, first, last) > 0, 0, full_end)
    some = full_begin < full_end
    return begin, tl.where(some, full_begin, begin), tl.where(some, full_end, begin), last


@triton.jit
def seen(call, batch, head, row, column, start, stop):
    """Return which keys may be seen by the mask. Rows and columns broadcast against each other, in either order."""
    visible = (column >= start) & (column < stop)
    if call.mask is not None:
        at = batch * call.mask_strides[0] + head * call.mask_strides[1]
        place = row.to(tl.int64) * call.mask_strides[2] + column.to(tl.int64) * call.mask_strides[3]
        visible = visible & (tl.load(call.mask + at + place, mask=visible, other=0) != 0)
    return visible
