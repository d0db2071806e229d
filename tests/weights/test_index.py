"""Indexing the lazy matrix is indexing the matrix, and costs what is asked for."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import regard
from regard import AttentionWeights, errors
from regard._inputs import AttentionInputs, AttentionResult, Spans

SHAPE = (2, 3, 5, 7)


def weights_of(rank: int = 4) -> AttentionWeights:
    """Return causal weights of `SHAPE`, or of its last dimensions."""
    make = torch.Generator().manual_seed(1)
    q, k = (torch.randn(2, 3, n, 4, generator=make)[(0,) * (4 - rank)] for n in SHAPE[2:])
    return regard.attention(q, k, k, causal=True, need_weights=True)[1]


WEIGHTS = {rank: weights_of(rank) for rank in (2, 3, 4)}


def one_dimension(size: int) -> st.SearchStrategy[object]:
    """Draw what can stand for one dimension."""
    place = st.integers(-size, size - 1)
    bound = st.none() | st.integers(-size - 2, size + 2)
    several = st.lists(place, min_size=0, max_size=4)
    return (
        place
        | st.builds(slice, bound, bound, st.none() | st.integers(1, 3))
        | several
        | several.map(lambda p: torch.tensor(p, dtype=torch.long))
        | several.map(lambda p: np.array(p, dtype=np.int64))
        | place.map(torch.tensor)
        | st.tuples(place, place, place, place).map(lambda p: torch.tensor(p).view(2, 2))
        | st.lists(st.booleans(), min_size=size, max_size=size).map(torch.tensor)
    )


@st.composite
def indices(draw: st.DrawFn) -> tuple[int, object]:
    """Draw a rank and an index: parts for some of the dimensions, with None and an ellipsis somewhere."""
    rank = draw(st.sampled_from([2, 3, 4]))
    sizes = SHAPE[4 - rank :]
    first, last = draw(st.integers(0, rank)), draw(st.integers(0, rank))
    parts = [draw(one_dimension(size)) for size in sizes[:first]]
    if last >= first:
        if last > first or draw(st.booleans()):
            parts.append(Ellipsis)
        parts += [draw(one_dimension(size)) for size in sizes[last:]] if parts[first:] else []
    for _ in range(draw(st.integers(0, 2))):
        parts.insert(draw(st.integers(0, len(parts))), None)
    return rank, parts[0] if len(parts) == 1 and draw(st.booleans()) else tuple(parts)


@settings(max_examples=200)
@given(indices())
def test_every_index_is_that_of_the_matrix(drawn: tuple[int, object]) -> None:
    """Whatever torch makes of an index of the whole matrix, the lazy one makes too: shape, numbers or refusal."""
    rank, index = drawn
    weights = WEIGHTS[rank]
    whole = weights.dense()
    try:
        expected = whole[index]  # type: ignore[index]
    except (IndexError, ValueError, TypeError):
        with pytest.raises((IndexError, ValueError)):
            weights[index]
        return
    torch.testing.assert_close(weights[index], expected, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize(
    "index",
    [
        torch.rand(SHAPE, generator=torch.Generator().manual_seed(2)) > 0.7,
        (torch.tensor([[True, False, True], [False, False, True]]), 2),
        (slice(None), torch.tensor([0, 2]), None, torch.tensor([4, 1]), torch.tensor([6, 0])),
        (0, slice(None), torch.tensor([1, 3]), torch.tensor([1, 3])),
        (torch.tensor([1, 0]), slice(None), torch.tensor([1, 3]), torch.tensor([1, 3])),
        (..., torch.tensor([[0], [3]]), torch.tensor([2, 0, 5])),
        (..., torch.arange(5), None, torch.arange(5)),
        True,
        (False, 0),
        torch.tensor(True),
    ],
    ids=str,
)
def test_particular_indices(index: object) -> None:
    """Masks over several dimensions, diagonals, and positions set apart by None go where torch puts them."""
    torch.testing.assert_close(WEIGHTS[4][index], WEIGHTS[4].dense()[index], atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("index", [2, (0, 3), (..., 7), (..., -6, 0), (0, 0, 0, 0, 0), (..., ..., 0), ([5], 0, 0, 0)])
def test_outside_is_an_index_error(index: object) -> None:
    """Positions outside and too many parts are refused."""
    with pytest.raises(IndexError):
        WEIGHTS[4][index]


def test_wrong_kinds_are_explained() -> None:
    """A name, a float, a byte mask, a step backwards and an array without a copy say what to give instead."""
    with pytest.raises(IndexError, match=r"'entrop' is no index.*Did you mean 'entropy'"):
        WEIGHTS[4]["entrop"]
    with pytest.raises(IndexError, match="is no index"):
        WEIGHTS[4][1.5]
    with pytest.raises(IndexError, match="bool with True where wanted"):
        WEIGHTS[4][torch.ones(2, dtype=torch.uint8)]
    with pytest.raises(ValueError, match="step must be positive"):
        WEIGHTS[4][..., ::-1]
    with pytest.raises(ValueError, match="without a copy"):
        WEIGHTS[4].__array__(copy=False)


def test_matrix_that_does_not_fit_is_refused_but_can_be_looked_at() -> None:
    """A matrix of a terabyte is refused with what to use instead; rows, single entries and diagonals are not."""
    n = 1 << 19
    q = torch.randn(1, 1, n, 2)
    spans = Spans(*regard.masks.window(4, 0).resolve(n, n)[:2])
    inputs = AttentionInputs(q, q, q, 1.0, spans, need_weights=True)
    weights = AttentionWeights.of_call(inputs, AttentionResult(q), 2)
    for look in (weights.dense, weights.numpy, lambda: weights[:], lambda: np.asarray(weights)):
        with pytest.raises(errors.TooLargeError, match=r"need 1\.0 TiB.*\.pooled\(cell\)"):
            look()
    row = weights[n - 1]
    assert row.shape == (n,)
    assert torch.allclose(row.sum(), torch.tensor(1.0))
    assert int((row > 0).sum()) == 5
    assert weights[torch.arange(n), torch.arange(n)].shape == (n,)
    assert "1.0 TiB if dense" in repr(weights)


def test_bound_can_be_given() -> None:
    """`max_bytes` is obeyed to the byte."""
    weights = WEIGHTS[4]
    count = 2 * 3 * 5 * 7 * 4
    assert weights.dense(max_bytes=count).shape == SHAPE
    with pytest.raises(errors.TooLargeError, match="the bound is 839 bytes"):
        weights.dense(max_bytes=count - 1)


def test_head_is_a_lazy_view() -> None:
    """One head of grouped heads reads its own key head, at any place, and keeps masks and biases."""
    q, k = torch.randn(2, 4, 6, 4), torch.randn(2, 2, 8, 4)
    _, weights = regard.attention(q, k, k, causal=True, bias=regard.biases.ALiBi(4), need_weights=True)
    dense = weights.dense()
    for b in range(2):
        for h in range(-4, 4):
            assert torch.allclose(weights.head(b, h).dense(), dense[b, h], atol=1e-6)
            assert torch.allclose(weights.head(b, h).entropy(), weights.entropy()[b, h], atol=1e-5)
    weighted = weights.value_weighted()
    assert torch.allclose(weighted.head(1, 2).entropy(), weighted.entropy()[1, 2], atol=1e-5)


def test_repr_names_the_ways_to_look() -> None:
    """The text says the shape, what the whole would cost, and that it is not stored."""
    text = repr(WEIGHTS[4])
    assert text.startswith("AttentionWeights(shape=(2, 3, 5, 7), dtype=float32)  # not stored: 840 bytes if dense")
    assert "[0, 0, 0]" in text
    assert ".pooled(64)" in text
