"""Scores of a tile from the product of its queries and keys, in natural units or in those of the product.

Scores far from zero lose what sets them apart if they are multiplied by log2(e) first: the maximum is subtracted
before. Where a call has no bias and no cap, the scale waits until then, too, and costs nothing (`unit`).
"""

import triton
import triton.language as tl

INTERPRETED = tl.constexpr(bool(triton.knobs.runtime.interpret))
LOG2E = tl.constexpr(1.4426950408889634)
LN2 = tl.constexpr(0.6931471805599453)


@triton.jit
def dot(a, b):
    """Return the product of two tiles in float32. The interpreter multiplies bit patterns of bfloat16, so not there."""
    if INTERPRETED:
        a = a.to(tl.float32)
        b = b.to(tl.float32)
    return tl.dot(a, b, input_precision="ieee")


@triton.jit
def dot_into(total, a, b):
    """Return `total + a @ b`, as `dot`."""
    if INTERPRETED:
        a = a.to(tl.float32)
        b = b.to(tl.float32)
    return tl.dot(a, b, total, input_precision="ieee")


@triton.jit
def load_rows(base, stride, rows, limit, E: tl.constexpr, BE: tl.constexpr, WHOLE: tl.constexpr):
    """Return rows of a matrix whose columns lie side by side, `(rows, BE)`: 0 beyond `limit` and beyond column `E`.

    `WHOLE`: no row lies beyond the limit.
    """
    columns = tl.arange(0, BE)
    at = base + rows.to(tl.int64)[:, None] * stride + columns[None, :]
    if BE != E:
        inside = columns[None, :] < E
        if not WHOLE:
            inside = inside & (rows < limit)[:, None]
        return tl.load(at, mask=inside, other=0.0)
    elif WHOLE:
        return tl.load(at)
    else:
        return tl.load(at, mask=(rows < limit)[:, None] & (columns[None, :] < E), other=0.0)


@triton.jit
def finite(x):
    """Return the tile with zeros for NaN and infinity: what is hidden must not meet a weight of zero."""
    return tl.where(tl.abs(x.to(tl.float32)) < float("inf"), x, 0.0).to(x.dtype)


@triton.jit
def _tanh(x):
    # 1 - t cancels near 0, where five terms of the series are exact to a rounding.
    t = tl.exp2(tl.abs(x) * (-2 * LOG2E))
    y = (1 - t) / (1 + t)
    square = x * x
    series = 1 + square * (-1 / 3 + square * (2 / 15 + square * (-17 / 315 + square * (62 / 2835))))
    return tl.where(tl.abs(x) < 0.25, x * series, tl.where(x < 0, -y, y))


@triton.jit
def capped(call, product):
    """Return the product of queries and keys, scaled and capped."""
    score = product * call.scale
    if call.softcap is not None:
        score = call.softcap * _tanh(score / call.softcap)
    return score


@triton.jit
def slope_of_cap(call, product):
    """Return the derivative of the cap where it is applied to a product."""
    share = _tanh(product * call.scale / call.softcap)
    return 1 - share * share


@triton.jit
def bias_of(call, batch, head, row, column, inside):
    """Return what is added to the scores, and where that hides a key. Only for calls that have a bias."""
    total = tl.zeros_like(inside).to(tl.float32)
    hidden = ~(inside | True)
    if call.position is not None:
        at = head * call.position_stride + (column - row + call.queries - 1)
        bias = tl.load(call.position + at, mask=inside, other=0.0).to(tl.float32)
        total += bias
        hidden = hidden | (bias == float("-inf"))
    if call.bias is not None:
        at = batch * call.bias_strides[0] + head * call.bias_strides[1]
        place = row.to(tl.int64) * call.bias_strides[2] + column.to(tl.int64) * call.bias_strides[3]
        bias = tl.load(call.bias + at + place, mask=inside, other=0.0).to(tl.float32)
        total += bias
        hidden = hidden | (bias == float("-inf"))
    return total, hidden


@triton.jit
def scores(call, product, batch, head, row, column, visible):
    """Return the scores of a tile in natural units, and what may be seen of it: less than by the mask, if a bias hides.

    `visible` also says which places lie inside the matrix. What is hidden is not set here.
    """
    score = capped(call, product)
    if call.position is not None:
        bias, hidden = bias_of(call, batch, head, row, column, visible)
        score += bias
        visible = visible & ~hidden
    elif call.bias is not None:
        bias, hidden = bias_of(call, batch, head, row, column, visible)
        score += bias
        visible = visible & ~hidden
    return score, visible


@triton.jit
def unit(call):
    """Return by what a difference of `unit_scores` becomes an exponent of 2."""
    if call.factor is not None:
        return call.factor
    else:
        return LOG2E


@triton.jit
def unit_scores(call, product, batch, head, row, column, visible):
    """Return the same as `scores`, in the unit of the product where that is all there is to it."""
    if call.factor is not None:
        return product, visible
    else:
        return scores(call, product, batch, head, row, column, visible)
