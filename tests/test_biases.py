"""Position biases against their definitions, entry by entry."""

import math
from dataclasses import dataclass

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import regard
from regard.biases import ALiBi, PositionBias, RelativeBias, T5Bias, alibi_slopes, distances
from regard.errors import ArgumentError, DtypeError, ShapeError


@given(st.integers(0, 9), st.integers(0, 9))
def test_distances_are_key_minus_query_position(queries: int, keys: int) -> None:
    """Entry j - i + L - 1 holds j - (i + S - L): the last query stands on the last key."""
    vector = distances(queries, keys)
    assert vector.shape == (max(queries + keys - 1, 0),)
    for i in range(queries):
        for j in range(keys):
            assert vector[j - i + queries - 1] == j - (i + keys - queries)


def test_alibi_slopes_of_a_power_of_two() -> None:
    """8 heads: 1/2, 1/4, ... 1/256, as printed in the paper."""
    assert alibi_slopes(8).tolist() == [2.0**-h for h in range(1, 9)]
    assert alibi_slopes(16).tolist() == pytest.approx([2.0 ** (-h / 2) for h in range(1, 17)], rel=1e-6)


@pytest.mark.parametrize("heads", [1, 3, 5, 6, 7, 12, 20, 25])
def test_alibi_slopes_of_other_head_counts(heads: int) -> None:
    """The lower power of two comes whole; the rest is every second slope of the higher one."""
    power = 1
    while power * 2 <= heads:
        power *= 2
    slopes = alibi_slopes(heads).tolist()
    assert slopes[:power] == alibi_slopes(power).tolist()
    assert slopes[power:] == alibi_slopes(2 * power).tolist()[0::2][: heads - power]
    assert len(set(slopes)) == heads


@given(st.integers(1, 6), st.integers(1, 6))
def test_alibi_is_minus_slope_times_distance(queries: int, keys: int) -> None:
    """Each entry of the vector, for slopes given in all three forms."""
    slopes = [0.5, 0.25, 3.0]
    for bias in (ALiBi(slopes), ALiBi(torch.tensor(slopes))):
        vector = bias.vector(queries, keys, "cpu")
        for head, slope in enumerate(slopes):
            for i in range(queries):
                for j in range(keys):
                    assert vector[head, j - i + queries - 1] == -slope * abs(j - (i + keys - queries))
    assert torch.equal(ALiBi(4).vector(queries, keys, "cpu"), ALiBi(alibi_slopes(4)).vector(queries, keys, "cpu"))


def t5_bucket(distance: int, buckets: int, bidirectional: bool, far: int) -> int:
    """Write the rule of the paper down for one distance: half exact, half logarithmic up to `far`."""
    first = 0
    if bidirectional:
        buckets //= 2
        first = buckets if distance > 0 else 0
        distance = abs(distance)
    else:
        distance = max(-distance, 0)
    exact = buckets // 2
    if distance < exact:
        return first + distance
    steps = math.log(distance / exact) / math.log(far / exact) * (buckets - exact)
    return first + min(exact + int(steps + 1e-6), buckets - 1)  # 1e-6: whole steps, which float32 may just miss


@pytest.mark.parametrize("bidirectional", [True, False])
@pytest.mark.parametrize(("buckets", "far"), [(32, 128), (16, 64), (8, 20)])
def test_t5_buckets(buckets: int, far: int, bidirectional: bool) -> None:
    """Every distance up to three times the farthest falls where the rule says."""
    bias = T5Bias(torch.zeros(buckets, 2), bidirectional=bidirectional, max_distance=far)
    asked = torch.arange(-3 * far, 3 * far)
    expected = [t5_bucket(distance, buckets, bidirectional, far) for distance in asked.tolist()]
    found = bias.bucket(asked).tolist()
    # On a boundary between two buckets, float32 may round either way: one step apart, and only there.
    wrong = [d for d, a, b in zip(asked.tolist(), found, expected, strict=True) if a != b]
    assert all(abs(found[d + 3 * far] - expected[d + 3 * far]) == 1 for d in wrong)
    assert len(wrong) <= 2 * (buckets // 4)
    assert set(found) == set(expected)


def test_t5_vector_reads_the_weight_and_carries_its_gradient() -> None:
    """Each entry is the weight of its bucket; the gradient counts how often a bucket was read."""
    weight = torch.randn(8, 3, requires_grad=True)
    bias = T5Bias(weight, max_distance=20)
    vector = bias.vector(4, 6, "cpu")
    bucket = bias.bucket(distances(4, 6))
    assert torch.equal(vector, weight.detach()[bucket].t())
    vector.sum().backward()
    assert weight.grad is not None
    assert torch.equal(weight.grad[:, 0], torch.bincount(bucket, minlength=8).float())


@given(st.integers(1, 5), st.integers(1, 5), st.sampled_from([1, 2]))
def test_relative_bias_in_the_call_is_the_dense_bias(queries: int, keys: int, heads: int) -> None:
    """A vector per head and the matrix that it stands for give one and the same output."""
    values = torch.randn(heads, queries + keys - 1, dtype=torch.float64)
    dense = torch.empty(heads, queries, keys, dtype=torch.float64)
    for i in range(queries):
        for j in range(keys):
            dense[:, i, j] = values[:, j - i + queries - 1]
    q, k, v = (torch.randn(2, 2, n, 3, dtype=torch.float64) for n in (queries, keys, keys))
    torch.testing.assert_close(
        regard.attention(q, k, v, bias=RelativeBias(values)), regard.attention(q, k, v, bias=dense)
    )


def test_a_bias_of_ones_own() -> None:
    """A subclass of PositionBias is enough for a new bias."""

    class Ahead(PositionBias):
        def vector(self, num_queries: int, num_keys: int, device: torch.device | str) -> torch.Tensor:
            return torch.where(distances(num_queries, num_keys, device) == 1, 100.0, 0.0)[None]

    values = torch.eye(4)
    out = regard.attention(values, torch.zeros(4, 4), values, bias=Ahead())
    assert out.argmax(-1).tolist()[:3] == [1, 2, 3]


@pytest.mark.parametrize("queries", [0, 2])
@pytest.mark.parametrize("keys", [0, 2])
def test_biases_of_empty_sizes(queries: int, keys: int) -> None:
    """No queries, no keys or neither: a vector of the length the rule says, and a call that works."""
    for bias in (ALiBi(2), T5Bias(torch.randn(8, 2)), RelativeBias(torch.randn(1, max(queries + keys - 1, 0)))):
        assert bias.vector(queries, keys, "cpu").shape[-1] == max(queries + keys - 1, 0)
        q, kv = torch.randn(2, queries, 3), torch.randn(2, keys, 3)
        out = regard.attention(q, kv, kv, bias=bias)
        assert out.shape == (2, queries, 3)
        assert keys > 0 or not out.any()


def test_errors_of_biases() -> None:
    """What cannot be is refused when the bias is made, or when its sizes meet the call."""
    with pytest.raises(ShapeError, match=r"shape \(2, 5\); num_queries=2 and num_keys=3 need .* = \(H, 4\)"):
        RelativeBias(torch.zeros(2, 5)).vector(2, 3, "cpu")
    with pytest.raises(ArgumentError, match="num_heads is 0; it must be a whole number >= 1"):
        alibi_slopes(0)
    with pytest.raises(ShapeError, match=r"slopes has shape \(1, 2\); .* \(H,\)"):
        ALiBi(torch.zeros(1, 2))
    with pytest.raises(DtypeError, match=r"slopes is a int64 .* floating"):
        ALiBi(torch.tensor([1, 2]))
    with pytest.raises(ShapeError, match=r"weight has shape \(8,\); the rule .* is \(num_buckets, H\)"):
        T5Bias(torch.zeros(8))
    with pytest.raises(ArgumentError, match=r"2 buckets; .* at least 4"):
        T5Bias(torch.zeros(2, 1))
    with pytest.raises(ArgumentError, match=r"at least 2"):
        T5Bias(torch.zeros(1, 1), bidirectional=False)
    with pytest.raises(ArgumentError, match=r"max_distance is 8; .* more than 8"):
        T5Bias(torch.zeros(32, 1), max_distance=8)
    q = torch.zeros(3, 4, 2)
    with pytest.raises(ShapeError, match=r"shape \(2, 7\); 3 heads and these lengths need \(1 or 3, L \+ S - 1 = 7\)"):
        regard.attention(q, q, q, bias=ALiBi(2))


def test_a_bias_of_ones_own_is_checked() -> None:
    """A subclass that gives a wrong vector is found out by the call."""

    @dataclass
    class Given(PositionBias):
        values: torch.Tensor

        def vector(self, num_queries: int, num_keys: int, device: torch.device | str) -> torch.Tensor:
            return self.values

    q = torch.zeros(3, 4, 2)
    for shape in ((3, 6), (7,), (1, 3, 7)):
        with pytest.raises(ShapeError, match=r"The position bias is a vector of shape .* = 7\)"):
            regard.attention(q, q, q, bias=Given(torch.zeros(shape)))
    with pytest.raises(DtypeError, match=r"The position bias is torch\.int64"):
        regard.attention(q, q, q, bias=Given(torch.zeros(1, 7).long()))
