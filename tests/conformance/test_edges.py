"""Numbers at the edge, by every backend: scores far from zero, the lowest finite ones, infinities in biases."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

import regard
from regard import biases
from regard.weights import consumed_at_once
from tests.interpreted import MISSING, sampled

from .calls import DEVICE, HERE

BACKENDS = tuple(backend.name for backend in HERE)
TRAINED = tuple(backend.name for backend in HERE if "gradient" in backend.honours)
# These compute in float32 and in half precision alone.
NO_DOUBLE = ("native", "triton")
FAR = (-1e3, 1e4, -65504.0, -1e6, 1e9, -1e30, torch.finfo(torch.float32).min)
backends = pytest.mark.parametrize("backend", BACKENDS)


def _far(names: tuple[str, ...]) -> list[tuple[float, int, str]]:
    every = itertools.product(FAR, (3, 40), names)
    return [(by, length, name) for by, length, name in every if sampled(name, f"{by} {length}", 2)]


def _inputs(length: int, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    generator = torch.Generator().manual_seed(length)
    return [torch.randn(1, 2, length, 8, generator=generator).to(DEVICE, dtype) for _ in range(3)]


def _shifted(length: int, by: float, dtype: torch.dtype = torch.float32) -> Tensor:
    bias = torch.zeros(length, length, dtype=dtype, device=DEVICE)
    bias[1::2] = by
    return bias


def _plain(q: Tensor, k: Tensor, v: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    weights = torch.softmax(q @ k.mT * 8**-0.5 + bias, -1)
    return weights @ v, weights


@pytest.mark.parametrize(("by", "length", "backend"), _far(BACKENDS))
def test_rows_far_from_zero_sum_to_one(backend: str, length: int, by: float) -> None:
    """However far a bias moves a row, its weights are those of plain softmax in every way they can be asked for."""
    q, k, v = _inputs(length)
    bias = _shifted(length, by)
    _, exact = _plain(q, k, v, bias)
    for summary in (False, True):
        with consumed_at_once(summary=summary):
            output, weights = regard.attention(q, k, v, bias=bias, need_weights=True, backend=backend)
        torch.testing.assert_close(weights.dense(), exact, atol=2e-6, rtol=0)
        torch.testing.assert_close(weights.dense().sum(-1), torch.ones(1, 2, length, device=DEVICE), atol=2e-6, rtol=0)
        if backend != "reference":  # whose scores are rounded to float64 only
            torch.testing.assert_close(weights @ v, output, atol=2e-5, rtol=0)
        torch.testing.assert_close(weights.received(), exact.sum(2), atol=1e-5, rtol=0)
        torch.testing.assert_close(
            weights.pooled(2).sum(-1), torch.ones(1, 2, -(-length // 2), device=DEVICE), atol=2e-6, rtol=0
        )
        torch.testing.assert_close(weights.entropy(), torch.special.entr(exact).sum(-1), atol=1e-5, rtol=0)
        torch.testing.assert_close(weights.peak().values, exact.amax(-1), atol=2e-6, rtol=0)
        torch.testing.assert_close(weights[0, 1, 1, ::2], exact[0, 1, 1, ::2], atol=2e-6, rtol=0)
        torch.testing.assert_close(weights.share(0), exact.diagonal(dim1=2, dim2=3).mean(-1), atol=2e-6, rtol=0)
        assert weights.entropy().min() >= 0


@pytest.mark.parametrize(("by", "length", "backend"), _far(TRAINED))
def test_gradients_of_rows_far_from_zero(backend: str, length: int, by: float) -> None:
    """Gradients, through the output and through the weights, are those of plain softmax."""
    bias = _shifted(length, by)
    upstream = _inputs(length + 1)[0][:, :, :length]

    def gradients(plain: bool) -> tuple[Tensor, ...]:
        leaves = [t.requires_grad_() for t in _inputs(length)]
        if plain:
            output, exact = _plain(*leaves, bias)
            entropy = torch.special.entr(exact).sum(-1)
        else:
            output, weights = regard.attention(*leaves, bias=bias, need_weights=True, backend=backend)
            entropy = weights.entropy()
        return torch.autograd.grad((output * upstream).sum() + entropy.sum(), leaves)

    for found, expected in zip(gradients(False), gradients(True), strict=True):
        torch.testing.assert_close(found, expected, atol=2e-5, rtol=2e-5)


@pytest.mark.parametrize("size", [1e2, 1e4, 1e8, 1e12])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_logits_that_have_grown(size: float, dtype: torch.dtype) -> None:
    """Large queries: rows sum to 1 for each backend, in the weights and in their summary."""
    q, k, v = _inputs(130, torch.float64)
    q, k, v = (q * size).to(dtype), k.to(dtype), v.to(dtype)
    for backend in BACKENDS:
        if (backend in NO_DOUBLE and dtype == torch.float64) or (backend == "triton" and MISSING):
            continue
        for summary in (False, True):
            with consumed_at_once(summary=summary):
                _, weights = regard.attention(q, k, v, need_weights=True, backend=backend)
            assert (weights.dense().sum(-1) - 1).abs().max() < 1e-5
            assert (weights.received().sum(-1) / 130 - 1).abs().max() < 1e-5
            assert weights.entropy().min() >= 0


@backends
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
def test_the_lowest_finite_number_hides_nothing(backend: str, dtype: torch.dtype) -> None:
    """A row whose whole bias is the lowest number of its dtype is what softmax makes of it, and sees every key."""
    if backend in NO_DOUBLE and dtype == torch.float64:
        pytest.skip(f"{backend} has no float64")
    q, k, v = _inputs(4, dtype)
    lowest = torch.finfo(dtype).min
    for bias in (
        _shifted(4, lowest, dtype),
        biases.RelativeBias(torch.full((2, 7), lowest, dtype=dtype, device=DEVICE)),
    ):
        output, weights = regard.attention(q, k, v, bias=bias, need_weights=True, backend=backend)
        torch.testing.assert_close(weights.dense().sum(-1), torch.ones(1, 2, 4, dtype=weights.dtype, device=DEVICE))
        assert not weights.masked().any()
        assert bool((weights.visible_keys() == 4).all())
        if dtype != torch.float16:  # whose lowest number leaves scores apart
            torch.testing.assert_close(output[:, :, 1], v.mean(2), atol=1e-2, rtol=1e-2)
            torch.testing.assert_close(weights[:, :, 1], torch.full_like(weights[:, :, 1], 0.25))


@backends
@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("which", [1, 2])
def test_a_position_bias_of_minus_infinity_hides_like_a_mask(backend: str, value: float, which: int) -> None:
    """What it hides has no effect, in keys and in values, and counts as not visible."""
    for length in (4, 70):
        inputs = _inputs(length)
        inputs[which][:, :, 2] = value
        vector = torch.zeros(1, 2 * length - 1, device=DEVICE)
        hidden = (2 - torch.arange(length)) + length - 1
        vector[:, hidden[1::2]] = -math.inf
        _, weights = regard.attention(*inputs, bias=biases.RelativeBias(vector), need_weights=True, backend=backend)
        place = torch.arange(length, device=DEVICE)
        sees = vector[0, (place - place[:, None]) + length - 1] > -math.inf
        output = regard.attention(*inputs, bias=biases.RelativeBias(vector), backend=backend)
        masked = regard.attention(*inputs, mask=sees, backend=backend)
        assert torch.equal(output.isfinite().all(-1), masked.isfinite().all(-1))
        assert bool(output[:, :, 1::2].isfinite().all())
        assert torch.equal(weights.visible_keys(), sees.sum(-1).expand(1, 2, length))
        assert torch.equal(weights.masked()[0, 0], ~sees)


@pytest.mark.parametrize("backend", TRAINED)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_gradients_of_nearly_certain_rows_in_half_precision(backend: str, dtype: torch.dtype) -> None:
    """Two keys, causal: the error stays within a few roundings of the gradient, which is smaller than the output's."""
    for seed in range(20):
        generator = torch.Generator().manual_seed(seed)
        given = [(torch.randn(1, 1, 2, 64, generator=generator) * 1.5).to(DEVICE, dtype) for _ in range(4)]
        leaves = [t.clone().requires_grad_() for t in given[:3]]
        found = torch.autograd.grad(regard.attention(*leaves, causal=True, backend=backend), leaves, given[3])
        exact = [t.double().requires_grad_() for t in given[:3]]
        output = regard.attention(*exact, causal=True, backend="math")
        for one, other in zip(found, torch.autograd.grad(output, exact, given[3].double()), strict=True):
            assert (one.double() - other).norm() <= 2 * torch.finfo(dtype).eps * other.norm()


def test_sinks_and_factors_far_from_zero() -> None:
    """Weights beside a sink, and weights times norms, mean the same wherever the scores lie."""
    q, k, v = _inputs(40)

    def weights(bias: float, sinks: Tensor | None = None) -> regard.AttentionWeights:
        return regard.attention(
            q, k, v, bias=torch.full((40, 40), bias, device=DEVICE), sinks=sinks, need_weights=True
        )[1]

    near, far = weights(0.0), weights(-128.0)
    sinks = torch.tensor([[1.0, 0.0], [-127.0, -128.0]], device=DEVICE)
    sunk = weights(0.0, sinks[0]), weights(-128.0, sinks[1])
    pairs = [
        sunk,
        (near.value_weighted(), far.value_weighted()),
        tuple(w.value_weighted(normalise=True) for w in (near, far)),
    ]
    for one, other in pairs:
        torch.testing.assert_close(other.dense(), one.dense(), atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(other.entropy(), one.entropy(), atol=2e-4, rtol=1e-4)
        torch.testing.assert_close(other.received(), one.received(), atol=1e-3, rtol=1e-4)
        torch.testing.assert_close(other.pooled(4), one.pooled(4), atol=1e-3, rtol=1e-4)
    uniform = regard.attention(q, k, v, bias=torch.full((40, 40), -1e9, device=DEVICE), need_weights=True)[1]
    norms = v.norm(dim=-1)[:, :, None].expand(1, 2, 40, 40)
    torch.testing.assert_close(uniform.value_weighted().dense(), norms / 40)
    torch.testing.assert_close(uniform.value_weighted(normalise=True).dense(), norms / norms.sum(-1, keepdim=True))


class _Call(torch.nn.Module):
    def __init__(self, bias: object) -> None:
        super().__init__()
        self.given = bias

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        out: Tensor = regard.attention(q, k, v, bias=self.given)
        return out


@pytest.mark.parametrize("keep", ["summary", "exact"])
def test_recordings_and_files_far_from_zero(keep: str, tmp_path: Path) -> None:
    """What is recorded, saved and loaded of such rows is what plain softmax makes of them."""
    q, k, v = _inputs(40)
    model = _Call(_shifted(40, -1e9))
    _, exact = _plain(q, k, v, model.given)
    with regard.watch(model, keep=keep) as recording:
        model(q, k, v)
    recording.save(tmp_path / "far.regard")
    exact = exact.cpu()
    for weights in (recording[0], regard.load(tmp_path / "far.regard")[0]):
        torch.testing.assert_close(weights.entropy().cpu(), torch.special.entr(exact).sum(-1), atol=1e-5, rtol=0)
        torch.testing.assert_close(weights.received().cpu(), exact.sum(2), atol=1e-5, rtol=0)
        if keep == "exact":
            torch.testing.assert_close(weights.dense().cpu(), exact, atol=2e-6, rtol=0)


def test_a_position_bias_in_float64_beside_float32(tmp_path: Path) -> None:
    """It is taken as the scores are: what is finite hides nothing, and a file of the call loads."""
    q, k, v = _inputs(6)
    vector = torch.zeros(1, 11, dtype=torch.float64, device=DEVICE)
    vector[0, ::2], vector[0, 5] = -1e300, -math.inf
    model = _Call(biases.RelativeBias(vector))
    with regard.watch(model, keep="exact") as recording:
        model(q, k, v)
    recording.save(tmp_path / "bias.regard")
    loaded = regard.load(tmp_path / "bias.regard")[0]
    torch.testing.assert_close(loaded.dense().to(DEVICE), recording[0].dense())
    assert bool((loaded.visible_keys() == 5).all())


@pytest.mark.parametrize("backend", [name for name in TRAINED if name != "fused"])
@pytest.mark.parametrize("scale", [0.0, -0.5, -1e-30, 1e-30])
def test_scales_near_and_below_zero(backend: str, scale: float) -> None:
    """The scale is a factor like any other: output, weights and gradients follow the formula."""
    for length in (3, 64):
        leaves = [t.requires_grad_() for t in _inputs(length)]
        plain = [t.requires_grad_() for t in _inputs(length)]
        output, weights = regard.attention(*leaves, causal=True, scale=scale, need_weights=True, backend=backend)
        hidden = ~torch.ones(length, length, dtype=torch.bool, device=DEVICE).tril()
        exact = torch.softmax((plain[0] @ plain[1].mT * scale).masked_fill(hidden, -torch.inf), -1)
        torch.testing.assert_close(output, exact @ plain[2], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(weights.dense(), exact, atol=1e-5, rtol=1e-5)
        grads = torch.autograd.grad(output.square().sum(), leaves)
        for one, other in zip(grads, torch.autograd.grad((exact @ plain[2]).square().sum(), plain), strict=True):
            torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)


def test_a_profile_of_nothing() -> None:
    """No queries and no keys: there is no distance, binned or not."""
    empty = torch.zeros(1, 2, 0, 4, device=DEVICE)
    _, weights = regard.attention(empty, empty, empty, need_weights=True)
    assert weights.distance_profile().mass.shape == (1, 2, 0)
    assert weights.distance_profile(binned=False).mass.shape == (1, 2, 0)
