"""Linear attention on the native kernel: against the sums in float64, in each dtype, and where it hands on."""

from typing import Any

import pytest
import torch
from torch import Tensor

import regard
from regard import linear_attention, masks
from regard.backends import native
from regard.linear import LinearState

from .test_linear import MAPS, MASKS, tensors

pytestmark = pytest.mark.skipif(not native.available(), reason="the native library is not there")
# Of the largest entry, 1 at least: outputs and gradients of random calls.
ALLOWED = {torch.float32: 3e-6, torch.bfloat16: 2e-2, torch.float16: 2e-3}


def close(found: list[Tensor], wanted: list[Tensor], sums: list[Tensor]) -> bool:
    """Say whether results are right: within the bound, or within twice the error of the sums in the same dtype.

    A row that sees one key with features near 0 has a gradient of 0, found as the difference of large numbers.
    """
    for one, other, beside in zip(found, wanted, sums, strict=True):
        error, theirs = (float((t.double() - other).abs().max()) for t in (one, beside))
        if not error <= max(ALLOWED[one.dtype] * max(1.0, float(other.abs().max())), 2 * theirs):
            return False
    return True


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Count what the library is asked."""
    asked: list[str] = []
    library = native._linear.library()  # type: ignore[attr-defined]
    call = library.call
    monkeypatch.setattr(library, "call", lambda name, words: (asked.append(name), call(name, words))[1])
    return asked


def with_gradients(q: Tensor, k: Tensor, v: Tensor, **arguments: Any) -> list[Tensor]:
    """Return the output of a call and its gradients, for a gradient that is the same in every dtype."""
    q, k, v = (t.detach().clone().requires_grad_() for t in (q, k, v))
    out = linear_attention(q, k, v, **arguments)
    given = torch.randn(out.shape, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    return [out.detach(), *torch.autograd.grad(out, (q, k, v), given.to(out.dtype))]


@pytest.mark.parametrize("dtype", ALLOWED)
@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("name", MAPS)
@pytest.mark.parametrize("groups", [1, 2, 4])
def test_output_and_gradients(calls: list[str], dtype: torch.dtype, mask: str, name: str, groups: int) -> None:
    """The kernel gives what the sums in float64 give, forward and backward, and runs where it should."""
    given = [t.to(dtype) for t in tensors(g=groups)]
    found = with_gradients(*given, feature_map=name, **MASKS[mask][0])
    wanted = with_gradients(*(t.double() for t in given), feature_map=name, **MASKS[mask][0])
    assert calls == ["linear_forward", "linear_backward"]
    with regard.use_backend("math"):
        sums = with_gradients(*given, feature_map=name, **MASKS[mask][0])
    assert all(t.dtype == dtype for t in found)
    assert close(found, wanted, sums)


@pytest.mark.parametrize(("rows", "keys"), [(1, 1), (1, 70), (70, 1), (31, 33), (64, 64), (65, 97), (2500, 2500)])
def test_sizes(calls: list[str], rows: int, keys: int) -> None:
    """Blocks that are full, empty or cut, and heads that are cut into parts."""
    given = [t.float() for t in tensors(1, 2, 1, rows, keys)]
    for offset in (None, 0, 5, -40):
        arguments: dict[str, Any] = {"mask": masks.causal(offset=offset)}
        with regard.use_backend("math"):
            sums = with_gradients(*given, **arguments)
        wanted = with_gradients(*(t.double() for t in given), **arguments)
        assert close(with_gradients(*given, **arguments), wanted, sums)
    assert len(calls) == 8


def test_layouts(calls: list[str]) -> None:
    """Any strides, and widths that fill no vector."""
    for width, of_value in ((1, 1), (3, 17), (64, 64), (100, 40), (256, 256)):
        q, k, v = (torch.randn(2, 33, 4, w).transpose(1, 2) for w in (width, width, of_value))
        odd = torch.randn(2, 4, width, 33).transpose(-2, -1)
        for key in (k, odd):
            found = linear_attention(q, key, v, causal=True)
            wanted = linear_attention(q.double(), key.double(), v.double(), causal=True)
            assert torch.allclose(found.double(), wanted, atol=2e-6)
    assert len(calls) == 10


@pytest.mark.parametrize("causal", [False, True])
def test_weights_change_no_bit(calls: list[str], causal: bool) -> None:
    """The output is the same with weights, which are those of the call, and differentiable with it."""
    q, k, v = (t.float().requires_grad_() for t in tensors())
    out = linear_attention(q, k, v, causal=causal)
    same, weights = linear_attention(q, k, v, causal=causal, need_weights=True)
    assert torch.equal(out, same)
    assert torch.allclose(weights @ v, out, atol=1e-5)
    (found,) = torch.autograd.grad(weights.lse.square().sum() + weights.entropy().sum(), q)
    wide = q.detach().double().requires_grad_()
    _, weights = linear_attention(wide, k.double(), v.double(), causal=causal, need_weights=True)
    (wanted,) = torch.autograd.grad(weights.lse.square().sum() + weights.entropy().sum(), wide)
    assert torch.allclose(found.double(), wanted, atol=1e-4)
    assert calls.count("linear_forward") == 2


@pytest.mark.parametrize("which", ["key", "value"])
@pytest.mark.parametrize("poison", [torch.nan, torch.inf])
def test_what_is_not_finite(which: str, poison: float) -> None:
    """A spoilt key or value spoils the queries that see it and no other; one that nobody sees, none."""
    q, k, v = (t.float() for t in tensors(rows=40, keys=40))
    clean = linear_attention(q, k, v, causal=True)
    hidden = linear_attention(q, k, v, causal=True, mask=masks.padding([30]))
    (k if which == "key" else v)[:, :, 33, 2] = poison
    assert torch.equal(linear_attention(q, k, v, causal=True, mask=masks.padding([30])), hidden)
    out = linear_attention(q, k, v, causal=True)
    assert torch.allclose(out[:, :, :33], clean[:, :, :33], atol=1e-6)
    assert not (out[:, :, 33:] if which == "key" else out[:, :, 33:, 2]).isfinite().any()


def test_derivatives_beyond_the_first() -> None:
    """A second derivative, and one with batched gradients, are those of the sums."""

    def second(dtype: torch.dtype) -> list[Tensor]:
        q, k, v = (t.to(dtype).requires_grad_() for t in tensors(1, 2, 1, 9, 11))
        out = linear_attention(q, k, v, causal=True)
        first = torch.autograd.grad(out.square().sum(), (q, k, v), create_graph=True)
        return list(torch.autograd.grad(sum(g.square().sum() for g in first), (q, k, v)))

    for one, other in zip(second(torch.float32), second(torch.float64), strict=True):
        assert torch.allclose(one.double(), other, rtol=1e-4, atol=1e-4 * float(other.abs().max()))
    q, k, v = (t.float().requires_grad_() for t in tensors(1, 2, 1, 3, 4))
    out = linear_attention(q, k, v)
    ways = torch.eye(out.numel()).view(-1, *out.shape)
    (batched,) = torch.autograd.grad(out, q, ways, is_grads_batched=True, retain_graph=True)
    each = torch.stack([torch.autograd.grad(out, q, way, retain_graph=True)[0] for way in ways])
    assert torch.allclose(batched, each, atol=1e-5)


def test_threads_change_no_bit() -> None:
    """One head and a long sequence: parts are cut by size, not by the number of threads."""
    given = [torch.randn(1, 1, 5000, 16) for _ in range(3)]
    results = []
    for count in (1, 2, 3):
        torch.set_num_threads(count)
        results.append(with_gradients(*given, causal=True))
    for other in results[1:]:
        assert all(torch.equal(one, two) for one, two in zip(results[0], other, strict=True))


def test_on_request_no_kernel(calls: list[str]) -> None:
    """`use_backend` holds here too; float64 and wide features have no kernel."""
    q, k, v = (t.float() for t in tensors())
    with regard.use_backend("math"):
        by_sums = linear_attention(q, k, v, causal=True)
        LinearState().update(k, v).read(q)
    linear_attention(q.double(), k.double(), v.double())
    wide = torch.randn(1, 1, 4, 300)
    linear_attention(wide, wide, wide)
    assert calls == []
    assert torch.allclose(linear_attention(q, k, v, causal=True), by_sums, atol=2e-6)
    assert calls == ["linear_forward"]


def test_a_map_of_ones_own(calls: list[str]) -> None:
    """Features that a function made are summed by the kernel; its parameters get their gradient."""
    q, k, v = (t.float() for t in tensors())
    layer = torch.nn.Linear(6, 9)
    linear_attention(q, k, v, feature_map=lambda x: layer(x).exp(), causal=True).square().sum().backward()
    found, layer.weight.grad = layer.weight.grad, None
    with regard.use_backend("math"):
        linear_attention(q, k, v, feature_map=lambda x: layer(x).exp(), causal=True).square().sum().backward()
    assert calls == ["linear_forward", "linear_backward"]
    assert torch.allclose(found, layer.weight.grad, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", MAPS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_state(calls: list[str], name: str, dtype: torch.dtype) -> None:
    """Steps of a state are the rows of the whole call; another width of the query is refused, not read."""
    q, k, v = (t.to(dtype) for t in tensors(rows=20, keys=20))
    wanted = linear_attention(*(t.double() for t in (q, k, v)), feature_map=name, causal=True)
    state = LinearState(name).update(k[:, :, :7], v[:, :, :7])
    for i in range(7, 20):
        here = slice(i, i + 1)
        step = state.update(k[:, :, here], v[:, :, here]).read(q[:, :, here])
        assert step.dtype == dtype
        assert torch.allclose(step.double(), wanted[:, :, here], atol=1e-2 if dtype == torch.bfloat16 else 2e-6)
    assert len(calls) == 27
    with pytest.raises(RuntimeError):
        state.read(q[..., :3])
