"""The random numbers of dropout: against known answers, a second way to write them, and what chance allows."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from regard import reference
from regard.backends import _philox
from regard.backends._philox import keep, threshold

# Known answers published with the generator (Random123, kat_vectors): counter, key, words; for 7 and 10 rounds.
PI = ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0")
KNOWN = {
    (7, "zeros"): ("00000000 " * 4, "00000000 " * 2, "5f6fb709 0d893f64 4f121f81 4f730a48"),
    (7, "ones"): ("ffffffff " * 4, "ffffffff " * 2, "5207ddc2 45165e59 4d8ee751 8c52f662"),
    (7, "pi"): (*PI, "4dfccaba 190a87f0 c47362ba b6b5242a"),
    (10, "zeros"): ("00000000 " * 4, "00000000 " * 2, "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    (10, "ones"): ("ffffffff " * 4, "ffffffff " * 2, "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    (10, "pi"): (*PI, "d16cfe09 94fdcceb 5001e420 24126ea1"),
}


def words(text: str) -> list[int]:
    """Read words written in hexadecimal."""
    return [int(word, 16) for word in text.split()]


def scalar_philox(counter: list[int], key: list[int], rounds: int) -> list[int]:
    """Write Philox4x32 in plain Python, whose integers cannot overflow."""
    x, k = list(counter), list(key)
    for _ in range(rounds):
        a, b = 0xD2511F53 * x[0], 0xCD9E8D57 * x[2]
        x = [b >> 32 ^ x[1] ^ k[0], b % 2**32, a >> 32 ^ x[3] ^ k[1], a % 2**32]
        k = [(k[0] + 0x9E3779B9) % 2**32, (k[1] + 0xBB67AE85) % 2**32]
    return x


def scalar_keep(seed: int, head: int, row: int, column: int, dropout: float) -> bool:
    """Decide about one weight."""
    counter = [column // 64 * 16 + column % 16, row, head, 0]
    word = scalar_philox(counter, [seed % 2**32, seed >> 32], 7)[column % 64 // 16]
    return word >= threshold(dropout)


@pytest.mark.parametrize("case", KNOWN, ids=str)
def test_known_answers(case: tuple[int, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The torch version, the NumPy version and the scalar one give the published words."""
    rounds = case[0]
    counter, key, expected = map(words, KNOWN[case])
    assert scalar_philox(counter, key, rounds) == expected
    arrays = tuple(np.array(word, dtype=np.uint64) for word in counter)
    assert [int(word) for word in reference.philox(arrays, key[0] | key[1] << 32, rounds)] == expected
    monkeypatch.setattr(_philox, "ROUNDS", rounds)
    tensors = tuple(torch.tensor(word) for word in counter)
    assert [int(word) for word in _philox._philox(tensors, *map(torch.tensor, key))] == expected  # type: ignore[arg-type]


@given(
    st.integers(0, 2**63 - 2), st.integers(0, 2**31), st.integers(0, 2**31), st.integers(0, 2**31), st.floats(0, 0.999)
)  # fmt: skip
def test_keep_decides_by_seed_and_place(seed: int, head: int, row: int, column: int, dropout: float) -> None:
    """A block that starts anywhere is decided as the scalar version decides each of its places."""
    heads, rows = torch.tensor([head, head + 1]), torch.tensor([row, row + 7])
    kept = keep(torch.tensor(seed), heads, rows, slice(column, column + 70), dropout)
    assert kept.shape == (2, 2, 70)
    for h in range(2):
        for r in range(2):
            for c in range(0, 70, 13):
                assert bool(kept[h, r, c]) == scalar_keep(seed, head + h, row + 7 * r, column + c, dropout)


@given(st.integers(0, 2**63 - 2), st.floats(0.001, 0.999), st.integers(1, 4), st.integers(1, 5), st.integers(1, 150))
def test_the_textbook_keeps_the_same(seed: int, dropout: float, heads: int, rows: int, columns: int) -> None:
    """NumPy and torch decide alike."""
    kept = keep(torch.tensor(seed), torch.arange(heads), torch.arange(rows), slice(0, columns), dropout)
    assert np.array_equal(kept.numpy(), reference.keep(seed, (heads, rows, columns), dropout))


def test_threshold() -> None:
    """The share of words below the threshold is the dropout, to 2^-32; no dropout drops nothing."""
    assert threshold(0.0) == 0
    assert threshold(0.5) == 2**31
    assert threshold(1 - 1e-12) == 2**32 - 1


@pytest.mark.parametrize("dropout", [0.1, 0.5, 0.9])
def test_the_share_that_is_dropped(dropout: float) -> None:
    """Over a million weights, and in every row, column and head, the share stays within what chance allows."""
    heads, rows, columns = 4, 512, 512
    kept = keep(torch.tensor(12345), torch.arange(heads), torch.arange(rows), slice(0, columns), dropout).double()
    spread = math.sqrt(dropout * (1 - dropout))
    for axes, count in (((0, 1, 2), heads * rows * columns), ((1, 2), rows * columns), ((2,), columns), ((1,), rows)):
        error = (kept.mean(axes) - (1 - dropout)).abs().max()
        assert error < 5.5 * spread / math.sqrt(count)


def test_neighbours_are_independent() -> None:
    """No correlation with the next column, row, head, the column 16 on (one counter), or the next seed."""

    def block(seed: int) -> torch.Tensor:
        return keep(torch.tensor(seed), torch.arange(3), torch.arange(512), slice(0, 512), 0.5).double() * 2 - 1

    kept, other = block(7), block(8)
    pairs = [
        (kept[..., 1:], kept[..., :-1]), (kept[..., 16:], kept[..., :-16]), (kept[..., 64:], kept[..., :-64]),
        (kept[:, 1:], kept[:, :-1]), (kept[1:], kept[:-1]), (kept, other), (kept, block(7 + 2**32)),
    ]  # fmt: skip
    for a, b in pairs:
        assert abs(float((a * b).mean())) < 5 / math.sqrt(a.numel())
