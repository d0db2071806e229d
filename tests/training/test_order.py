"""The order of the data: a pure function of seed and step, with little padding."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from regard.errors import ArgumentError
from regard.training import DataOrder
from regard.training.order import check_lengths, cut, padded, split

LENGTHS = st.lists(st.integers(1, 60), min_size=1, max_size=120)


@given(LENGTHS, st.integers(1, 200), st.integers(0, 5), st.integers(0, 3))
def test_an_epoch_holds_every_example_once(lengths: list[int], tokens: int, seed: int, epoch: int) -> None:
    """However steps are cut, each example is learnt from once an epoch, and no step is empty."""
    order = DataOrder(lengths, tokens, seed)
    windows = [order.examples(epoch * order.steps_per_epoch + step) for step in range(order.steps_per_epoch)]
    assert sorted(np.concatenate(windows).tolist()) == list(range(len(lengths)))
    assert all(len(window) for window in windows)


@given(LENGTHS, st.integers(1, 200), st.integers(0, 40), st.integers(0, 40))
def test_a_jump_is_a_walk(lengths: list[int], tokens: int, first: int, then: int) -> None:
    """A step's examples do not depend on earlier calls."""
    walked, jumped = DataOrder(lengths, tokens, 0), DataOrder(lengths, tokens, 0)
    walked.examples(first)
    assert walked.examples(then).tolist() == jumped.examples(then).tolist()


@given(LENGTHS, st.integers(60, 400), st.integers(1, 5), st.integers(1, 200))
def test_dealing_out(lengths: list[int], at_once: int, processes: int, tokens: int) -> None:
    """Dividing a step among passes and processes loses no example, and no pass is too large."""
    order = DataOrder(lengths, tokens, 0)
    window = order.examples(0)
    parts = split(window, order.lengths, at_once, processes)
    assert sorted(np.concatenate(parts).tolist()) == sorted(window.tolist())
    assert len(parts) % processes == 0
    assert all(padded(part, order.lengths) <= at_once for part in parts)


@given(LENGTHS, st.integers(1, 20))
def test_cut(lengths: list[int], parts: int) -> None:
    """A row cut in parts stays in order, and each part has something if there is enough."""
    row = np.arange(len(lengths))
    cuts = cut(row, np.array(lengths), parts)
    assert np.concatenate(cuts).tolist() == row.tolist()
    assert len(cuts) == parts
    assert len(lengths) < parts or all(len(part) for part in cuts)


def test_little_padding() -> None:
    """Sorted by length in pools, over 85 % of what is computed are real tokens; unsorted, half."""
    lengths = np.random.default_rng(0).geometric(1 / 30, 4000)
    order = DataOrder(lengths.tolist(), 2048, 0)
    real = sum(int(order.lengths[order.examples(step)].sum()) for step in range(order.steps_per_epoch))
    computed = sum(padded(order.examples(step), order.lengths) for step in range(order.steps_per_epoch))
    assert real / computed > 0.85
    unsorted = np.split(np.arange(4000), range(64, 4000, 64))
    assert real / sum(padded(part, order.lengths) for part in unsorted) < 0.5


def test_epochs_differ() -> None:
    """Another epoch, or another seed, has other steps."""
    lengths = list(range(1, 60)) * 4
    first = [DataOrder(lengths, 300, seed).examples(step).tolist() for seed in (0, 1) for step in (0, 24, 48)]
    assert len({tuple(window) for window in first}) == 6


@pytest.mark.parametrize(("lengths", "message"), [([], "no examples"), ([3, 0, 2], "Example 1 has no tokens")])
def test_bad_lengths(lengths: list[int], message: str) -> None:
    """Nothing to learn from is said in words."""
    with pytest.raises(ArgumentError, match=message):
        DataOrder(lengths, 10, 0)


def test_too_long() -> None:
    """An example that fits into no pass is named."""
    with pytest.raises(ArgumentError, match="Example 1 has 30 tokens, more than tokens_at_once=20"):
        check_lengths(np.array([3, 30]), 20)
