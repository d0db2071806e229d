"""Products by parts: float32 and float16 as sums of bfloat16 on (imitated) tiles, over the whole range of numbers."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

import regard
from regard.backends.native import _library, _speed

from . import library
from .gradients import backward, gradients, through
from .reference import forward as exact
from .test_forward import inputs
from .tiles import Built

SHAPE = (1, 2, 1, 70, 130, 40, 24)


@pytest.fixture(autouse=True)
def tiles(imitated: Built, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let the calls of `library` run on the imitation."""
    monkeypatch.setattr(library, "LIB", library.load(imitated.path))
    assert [library.LIB.regard_parts(code) for code in range(3)] == [3, 1, 2]
    return imitated.path


def both_ways(*given: Tensor, upstream: Tensor | None = None, **options: object) -> list[list[Tensor]]:
    """Return output and lse, or the gradients, of a call multiplied as it is and by parts."""
    found = []
    for parts in (False, True):
        if upstream is None:
            found.append(list(library.forward(*given, parts=parts, **options)[:2]))
        else:
            output, lse, _ = library.forward(*given, parts=False, **options)
            found.append(list(backward(*given, output, lse, upstream, parts=parts, **options).values()))
    return found


def same(ways: list[list[Tensor]]) -> bool:
    """Say whether both ways gave the same bits."""
    return all(torch.equal(a.nan_to_num(7), b.nan_to_num(7)) for a, b in zip(*ways, strict=True))


def off(found: Tensor, wanted: Tensor) -> float:
    """Return the norm of the difference over the norm."""
    return float((found.double() - wanted).norm() / wanted.norm().clamp_min(1e-300))


def naive(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Return what PyTorch's math path computes."""
    with sdpa_kernel(SDPBackend.MATH):
        return F.scaled_dot_product_attention(q, k, v, enable_gqa=True)


@pytest.mark.parametrize("gain", [1e-45, 1e-40, 1e-30, 1e-18, 1e-12, 1e-6, 1.0, 1e6, 1e12, 1e13, 1e20, 1e30])
@pytest.mark.parametrize("what", ["query", "key", "value", "grad_output"])
def test_any_magnitude(what: str, gain: float) -> None:
    """Error at most twice that of the math path, whatever the magnitude of an operand; far from 1 without parts."""
    given = dict(zip(("query", "key", "value"), inputs(SHAPE, torch.float32), strict=True))
    given["grad_output"] = torch.randn(1, 2, 70, 24)
    given[what] = (given[what].clamp(-1, 1).double() * gain).float()
    *qkv, upstream = given.values()
    ways = both_ways(*qkv)
    inside = 2.0**-60 < gain < 2.0**40 or what == "grad_output"
    assert same(ways) != inside
    want = exact(*qkv)[0]
    assert off(ways[1][0], want) <= 2 * off(naive(*qkv), want) + 1e-7
    back = both_ways(*qkv, upstream=upstream)
    wanted, plain = (gradients(*qkv, upstream, dtype=dtype) for dtype in (torch.float64, torch.float32))
    for gradient, name in zip(back[1], ("query", "key", "value"), strict=True):
        size = wanted[name]
        if (
            not bool(torch.isfinite(plain[name]).all())
            or float(size.abs().max()) < 1e-30
            or float(size.abs().max()) > 1e38
        ):
            continue  # float32 does not hold it
        assert off(gradient, size) <= 3 * off(plain[name], size) + 1e-6, name


@pytest.mark.parametrize("bad", [torch.inf, -torch.inf, torch.nan])
@pytest.mark.parametrize("what", [0, 1, 2, 3])
def test_what_is_not_finite_is_multiplied_as_it_is(what: int, bad: float) -> None:
    """One number that is not finite, seen or hidden, and the call gives the bits that it gave before."""
    for hidden in (True, False):
        given = [*inputs(SHAPE, torch.float32), torch.randn(1, 2, 70, 24)]
        spans = (torch.zeros(1, 1, 70, dtype=torch.int32), torch.full((1, 1, 70), 100, dtype=torch.int32))
        given[what][0, 0, 110 if hidden and what in (1, 2) else 50, 3] = bad
        *qkv, upstream = given
        assert same(both_ways(*qkv, spans=spans)) == (what != 3)
        assert same(both_ways(*qkv, upstream=upstream, spans=spans))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=str)
def test_large_scores(dtype: torch.dtype) -> None:
    """Scores of +-1e4: as near to float64 as PyTorch's math path; gradients too."""
    q, k, v = inputs(SHAPE, dtype)
    q, k = (q * 64).to(dtype), (k * 32).to(dtype)
    scores = (q.double() @ k.double().repeat_interleave(2, 1).mT) / 40**0.5
    assert scores.abs().max() > 9e3
    ways, want = both_ways(q, k, v), exact(q, k, v)[0]
    assert not same(ways) or dtype == torch.float16  # one weight of each row is 1
    assert off(ways[1][0], want) <= 2 * off(naive(q, k, v), want) + 1e-6


def test_small_numbers_beside_large_ones() -> None:
    """Columns 1e-20 of their neighbours keep the precision of a float32: parts do not share an exponent."""
    q, k, v = inputs(SHAPE, torch.float32)
    v[..., ::2] *= 1e-20
    ways, want = both_ways(q, k, v), exact(q, k, v)[0]
    assert not same(ways)
    for column in (0, 1):
        assert off(ways[1][0][..., column::2], want[..., column::2]) < 5e-7


@pytest.mark.parametrize("scale", [1e-12, 1e6, 1e20])
def test_any_scale(scale: float) -> None:
    """A scale with which what tiles lose would count is not multiplied by parts."""
    q, k, v = inputs(SHAPE, torch.float32)
    ways = both_ways(q / scale**0.5, k / scale**0.5, v, scale=scale)
    assert same(ways) == (scale == 1e20)
    want = exact(q / scale**0.5, k / scale**0.5, v, scale=scale)[0]
    assert off(ways[1][0], want) < 1e-6


def test_biases_that_are_not_finite() -> None:
    """A bias of NaN or Inf is no operand of a product: it reaches the rows that see it, as before."""
    q, k, v = inputs(SHAPE, torch.float32)
    upstream = torch.randn(1, 2, 70, 24)
    for bad in (torch.nan, torch.inf, -torch.inf, 1e30, -1e30):
        bias = torch.randn(1, 2, 70, 130)
        bias[0, 0, 7, 11] = bad
        plain, parts = both_ways(q, k, v, bias=bias)
        assert torch.equal(plain[0].isnan(), parts[0].isnan())
        assert torch.allclose(plain[0], parts[0], rtol=1e-4, atol=1e-5, equal_nan=True)
        plain, parts = both_ways(q, k, v, upstream=upstream, bias=bias)
        for a, b in zip(plain, parts, strict=True):
            assert torch.equal(a.isnan(), b.isnan())
            assert torch.allclose(a, b, rtol=1e-3, atol=1e-4, equal_nan=True)


def test_steps_and_pieces_are_multiplied_as_they_are() -> None:
    """One query over many keys: a look at all numbers would be most of the work."""
    assert same(both_ways(*inputs((1, 2, 1, 1, 300, 64, 64), torch.float32)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=str)
def test_threads_do_not_change_a_bit(dtype: torch.dtype) -> None:
    """1 to 4 threads, forward and backward."""
    q, k, v = inputs((1, 4, 2, 300, 200, 24, 40), dtype)
    upstream, before = torch.randn(1, 4, 300, 40).to(dtype), torch.get_num_threads()
    library.use_torch_threads(False)
    first = [*library.forward(q, k, v, parts=True)[:2], *through(q, k, v, upstream, parts=True).values()]
    try:
        library.use_torch_threads(True)
        for threads in (1, 2, 4):
            torch.set_num_threads(threads)
            again = [*library.forward(q, k, v, parts=True)[:2], *through(q, k, v, upstream, parts=True).values()]
            assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True)), threads
    finally:
        torch.set_num_threads(before)
        library.use_torch_threads(False)


def test_the_setting_decides(tiles: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Through the public call: auto is plain where nothing was measured, a measured gain takes parts, plain forbids."""
    loaded = _library.load(tiles)
    monkeypatch.setattr(_library, "_found", lambda: loaded)
    ratios: dict[tuple[str, str], tuple[float, ...]] = {("float32", "forward"): (1.2, 1.2, 1.2)}
    monkeypatch.setattr(_speed, "_measured", lambda dtype, work: (ratios.get((dtype, work), ()), "some unit"))
    _speed.forget()
    q, k, v = inputs((1, 2, 2, 200, 200, 32, 32), torch.float32)

    def ways() -> dict[str, Tensor]:
        found = {}
        for fp32 in ("auto", "plain", "parts"):
            with regard.use_backend("native", fp32=fp32):
                found[fp32] = regard.attention(q, k, v, causal=True)
        return found

    unmeasured = ways()
    assert torch.equal(unmeasured["auto"], unmeasured["plain"])
    assert not torch.equal(unmeasured["parts"], unmeasured["plain"])
    assert "with float32 as it is: parts were not measured" in repr(regard.explain(q, k, v))
    ratios["float32 by parts", "forward"] = (1.1, 1.9, 1.9)
    _speed.forget()
    measured = ways()
    assert torch.equal(measured["auto"], measured["plain"])  # at the shortest length parts lose
    ratios["float32 by parts", "forward"] = (1.9, 1.9, 1.9)
    _speed.forget()
    assert torch.equal(ways()["auto"], unmeasured["parts"])
    assert "by 3 parts of bfloat16" in repr(regard.explain(q, k, v))
    assert "1.90 times PyTorch's speed, 1.20 the other way (some unit)" in repr(regard.explain(q, k, v))
    with regard.use_backend("native", fp32="plain"):
        assert torch.equal(regard.attention(q, k, v, causal=True), unmeasured["plain"])
        assert "with float32 as it is: asked for" in repr(regard.explain(q, k, v))
    _speed.forget()


def test_the_backward_pass_follows_its_call(tiles: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Gradients are those of the setting that was in force at the call, whatever is at `backward()`."""
    loaded = _library.load(tiles)
    monkeypatch.setattr(_library, "_found", lambda: loaded)
    given = [t.requires_grad_() for t in inputs((1, 2, 2, 90, 90, 32, 32), torch.float32)]
    upstream = torch.randn(1, 2, 90, 32)
    found = {}
    for at_call, later in itertools.product(("plain", "parts"), repeat=2):
        with regard.use_backend("native", fp32=at_call):
            output = regard.attention(*given)
        with regard.use_backend("native", fp32=later):
            found[at_call, later] = torch.autograd.grad(output, given, upstream)
    for at_call in ("plain", "parts"):
        assert all(torch.equal(a, b) for a, b in zip(found[at_call, "plain"], found[at_call, "parts"], strict=True))
    assert not torch.equal(found["plain", "plain"][0], found["parts", "parts"][0])


def test_looks_into_a_call_by_parts(tiles: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights that were asked for change no bit of the output, and what is read of them is that of float64."""
    loaded = _library.load(tiles)
    monkeypatch.setattr(_library, "_found", lambda: loaded)
    q, k, v = inputs((1, 2, 2, 100, 140, 32, 32), torch.float32)
    with regard.use_backend("native", fp32="parts"):
        output, weights = regard.attention(q, k, v, need_weights=True)
        assert torch.equal(output, regard.attention(q, k, v))
        dense, want = weights.dense(), exact(q, k, v)[2]
        assert (dense.double() - want).abs().max() < 2e-6
        assert (weights.received().double() - want.sum(2)).abs().max() < 2e-5
        assert torch.allclose(weights.entropy().double(), -(want * want.clamp_min(1e-300).log()).sum(-1), atol=1e-5)
        assert (weights.pooled(64).double().sum(-1) - 1).abs().max() < 1e-5
