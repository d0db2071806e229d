"""Which weights dropout keeps: random numbers that depend on the seed and the place alone.

Philox4x32 with 7 rounds (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3", table 2: the fewest
rounds that pass every test there). One counter gives four words; word `w` of counter `(16·(j // 64) + j % 16, row,
head)` decides about key column `j` with `w = j % 64 // 16`, so sixteen counters fill 64 columns in order, which suits
vector units. Nothing depends on the device, on threads or on how the matrix is cut into blocks.
"""

from __future__ import annotations

import torch
from torch import Tensor

ROUNDS = 7
_LOW = 0xFFFFFFFF
_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_WEYL = (0x9E3779B9, 0xBB67AE85)


def threshold(dropout: float) -> int:
    """Return the 32-bit word below which a weight is dropped."""
    return min(int(dropout * 2**32 + 0.5), _LOW)


def keep(seed: Tensor, heads: Tensor, rows: Tensor, columns: slice, dropout: float) -> Tensor:
    """Return True where a weight is kept: bool `(*heads.shape, len(rows), columns)`.

    `heads` counts batch and head together, `b · H + h`; `rows` is a vector; `columns` has plain bounds. Costs a
    quarter of a counter per column: about 25 bytes of integers for each of them while it runs.
    """
    first, last = columns.start // 64, -(-columns.stop // 64)
    counters = torch.arange(16 * first, 16 * last, device=heads.device)
    row, head = rows[:, None], heads[..., None, None]
    words = _philox((counters, row, head, torch.zeros_like(row)), seed & _LOW, (seed >> 32) & _LOW)
    kept = torch.stack([word.unflatten(-1, (last - first, 16)) >= threshold(dropout) for word in words], -2)
    return kept.flatten(-3)[..., columns.start - 64 * first : columns.stop - 64 * first]


_Words = tuple[Tensor, Tensor, Tensor, Tensor]


def _philox(x: _Words, key0: Tensor, key1: Tensor) -> _Words:
    for round_ in range(ROUNDS):
        high0, low0 = _multiply(x[0], _MULTIPLIERS[0])
        high1, low1 = _multiply(x[2], _MULTIPLIERS[1])
        k0 = (key0 + round_ * _WEYL[0]) & _LOW
        k1 = (key1 + round_ * _WEYL[1]) & _LOW
        x = (high1 ^ x[1] ^ k0, low1, high0 ^ x[3] ^ k1, low0)
    return x


def _multiply(x: Tensor, factor: int) -> tuple[Tensor, Tensor]:  # (high, low) words
    # 32 x 32 bits in signed 64: the product is cut in two so that it never overflows.
    low = x * (factor & 0xFFFF)
    high = x * (factor >> 16)
    total = low + ((high & 0xFFFF) << 16)
    return (high >> 16) + (total >> 32), total & _LOW
