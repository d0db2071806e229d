"""The random numbers of dropout: the published generator, whatever the block."""

from __future__ import annotations

import pytest
import torch

from regard.backends._philox import _philox, keep, threshold

from ..conformance import oracle


def test_known_answer() -> None:
    """Zero counter and key give the first vector of the generator's published known answers for 7 rounds."""
    zero = torch.zeros((), dtype=torch.int64)
    words = _philox((zero, zero, zero, zero), zero, zero)
    assert [f"{int(word):08x}" for word in words] == ["5f6fb709", "0d893f64", "4f121f81", "4f730a48"]


def test_agrees_with_numpy() -> None:
    """The vectorised form agrees with one counter a place, with more than 32 bits of seed."""
    seed = 0x123456789ABCDEF
    kept = keep(torch.tensor(seed), torch.arange(6).view(2, 3), torch.arange(5), slice(0, 200), 0.3)
    expected = oracle.dropout_factor(seed, 0.3, (2, 3, 5, 200)) > 0
    assert torch.equal(kept, torch.from_numpy(expected))


@pytest.mark.parametrize(("first", "last"), [(0, 1), (63, 65), (64, 128), (5, 70), (130, 200)])
def test_any_block_is_a_cut(first: int, last: int) -> None:
    """A rectangle has the bits of the whole matrix."""
    heads, seed = torch.arange(2).view(1, 2), torch.tensor(99)
    whole = keep(seed, heads, torch.arange(9), slice(0, 200), 0.5)
    part = keep(seed, heads, torch.arange(3, 7), slice(first, last), 0.5)
    assert torch.equal(part, whole[:, :, 3:7, first:last])


@pytest.mark.parametrize("dropout", [0.001, 0.1, 0.5, 0.97])
def test_share_that_is_dropped(dropout: float) -> None:
    """The share of dropped weights lies within five standard deviations of the probability."""
    kept = keep(torch.tensor(4), torch.arange(1).view(1, 1), torch.arange(400), slice(0, 1000), dropout)
    assert abs((~kept).double().mean().item() - dropout) < 5 * (dropout * (1 - dropout) / kept.numel()) ** 0.5
    assert threshold(0.0) == 0
