"""Tools that record, replay or differentiate operators, over the call, the layers and models of others.

Each runs what it made on other numbers than those it saw, and on other sizes where the tool allows them.
"""

from __future__ import annotations

import copy
import io
from collections.abc import Callable
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor, nn
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils.checkpoint import checkpoint

import regard
from regard import biases, masks
from regard.integrations import use_fast_attention
from regard.integrations.transformers import register
from regard.layers import (
    ALiBi,
    DecoderLayer,
    Encoder,
    EncoderLayer,
    FeedForward,
    MultiHeadAttention,
    RelativeBias,
    Rotary,
    Transformer,
)
from regard.linear import linear_attention

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore:.*torch.jit.*deprecated"),
    pytest.mark.filterwarnings("ignore:.*:torch.jit.TracerWarning:transformers"),
]

Inputs = Callable[[int, int], tuple[Tensor, ...]]


class Call(nn.Module):
    """A function as a module, with the module it uses, if any."""

    def __init__(self, function: Callable[..., Tensor], inner: nn.Module | None = None) -> None:
        super().__init__()
        self.function, self.inner = function, inner

    def forward(self, *tensors: Tensor) -> Tensor:
        """Call it."""
        return self.function(*tensors) if self.inner is None else self.function(self.inner, *tensors)


def heads(groups: int = 4, more: int = 0) -> Inputs:
    """Query, key and value of a call; `more` keys than queries."""
    return lambda b, n: (
        torch.randn(b, 4, n, 8), torch.randn(b, groups, n + more, 8), torch.randn(b, groups, n + more, 8)
    )  # fmt: skip


def tokens(b: int, n: int) -> tuple[Tensor, ...]:
    """Tokens of a layer."""
    return (torch.randn(b, n, 32),)


def pair(b: int, n: int) -> tuple[Tensor, ...]:
    """Source and target."""
    return torch.randn(b, n + 2, 32), torch.randn(b, n, 32)


def padded(b: int, n: int) -> tuple[Tensor, ...]:
    """Tokens and which of them are real."""
    real = torch.ones(b, n, dtype=torch.bool)
    real[0, n // 2 :] = False
    return torch.randn(b, n, 32), real


def ids(b: int, n: int) -> tuple[Tensor, ...]:
    """Token numbers."""
    return (torch.randint(4, 60, (b, n)),)


def hugging_face() -> nn.Module:
    """A small model of transformers on regard."""
    register()
    config = transformers.LlamaConfig(
        vocab_size=61, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        intermediate_size=48, attn_implementation="regard",
    )  # fmt: skip
    model = transformers.LlamaModel(config).eval()
    return Call(lambda m, x: m(x, use_cache=False, return_dict=False)[0], model)


TABLE = torch.randn(8, 4, generator=torch.Generator().manual_seed(1))
CALLS: dict[str, tuple[Callable[..., Tensor], Inputs]] = {
    "plain": (regard.attention, heads()),
    "causal": (lambda q, k, v: regard.attention(q, k, v, causal=True), heads(more=2)),
    "grouped": (lambda q, k, v: regard.attention(q, k, v, causal=True, softcap=2.0), heads(2)),
    "window": (lambda q, k, v: regard.attention(q, k, v, window=(2, 1)), heads()),
    "lengths": (
        lambda q, k, v: regard.attention(q, k, v, mask=masks.padding([3, 4]) & masks.causal()),
        lambda b, n: heads()(2, max(n, 4)),
    ),
    "prefix": (lambda q, k, v: regard.attention(q, k, v, mask=masks.prefix(2)), heads()),
    "alibi": (lambda q, k, v: regard.attention(q, k, v, bias=biases.ALiBi(4), causal=True), heads(more=1)),
    "t5": (lambda q, k, v: regard.attention(q, k, v, bias=biases.T5Bias(TABLE)), heads()),
    "bias": (
        lambda q, k, v: regard.attention(
            q, k, v, bias=(q @ k.transpose(-2, -1)).masked_fill(q @ k.transpose(-2, -1) > 3, -torch.inf)
        ),
        heads(),
    ),
    "mask": (lambda q, k, v: regard.attention(q, k, v, mask=(q @ k.transpose(-2, -1)) > 0), heads()),
    "linear": (linear_attention, heads()),
    "linear causal": (lambda q, k, v: linear_attention(q, k, v, causal=True, feature_map="softmax"), heads(2)),
}
LAYERS: dict[str, tuple[Callable[[], nn.Module], Inputs]] = {
    "attention": (
        lambda: Call(
            lambda m, x: m(x, causal=True),
            MultiHeadAttention(32, 4, num_kv_heads=2, qk_norm=True, position=Rotary(), softcap=3.0),
        ),
        tokens,
    ),
    "cross attention": (lambda: Call(lambda m, a, b: m(b, a), MultiHeadAttention(32, 4)), pair),
    "alibi": (lambda: EncoderLayer(32, 4, position=ALiBi(4)), tokens),
    "relative": (lambda: EncoderLayer(32, 4, position=RelativeBias(4), norm="rms", activation="swiglu"), tokens),
    "padding": (lambda: Call(lambda m, x, real: m(x, mask=masks.padding(real)), EncoderLayer(32, 4)), padded),
    "decoder": (lambda: Call(lambda m, a, b: m(b, a, causal=True), DecoderLayer(32, 4)), pair),
    "encoder": (lambda: Encoder(EncoderLayer(32, 4, norm_first=True), 2), tokens),
    "transformer": (lambda: Call(lambda m, a, b: m(a, b), Transformer(32, 4, 1, 1)), pair),
    "feed forward": (lambda: FeedForward(32, 64), tokens),
    "hugging face": (hugging_face, ids),
}
SUBJECTS: dict[str, tuple[Callable[[], nn.Module], Inputs]] = {
    **{f"call, {name}": (lambda f=f: Call(f), make) for name, (f, make) in CALLS.items()},
    **{f"layer, {name}": entry for name, entry in LAYERS.items()},
}


def traced(module: nn.Module, example: tuple[Tensor, ...]) -> Callable[..., Tensor]:
    """Through `torch.jit.trace`, saved and loaded."""
    file = io.BytesIO()
    torch.jit.save(torch.jit.trace(module, example), file)
    file.seek(0)
    return torch.jit.load(file)


def exported(module: nn.Module, example: tuple[Tensor, ...]) -> Callable[..., Tensor]:
    """Through `torch.export`, for the sizes of the example."""
    return torch.export.export(module, example).module()


def recorded(module: nn.Module, example: tuple[Tensor, ...]) -> Callable[..., Tensor]:
    """Through `make_fx`."""
    return make_fx(module)(*example)


def checkpointed(module: nn.Module, example: tuple[Tensor, ...]) -> Callable[..., Tensor]:
    """Through gradient checkpointing."""
    return lambda *tensors: checkpoint(module, *tensors, use_reentrant=False)


def copied(module: nn.Module, example: tuple[Tensor, ...]) -> Callable[..., Tensor]:
    """As a copy."""
    return copy.deepcopy(module)


TOOLS = {"jit.trace": traced, "export": exported, "make_fx": recorded, "checkpoint": checkpointed, "deepcopy": copied}
SIZES = {"jit.trace": ((2, 6), (3, 9), (1, 4)), "checkpoint": ((2, 6), (3, 9)), "deepcopy": ((2, 6), (3, 9))}


# transformers itself reads numbers under make_fx.
PAIRS = [(tool, name) for tool in TOOLS for name in SUBJECTS if (tool, name) != ("make_fx", "layer, hugging face")]


@pytest.mark.parametrize(("tool", "subject"), PAIRS)
def test_tool_computes_the_same(tool: str, subject: str) -> None:
    """What the tool made computes attention on other numbers and sizes, not what it saw."""
    build, make = SUBJECTS[subject]
    module = build().eval()
    with torch.no_grad():
        made = TOOLS[tool](module, make(2, 6))
        for batch, length in SIZES.get(tool, ((2, 6),)):
            given = make(batch, length)
            torch.testing.assert_close(made(*given), module(*given), atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_trace_keeps_what_is_hidden_hidden(dtype: torch.dtype) -> None:
    """In a traced graph a NaN in a hidden key or value has no effect, a query that sees nothing gives 0."""
    real = torch.tensor([[True, True, False], [False, False, False]])
    call = Call(lambda q, k, v, real: regard.attention(q, k, v, mask=masks.padding(real)))
    q, k, v = (torch.randn(2, 1, 3, 4, dtype=dtype) for _ in range(3))
    graph = torch.jit.trace(call, (q, k, v, real))
    expected = graph(q, k, v, real)
    assert (expected[1] == 0).all()
    k[0, 0, 2], v[0, 0, 2] = torch.nan, torch.inf
    assert torch.equal(graph(q, k, v, real), expected)
    v[0, 0, 1] = torch.nan
    assert graph(q, k, v, real)[0].isnan().all()


def test_traced_dropout_draws_anew() -> None:
    """Each run of a traced graph in training drops other weights."""
    call = Call(lambda q: regard.attention(q, q, q, dropout=0.5))
    q = torch.randn(1, 2, 8, 4)
    graph = torch.jit.trace(call, q, check_trace=False)
    first, second = graph(q), graph(q)
    assert first.isfinite().all()
    assert not torch.equal(first, second)


def test_kernel_asked_for_by_name_refuses_a_trace() -> None:
    """The native kernel says in one sentence that it cannot be written down, and what to do."""
    call = Call(lambda q: regard.attention(q, q, q, backend="native"))
    with pytest.raises(regard.errors.BackendError, match=r"torch.jit.trace.*Leave out backend="):
        torch.jit.trace(call, torch.randn(1, 2, 64, 8))


def test_traced_inside_use_fast_attention() -> None:
    """SDPA traced inside `use_fast_attention` stays PyTorch's own."""
    call = Call(nn.functional.scaled_dot_product_attention)
    with use_fast_attention():
        graph = torch.jit.trace(call, heads()(2, 64))
    given = heads()(3, 70)
    torch.testing.assert_close(graph(*given), call(*given))


def test_masks_under_compile_in_linear_attention() -> None:
    """A mask that is an input compiles into one graph."""
    torch.compiler.reset()

    def call(q: Tensor, real: Tensor) -> Tensor:
        return linear_attention(q, q, q, mask=masks.padding(real), causal=True)

    q, real = torch.randn(2, 2, 6, 4), torch.arange(6) < torch.tensor([[3], [6]])
    compiled: Any = torch.compile(call, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(q, real), call(q, real), atol=1e-5, rtol=1e-4)
