"""Every summary of the lazy matrix equals the same sum over the whole matrix, worked out in float64."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

import regard
from regard import AttentionWeights
from regard.errors import ArgumentError, ShapeError
from tests.doors.models import Calls
from tests.weights.cases import CASES, LARGEST, QUESTIONS, Case, apart, pooled, tolerance


@pytest.fixture(params=CASES, ids=lambda case: case.name)
def case(request: pytest.FixtureRequest) -> Case:
    """Each kind of call."""
    return request.param  # type: ignore[no-any-return]


@pytest.fixture
def weights(case: Case) -> AttentionWeights:
    """Its weights, not looked at yet."""
    return case.call()[1]


@pytest.fixture
def expected(case: Case) -> Tensor:
    """The same worked out in float64."""
    return case.expected()


def close(found: Tensor, expected: Tensor, bound: float) -> None:
    """Fail unless the two agree in shape and everywhere within the bound; NaN never does."""
    assert found.shape == expected.shape
    assert found.isfinite().all()
    assert (found.double() - expected).abs().max() <= bound


def test_dense_and_product(case: Case, expected: Tensor) -> None:
    """The whole matrix is right, and its product with the values is the output."""
    output, weights = case.call()
    close(weights.dense(), expected, tolerance(case))
    values = case.tensors()[2].double().repeat_interleave(case.sizes[1] // case.groups, 1)
    close(weights @ case.tensors()[2], expected @ values, 10 * tolerance(case))
    if case.dtype in (torch.float32, torch.float64):
        close(weights @ case.tensors()[2], output.double(), 10 * tolerance(case))


@pytest.mark.parametrize("cell", [1, 5, (3, 70), 64, (1000, 1), (7, 1000)])
def test_pooled(case: Case, weights: AttentionWeights, expected: Tensor, cell: int | tuple[int, int]) -> None:
    """Mass is the mean over queries of the sum over keys, peak the maximum, in every cell, ragged ones too."""
    close(weights.pooled(cell), pooled(expected, cell), 4 * tolerance(case))
    close(weights.pooled(cell, kind="peak"), pooled(expected, cell, "peak"), tolerance(case))


def test_pooled_rectangle(case: Case, weights: AttentionWeights, expected: Tensor) -> None:
    """Cells of a rectangle begin at its corner."""
    part = case.expected()[..., 3:9, 1:5]
    found = weights.pooled((4, 3), rows=slice(3, 9), columns=slice(1, -case.sizes[3] + 5 or None))
    close(found, pooled(part, (4, 3)), 4 * tolerance(case))


def test_entropy(case: Case, weights: AttentionWeights, expected: Tensor) -> None:
    """Entropy is in nats, 0 for a row that sees nothing; effective keys are its exponential, or 0."""
    entropy = -torch.special.xlogy(expected, expected).sum(-1)
    close(weights.entropy(), entropy, 20 * tolerance(case))
    keys = torch.where(expected.sum(-1) > 0, entropy.exp(), 0.0)
    close(weights.effective_keys() / case.sizes[3], keys / case.sizes[3], 20 * tolerance(case))


def test_received(case: Case, weights: AttentionWeights, expected: Tensor) -> None:
    """Received is the sum over queries; corrected it is the mean over the queries that may see the key."""
    close(weights.received(), expected.sum(2), case.sizes[2] * tolerance(case))
    count = case.seen().sum(2).clamp(min=1)
    close(weights.received(corrected=True), expected.sum(2) / count, 4 * tolerance(case))


def test_peak_and_top(case: Case, weights: AttentionWeights, expected: Tensor) -> None:
    """The largest weights come in order with their keys; keys that do not exist are -1 with weight 0."""
    k = min(6, case.sizes[3])
    top = weights.top(k)
    close(top.values, expected.topk(k).values, tolerance(case))
    there = expected.gather(-1, top.indices.clamp(min=0)).masked_fill(top.indices < 0, 0.0)
    close(there, expected.topk(k).values, tolerance(case))
    missing = (expected > 0).sum(-1, keepdim=True) <= torch.arange(k)
    assert torch.equal(top.indices < 0, missing)
    peak = weights.peak()
    close(peak.values, expected.amax(-1), tolerance(case))
    assert torch.equal(peak.indices, top.indices[..., 0])


def test_shares(case: Case, weights: AttentionWeights, expected: Tensor) -> None:
    """A share is the part of all attention on one diagonal, or on the first key that is seen."""
    seeing = (expected.sum(-1) > 0).sum(-1)
    far = apart(*case.sizes[2:4])
    for offset in (0, -1, 2, -case.sizes[3] + 1, 10_000):
        wanted = (expected * (far == offset)).sum((-1, -2)) / seeing
        close(weights.share(offset), wanted, 4 * tolerance(case))
    first = case.seen().any(2).int().argmax(-1)[..., None, None].expand(*expected.shape[:3], 1)
    close(weights.share("first"), expected.gather(3, first).sum((-1, -2)) / seeing, 4 * tolerance(case))


def test_distances(case: Case, weights: AttentionWeights, expected: Tensor) -> None:
    """Mean distance and profile follow key minus query; the bins cover every distance once and sum to 1."""
    far = apart(*case.sizes[2:4])
    close(weights.mean_distance(), (expected * far.abs()).sum(-1), 4 * case.sizes[3] * tolerance(case))
    seeing = (expected.sum(-1) > 0).sum(-1)
    for binned in (True, False):
        profile = weights.distance_profile(binned=binned)
        assert torch.equal(profile.start[1:], profile.stop[:-1])
        assert (int(profile.start[0]), int(profile.stop[-1])) == (1 - case.sizes[3], case.sizes[2])
        into = torch.bucketize(far.flatten(), profile.stop, right=True)
        wanted = torch.zeros(*case.sizes[:2], profile.stop.numel(), dtype=torch.float64)
        wanted = wanted.index_add(2, into, expected.flatten(2)) / seeing[..., None]
        close(profile.mass, wanted, 10 * tolerance(case))
        close(profile.mass.sum(-1), expected.sum((-1, -2)) / seeing, 10 * tolerance(case))


FAR = Case("far from zero", arguments={"bias": torch.full((1,), 500.0)})
CAPPED = Case("softcap and bias", arguments={"softcap": 1.0, "bias": torch.linspace(-2, 2, 53)})


@pytest.mark.parametrize("backend", ["native", "math"])
@pytest.mark.parametrize("case", [*CASES, FAR, CAPPED], ids=lambda case: case.name)
def test_max_scores(case: Case, backend: str) -> None:
    """The largest score of each row, capped, with the bias; without what is hidden, and without the sink."""
    found = case.call(backend if case.dtype != torch.float64 else "math")[1].max_scores()
    torch.testing.assert_close(found.double(), case.scores().amax(-1), rtol=1e-5, atol=1e-4)


def test_no_scores_after_values_are_weighed_in() -> None:
    """The norms of values are part of those weights."""
    query = torch.randn(1, 2, 5, 8)
    weights = regard.attention(query, query, query, need_weights=True)[1]
    for other in (weights.value_weighted(), weights.value_weighted(normalise=True)):
        with pytest.raises(ArgumentError, match="hold no scores"):
            other.max_scores()


def test_a_recording_knows_the_largest_scores(tmp_path: Path) -> None:
    """A summary keeps what they are made of, in a file too."""
    model, x = Calls(lambda x: regard.attention(x, x, x, causal=True)), torch.randn(1, 2, 20, 8)
    with regard.watch(model) as recording:
        model(x)
    expected = regard.attention(x, x, x, causal=True, need_weights=True)[1].max_scores()
    recording.save(tmp_path / "a.regard")
    for found in (recording, regard.load(tmp_path / "a.regard")):
        torch.testing.assert_close(found[0].max_scores(), expected)


def test_far_distances_share_bins_that_double() -> None:
    """Bins hold one distance up to 16, then 17 to 32, 33 to 64, on both sides alike."""
    q = torch.randn(1, 1, 50, 4)
    profile = regard.attention(q, q, q, need_weights=True)[1].distance_profile()
    bins = list(zip(profile.start.tolist(), (profile.stop - 1).tolist(), strict=True))
    assert bins[0] == (-49, -33)
    assert bins[1] == (-32, -17)
    assert bins[2:-2] == [(d, d) for d in range(-16, 17)]
    assert bins[-2:] == [(17, 32), (33, 49)]


@pytest.mark.parametrize(
    ("cell", "rows", "columns"),
    [(1, slice(None), slice(None)), ((5, 8), slice(None), slice(None)), (4, slice(3, 30), slice(7, 53))],
    ids=["entries", "cells", "cells of a part"],
)
def test_masked_and_uniform(
    case: Case, weights: AttentionWeights, cell: int | tuple[int, int], rows: slice, columns: slice
) -> None:
    """A cell is masked exactly when every pair in it is hidden; even attention is pooled as the weights are."""
    seen = case.seen().double()
    expected = pooled(seen[:, :, rows, columns], cell) == 0
    assert torch.equal(weights.masked(cell, rows=rows, columns=columns), expected)
    assert bool((weights.pooled(cell, rows=rows, columns=columns)[expected] == 0).all())
    even = torch.nan_to_num(seen / seen.sum(-1, keepdim=True))[:, :, rows, columns]
    found = weights.uniform(cell, rows=rows, columns=columns)
    assert torch.allclose(found.double(), pooled(even, cell), rtol=1e-6, atol=1e-7)


def test_visible_keys(case: Case, weights: AttentionWeights) -> None:
    """The number of visible keys of each query is that of the mask."""
    assert torch.equal(weights.visible_keys(), case.seen().sum(-1))


@pytest.mark.parametrize("projected", [False, True])
def test_value_weighted(case: Case, weights: AttentionWeights, projected: bool) -> None:
    """Weights are multiplied by the norm of the value, or of what the output layer makes of it."""
    heads = case.sizes[1]
    values = case.tensors()[2].double().repeat_interleave(heads // case.groups, 1)
    layer = torch.randn(6, heads * 5, dtype=torch.float64) if projected else None
    if layer is not None:
        values = torch.einsum("bhse,dhe->bhsd", values, layer.view(6, heads, 5))
    expected = case.expected() * values.norm(dim=-1)[:, :, None]
    bound = 40 * tolerance(case)
    weighted = weights.value_weighted(None if layer is None else layer.to(case.dtype))
    if layer is not None and case.dtype in (torch.float16, torch.bfloat16):
        bound = 0.3  # the layer itself was rounded
    close(weighted.dense(), expected, bound)
    close(weighted.received(), expected.sum(2), case.sizes[2] * bound)
    close(weighted.peak().values, expected.amax(-1), bound)
    if layer is None:
        shares = torch.nan_to_num(expected / expected.sum(-1, keepdim=True))
        close(weights.value_weighted(normalise=True).dense(), shares, bound)
        close(weighted.entropy(), -torch.special.xlogy(shares, shares).sum(-1), bound)


def test_value_norms_that_nobody_sees_have_no_effect() -> None:
    """A NaN value behind the mask stays there; a value of zero gets weight zero, also in every summary."""
    q = torch.randn(1, 2, 6, 4)
    v = torch.randn(1, 2, 6, 4)
    v[:, :, 4:] = torch.nan
    v[:, :, 1] = 0
    _, weights = regard.attention(q, q, v, mask=regard.masks.padding([4]), need_weights=True)
    weighted = weights.value_weighted()
    assert torch.equal(weighted.dense()[..., 1], torch.zeros(1, 2, 6))
    assert torch.equal(weighted.dense()[..., 4:], torch.zeros(1, 2, 6, 2))
    for found in (weighted.entropy(), weighted.received(), weighted.pooled(2), weighted.top(6).values):
        assert found.isfinite().all()


@pytest.mark.parametrize("poison", [torch.nan, torch.inf])
def test_hidden_keys_have_no_effect(poison: float) -> None:
    """A NaN or infinity in a key that nobody may see changes no number, forward or backward."""
    clean = torch.randn(1, 2, 9, 4)
    bad = clean.clone()
    bad[:, :, 7:] = poison
    found = []
    for key in (clean, bad):
        q, k = clean.clone().requires_grad_(), key.clone().requires_grad_()
        _, weights = regard.attention(q, k, clean, mask=regard.masks.padding([7]), need_weights=True)
        with torch.no_grad():
            plain = [ask(weights) for ask in (QUESTIONS | LARGEST).values()]
            plain += [weights.lse, weights @ key[..., :0]]
        total = weights.dense().square().sum() + weights.entropy().sum() + weights.pooled(3)[..., 0].sum()
        found.append((*plain, *torch.autograd.grad(total, (q, k))))
    torch.testing.assert_close(*found, rtol=0, atol=1e-6)


@pytest.mark.parametrize("rank", [2, 3, 4])
def test_leading_dimensions_left_out_stay_out(rank: int) -> None:
    """Every answer comes back without the dimensions that the call did not have."""
    q = torch.randn(2, 3, 10, 4)[(0,) * (4 - rank)]
    lead = tuple(q.shape[:-2])
    _, weights = regard.attention(q, q, q, need_weights=True)
    assert weights.shape == (*lead, 10, 10)
    assert (weights.ndim, len(weights)) == (rank, weights.shape[0])
    assert weights.dense().shape == weights[...].shape == (*lead, 10, 10)
    assert weights.lse.shape == weights.entropy().shape == weights.peak().indices.shape == (*lead, 10)
    assert weights.effective_keys().shape == weights.mean_distance().shape == (*lead, 10)
    assert weights.received().shape == weights.received(corrected=True).shape == (*lead, 10)
    assert weights.pooled(5).shape == (*lead, 2, 2)
    assert weights.top(3).values.shape == (*lead, 10, 3)
    assert weights.share(0).shape == weights.share("first").shape == lead
    assert weights.distance_profile(binned=False).mass.shape == (*lead, 19)
    assert (weights @ q).shape == q.shape
    assert weights.head(*(0,) * (rank - 2)).shape == (10, 10)


def test_ranks_of_masked_cells() -> None:
    """Leading dimensions follow the call; a part without rows has no cells."""
    q = torch.randn(6, 4)
    _, weights = regard.attention(q, q, q, causal=True, need_weights=True)
    assert weights.masked(2).shape == (3, 3)
    assert weights.visible_keys().tolist() == [1, 2, 3, 4, 5, 6]
    assert weights.masked(2, rows=slice(0, 0)).shape == (0, 3)


@pytest.mark.parametrize("sizes", [(0, 2, 3, 4), (2, 0, 3, 4), (1, 2, 0, 4), (1, 2, 3, 0)])
def test_empty_sizes(sizes: tuple[int, int, int, int]) -> None:
    """No batch, no heads, no queries or no keys give empty answers, or zeros."""
    b, h, rows, keys = sizes
    _, weights = regard.attention(*(torch.ones(b, h, n, 2) for n in (rows, keys, keys)), causal=True, need_weights=True)
    assert weights.dense().shape == sizes
    assert torch.equal(weights.entropy(), torch.zeros(b, h, rows))
    assert torch.equal(weights.received(), torch.zeros(b, h, keys))
    assert weights.pooled(2).shape == (b, h, -(-rows // 2), -(-keys // 2))
    assert torch.equal(weights.share("first"), weights.share(0))
    assert torch.equal(weights.peak().indices, torch.full((b, h, rows), -1 if keys == 0 else 0)[..., :rows])
    assert weights.distance_profile().mass.shape[:2] == (b, h)


BAD: list[tuple[Callable[[AttentionWeights], object], type[Exception], str]] = [
    (lambda w: w.pooled(2, "masss"), ArgumentError, r"kind is 'masss'.*Did you mean 'mass'"),  # type: ignore[arg-type]
    *((lambda w, x=x: w.pooled(x), ArgumentError, "integer >= 1") for x in (0, (2, 0), 2.0, (1, 2, 3), True)),
    (lambda w: w.pooled(2, rows=slice(0, 4, 2)), ArgumentError, "step 1"),
    (lambda w: w.masked(0), ArgumentError, "tokens per side"),
    *((lambda w, k=k: w.top(k), ArgumentError, "from 1 to the number of keys, 4") for k in (0, 5, -1, 1.0)),
    (lambda w: w.share("last"), ArgumentError, "or 'first'"),  # type: ignore[arg-type]
    (lambda w: w.head(1), ArgumentError, "need 2, one for each dimension"),
    (lambda w: w.head(0, 2), IndexError, "lies outside"),
    (lambda w: w.value_weighted(torch.ones(6, 5)), ShapeError, r"the rule is \(D, H \* Ev\) = \(D, 6\)"),
    (lambda w: w @ torch.ones(1, 2, 5, 3), ShapeError, "multiply values of shape"),
]


@pytest.mark.parametrize(("ask", "error", "words"), BAD)
def test_bad_arguments_are_explained(ask: Callable[..., object], error: type[Exception], words: str) -> None:
    """Each message says what was given and what the rule is."""
    q = torch.ones(1, 2, 4, 3)
    with pytest.raises(error, match=words):
        ask(regard.attention(q, q, q, need_weights=True)[1])
