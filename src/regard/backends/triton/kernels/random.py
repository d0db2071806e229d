"""Which weights dropout keeps: to the bit what `backends/_philox.py` says, computed where the tile is."""

import triton
import triton.language as tl


@triton.jit
def _words(seed, c0, c1, c2):
    """Return the four words of Philox4x32 with 7 rounds for counters `(c0, c1, c2, 0)`."""
    k0 = (seed & 0xFFFFFFFF).to(tl.uint32)
    k1 = ((seed >> 32) & 0xFFFFFFFF).to(tl.uint32)
    c3 = c0 * 0
    for _ in tl.static_range(7):
        high0, low0 = tl.umulhi(c0, 0xD2511F53), c0 * 0xD2511F53
        high1, low1 = tl.umulhi(c2, 0xCD9E8D57), c2 * 0xCD9E8D57
        c0 = high1 ^ c1 ^ k0
        c1 = low1
        c2 = high0 ^ c3 ^ k1
        c3 = low0
        k0 += 0x9E3779B9
        k1 += 0xBB67AE85
    return c0, c1, c2, c3


@triton.jit
def keep(call, item, rows, first, BM: tl.constexpr, BN: tl.constexpr):
    """Return True where a weight is kept, `(BM, BN)`, for keys from `first` on, a multiple of `BN`: 32, 64, 128, ...

    A counter gives words for the columns c, c + 16, c + 32 and c + 48 of 64, so four weights come at the price of one.
    """
    WIDE: tl.constexpr = BN if BN >= 64 else 64
    counters = (first // 64 * 16 + tl.arange(0, WIDE // 4)).to(tl.uint32)
    wide = tl.zeros((BM, WIDE // 4), tl.uint32)
    rows_of_tile = wide + rows.to(tl.uint32)[:, None]
    w0, w1, w2, w3 = _words(tl.load(call.seed), wide + counters[None, :], rows_of_tile, wide + item.to(tl.uint32))
    if BN >= 64:
        pairs = tl.reshape(tl.join(tl.join(w0, w1), tl.join(w2, w3)), (BM, BN // 64, 16, 2, 2))
        words = tl.reshape(tl.permute(pairs, (0, 1, 4, 3, 2)), (BM, BN))
    else:
        second = first % 64 != 0
        pairs = tl.join(tl.where(second, w2, w0), tl.where(second, w3, w1))
        words = tl.reshape(tl.permute(pairs, (0, 2, 1)), (BM, BN))
    return words >= tl.full((), call.threshold, tl.uint32)
