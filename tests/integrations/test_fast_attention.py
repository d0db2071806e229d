"""SDPA on the native kernel inside a block: same results, counted, and left alone where it would not serve."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from regard.integrations import FastAttention, use_fast_attention
from tests.doors.models import Marked, distance

B, H, L, S, E = 2, 4, 70, 90, 16


def _heads(length: int = L, heads: int = H, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(B, heads, length, E, dtype=dtype)


def _square() -> dict[str, Any]:
    return {"query": _heads(S), "key": _heads(S), "value": _heads(S)}


def _cross(**more: Any) -> dict[str, Any]:
    return {"query": _heads(), "key": _heads(S), "value": _heads(S), **more}


CALLS: dict[str, Callable[[], dict[str, Any]]] = {
    "plain": _cross,
    "causal": lambda: {**_square(), "is_causal": True},
    "causal, fewer queries (from the first key)": lambda: _cross(is_causal=True),
    "scale": lambda: _cross(scale=0.3),
    "bool mask": lambda: _cross(attn_mask=torch.rand(B, 1, L, S) < 0.6),
    "bool mask of two dimensions": lambda: _cross(attn_mask=torch.ones(L, S, dtype=torch.bool).tril()),
    "additive mask": lambda: _cross(attn_mask=torch.zeros(L, S).masked_fill(torch.rand(L, S) < 0.4, -torch.inf)),
    "bias": lambda: _cross(attn_mask=torch.randn(H, L, S)),
    "grouped heads": lambda: {
        "query": _heads(), "key": _heads(S, 2), "value": _heads(S, 2), "enable_gqa": True
    },
    "three dimensions": lambda: {k: v[0] for k, v in _square().items()},
    "bfloat16": lambda: {k: v.bfloat16() for k, v in _square().items()},
}  # fmt: skip


def _served(call: dict[str, Any]) -> tuple[Tensor, FastAttention]:
    with use_fast_attention() as fast:
        return F.scaled_dot_product_attention(**call), fast


@pytest.mark.parametrize("name", CALLS)
def test_taken_calls_agree(name: str) -> None:
    """What the kernel takes over agrees with PyTorch to rounding."""
    call = CALLS[name]()
    expected = F.scaled_dot_product_attention(**call)
    found, fast = _served(call)
    assert fast.taken == fast.calls == 1, fast
    assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
    assert distance(found, expected) < (1e-2 if found.dtype == torch.bfloat16 else 5e-6)


LEFT: dict[str, tuple[Callable[[], dict[str, Any]], str]] = {
    "small": (lambda: {n: t[:, :, :3] for n, t in _square().items()}, "so small"),
    "broadcast batch": (lambda: {**_square(), "key": _heads(S)[:1], "value": _heads(S)[:1]}, "broadcasts"),
    "mask beside is_causal": (lambda: {**_square(), "attn_mask": torch.ones(S, S) > 0, "is_causal": True}, "is_causal"),
    "five dimensions": (lambda: {n: t[None] for n, t in _square().items()}, "broadcasts"),
    "float64": (lambda: {n: t.double() for n, t in _square().items()}, "float64"),
    "subclass": (lambda: {**_square(), "query": _heads(S).as_subclass(Marked)}, "subclass"),
}


def _outcome(call: dict[str, Any]) -> Tensor | str:
    """Return what PyTorch gives, or what it says: from 2.14 on it refuses a mask beside is_causal."""
    try:
        return F.scaled_dot_product_attention(**call)
    except RuntimeError as error:
        return str(error)


@pytest.mark.parametrize("name", LEFT)
def test_left_calls_are_counted(name: str) -> None:
    """What the kernel does not serve is PyTorch's own, bit for bit, and counted with the reason."""
    make, word = LEFT[name]
    call = make()
    expected = _outcome(call)
    with use_fast_attention() as fast:
        found = _outcome(call)
    if isinstance(expected, str):  # a call that PyTorch refuses is its error, and no call
        assert (found, fast.calls) == (expected, 0)
        return
    assert isinstance(found, Tensor)
    assert torch.equal(found, expected)
    assert fast.taken == 0
    assert [word in reason for reason in fast.left] == [True], fast
    assert word in repr(fast)


def test_differences_from_pytorch() -> None:
    """The documented differences: zeros where nothing is seen, and NaN that is visible comes out."""
    call = _square()
    hidden = torch.ones(S, S, dtype=torch.bool)
    hidden[3] = False
    with use_fast_attention():
        assert not F.scaled_dot_product_attention(**call, attn_mask=hidden)[:, :, 3].any()
        call["value"][0, 0, 5, 0] = torch.nan
        assert F.scaled_dot_product_attention(**call)[0, 0, :, 0].isnan().all()


def test_gradients_and_dropout() -> None:
    """Gradients flow and agree; dropout is drawn from the caller's generator and keeps the mean."""
    call = _square()
    leaves = {n: t.clone().requires_grad_() for n, t in call.items()}
    gradients = []
    for around in (use_fast_attention(), nullcontext()):
        with around:
            loss = F.scaled_dot_product_attention(**leaves).sin().sum()
            gradients.append(torch.stack(torch.autograd.grad(loss, list(leaves.values()))))
    assert distance(*gradients) < 1e-5
    runs = []
    for seed in (7, 7, 8):
        torch.manual_seed(seed)
        found, fast = _served({**call, "dropout_p": 0.5})
        assert fast.taken == 1
        runs.append(found)
    assert torch.equal(runs[0], runs[1])
    assert not torch.equal(runs[0], runs[2])


def test_refused_dropout_draws_nothing() -> None:
    """A call with dropout that stays with PyTorch sees the same random numbers as without the block."""
    call: dict[str, Any] = {**{n: t.double() for n, t in _square().items()}, "dropout_p": 0.3}
    torch.manual_seed(3)
    expected = F.scaled_dot_product_attention(**call)
    torch.manual_seed(3)
    found, fast = _served(call)
    assert torch.equal(found, expected)
    assert fast.taken == 0


@torch.no_grad()
def test_a_model_with_hooks() -> None:
    """Attached to a model it acts in its forward passes alone, also after one that failed, until removed."""
    model = nn.TransformerEncoder(nn.TransformerEncoderLayer(32, 2, batch_first=True), 2, enable_nested_tensor=False)
    model.eval()
    x = torch.randn(2, 60, 32)
    expected = model(x)
    fast = use_fast_attention(model)
    assert distance(model(x), expected) < 5e-6
    assert (fast.taken, fast.calls) == (2, 2)
    with pytest.raises(AssertionError):
        model(torch.randn(2, 60, 31))
    F.scaled_dot_product_attention(**_square())
    assert fast.calls == 2
    fast.remove()
    model(x)
    assert fast.calls == 2


@torch.no_grad()
def test_multi_head_attention() -> None:
    """`nn.MultiheadAttention` is served inside the function that hides the call; with weights it stays as it is."""
    layer, x = nn.MultiheadAttention(32, 2, batch_first=True), torch.randn(2, 60, 32)
    hidden = torch.rand(60, 60) < 0.3
    expected = layer(x, x, x, attn_mask=hidden, need_weights=False)[0]
    with use_fast_attention() as fast:
        found = layer(x, x, x, attn_mask=hidden, need_weights=False)[0]
        with_weights = layer(x, x, x, attn_mask=hidden)
    assert fast.taken == fast.calls == 1
    assert distance(found, expected) < 5e-6
    assert with_weights[1] is not None


def test_blocks_nest_and_threads_are_apart() -> None:
    """The inner block counts, and another thread is not touched."""
    call = _square()
    with use_fast_attention() as outer:
        with use_fast_attention() as inner:
            F.scaled_dot_product_attention(**call)
        with ThreadPoolExecutor(1) as pool:
            pool.submit(F.scaled_dot_product_attention, **call).result()
    assert (outer.calls, inner.calls) == (0, 1)


def test_autocast_keeps_its_dtype() -> None:
    """Inputs that autocast would convert stay with PyTorch, so the result has its dtype."""
    with torch.autocast("cpu", torch.bfloat16):
        found, fast = _served(_square())
    assert found.dtype == torch.bfloat16
    assert fast.taken == 0


@torch.no_grad()
def test_compiled_code() -> None:
    """A graph lowered by its compiler keeps PyTorch's own; one that runs functions as they are is served."""

    def call(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(query, key, value) * 2

    inputs = _square()
    expected = call(**inputs)
    for backend, taken in (("aot_eager", 0), ("eager", 1)):
        torch._dynamo.reset()
        compiled = torch.compile(call, backend=backend, fullgraph=True)
        with use_fast_attention() as fast:
            found = compiled(**inputs)
        assert torch.allclose(found, expected, atol=1e-5)
        assert fast.taken == taken


def test_a_mask_is_read_again_after_writing() -> None:
    """The mask that is remembered is forgotten when it is written to."""
    call, hidden = _square(), torch.ones(S, S, dtype=torch.bool).tril()
    with use_fast_attention():
        first = F.scaled_dot_product_attention(**call, attn_mask=hidden)
        hidden.fill_(True)
        second = F.scaled_dot_product_attention(**call, attn_mask=hidden)
    assert not torch.allclose(first, second)
    assert torch.allclose(second, F.scaled_dot_product_attention(**call), atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_the_lowest_number_along_a_row_hides_nothing(dtype: torch.dtype) -> None:
    """Padding on the left as older models write it: such a row is what PyTorch makes of it, not 0."""
    query = torch.randn(1, 2, 70, 16, dtype=dtype)
    mask = torch.zeros(1, 1, 70, 70, dtype=dtype).masked_fill(
        torch.ones(70, 70).triu(1).bool() | (torch.arange(70) < 9), torch.finfo(dtype).min
    )
    call = {"query": query, "key": query, "value": query, "attn_mask": mask}
    expected = F.scaled_dot_product_attention(**call)
    found, fast = _served(call)
    assert isinstance(fast, FastAttention)
    assert fast.taken == 1
    assert float(expected[:, :, :9].abs().mean()) > 0.01
    torch.testing.assert_close(found, expected, rtol=1e-2, atol=1e-2 if dtype != torch.float32 else 1e-5)
