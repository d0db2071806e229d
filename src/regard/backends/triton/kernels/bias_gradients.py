"""Gradients of biases: those of the scores themselves, stored (dense) or summed along diagonals (by position).

A tile of N queries and N keys touches 2 N - 1 diagonals, and the next tile to the right the last N - 1 of these again:
what a program has summed of them it carries along, and writes each of its diagonals once. `along` adds the programs.
"""

import triton
import triton.language as tl

from .gradients import grad_scores, row_statistics, rows_of_call
from .random import keep
from .scores import load_rows
from .visibility import blocks, place, row_spans


@triton.jit
def _diagonals(slope, N: tl.constexpr):
    """Return the sums of a square tile along its diagonals, `(2, N)`: entry d is of column - row = d - (N - 1)."""
    wide = tl.arange(0, 2 * N)
    column = wide[None, :] - (N - 1) + tl.arange(0, N)[:, None]
    turned = tl.gather(slope, tl.minimum(tl.maximum(column, 0), N - 1), 1)
    turned = tl.where((column >= 0) & (column < N), turned, 0.0)
    return tl.split(tl.trans(tl.reshape(tl.sum(turned, 0), (2, N))))


@triton.jit
def bias_gradients(
    call, grad_output, grad_strides, stats, dense, diagonals,
    E: tl.constexpr, EV: tl.constexpr, BE: tl.constexpr, BEV: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr,
):  # fmt: skip
    """Write the gradients of the scores that a tile of queries sees.

    `dense` is float32 `(B, H, L, S)`, `diagonals` `(items, tiles, S + 2 BN)`, both filled with zeros; either may be
    None. With `diagonals` BM and BN are the same.
    """
    tiles = tl.cdiv(call.queries, BM)
    item = tl.program_id(0) // tiles
    rows = tl.program_id(0) % tiles * BM + tl.arange(0, BM)
    batch, head, group = place(call, item)
    at = (item, batch, head, group)
    q, grad = rows_of_call(call, grad_output, grad_strides, at, rows, E, EV, BE, BEV)
    of_rows = row_statistics(call, stats, item, rows)
    spans = row_spans(call, batch, head, rows)
    begin, full_begin, full_end, end = blocks(call, head, rows, spans[0], spans[1], BN)
    keys = call.key + batch * call.key_strides[0] + group * call.key_strides[1]
    values = call.value + batch * call.value_strides[0] + group * call.value_strides[1]
    carried = tl.zeros((BN,), tl.float32)
    line = tl.program_id(0).to(tl.int64) * (call.keys + 2 * BN) + tl.arange(0, BN)
    for first in range(begin, end, BN):
        columns = first + tl.arange(0, BN)
        k = load_rows(keys, call.key_strides[2], columns, call.keys, E, BE, False)
        v = load_rows(values, call.value_strides[2], columns, call.keys, EV, BEV, False)
        kept = None
        if call.seed is not None:
            kept = keep(call, item, rows, first, BM, BN)
        p, slope, product, visible = grad_scores(
            call, at, q, grad, k, v, of_rows, spans, rows, columns, kept, True, False
        )
        if dense is not None:
            to = (item.to(tl.int64) * call.queries + rows)[:, None] * call.keys + columns[None, :]
            tl.store(dense + to, slope, mask=visible)
        if diagonals is not None:
            low, high = _diagonals(slope, BN)
            tl.store(diagonals + line + first, low + carried)
            carried = high
    if diagonals is not None:
        tl.store(diagonals + line + tl.cdiv(end, BN) * BN, carried)


@triton.jit
def along(call, diagonals, found, items, heads_of_bias, BM: tl.constexpr, CHUNK: tl.constexpr):
    """Write the gradient of a chunk of distances of one head's position bias: over all that share it, in order."""
    distances = call.queries + call.keys - 1
    chunks = tl.cdiv(distances, CHUNK)
    head = tl.program_id(0) // chunks
    place_of = tl.program_id(0) % chunks * CHUNK + tl.arange(0, CHUNK)
    tiles = tl.cdiv(call.queries, BM)
    length = call.keys + 2 * BM
    total = tl.zeros((CHUNK,), tl.float32)
    for item in range(head, items, heads_of_bias):
        for tile in range(tiles):
            # The first row of the tile meets key j at entry j + BM - 1.
            entry = place_of - (call.queries - 1) + tile * BM + BM - 1
            at = (item * tiles + tile).to(tl.int64) * length + entry
            total += tl.load(diagonals + at, mask=(entry >= 0) & (entry < length), other=0.0)
    tl.store(found + head.to(tl.int64) * distances + place_of, total, mask=place_of < distances)
