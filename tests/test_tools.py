"""Tools that record, replay or differentiate operators, over the call, the layers and models of others.

Each runs what it made on other numbers than those it saw, and on other sizes where the tool allows them.
"""

from __future__ import annotations

import copy
import io
import pickle
import warnings
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import onnxruntime
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
    pytest.mark.filterwarnings("ignore:There is a performance drop"),  # vmap of PyTorch's own attention
]

Inputs = Callable[[int, int], tuple[Tensor, ...]]
Tool = Callable[[nn.Module, tuple[Tensor, ...]], Callable[..., Tensor]]


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


def hugging_face(embedded: bool = False) -> nn.Module:
    """A small model of transformers on regard, that takes token numbers or vectors."""
    register()
    config = transformers.LlamaConfig(
        vocab_size=61, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        intermediate_size=48, attn_implementation="regard",
    )  # fmt: skip
    model = transformers.LlamaModel(config).eval()
    name = "inputs_embeds" if embedded else "input_ids"
    return Call(lambda m, x: m(**{name: x}, use_cache=False, return_dict=False)[0], model)


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
    "documents": (
        lambda q, k, v: regard.attention(q, k, v, mask=masks.documents([2, 0, 4])),
        lambda b, n: heads()(b, 6),
    ),
    "weights": (lambda q, k, v: regard.attention(q, k, v, causal=True, need_weights=True)[1].dense() @ v, heads()),
    "entropy": (lambda q, k, v: regard.attention(q, k, v, window=(1, 1), need_weights=True)[1].entropy(), heads()),
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


def saved(module: nn.Module, example: tuple[Tensor, ...]) -> Callable[..., Tensor]:
    """Through `torch.save` and `torch.load`."""
    file = io.BytesIO()
    torch.save(module, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


def compiled(module: nn.Module, example: tuple[Tensor, ...]) -> Callable[..., Tensor]:
    """Through `torch.compile`, as one graph."""
    torch.compiler.reset()
    return torch.compile(module, fullgraph=True, backend="aot_eager", dynamic=False)


def mapped(module: nn.Module, example: tuple[Tensor, ...]) -> Callable[..., Tensor]:
    """Through `torch.func.vmap` over three batches."""
    every = torch.func.vmap(module, randomness="different")
    return lambda *tensors: every(*(torch.stack([t, t.flip(0), t]) for t in tensors))[0]


def functional(module: nn.Module, example: tuple[Tensor, ...]) -> Callable[..., Tensor]:
    """Through `torch.func.functional_call`, with the parameters of a copy."""
    parameters = dict(copy.deepcopy(module).named_parameters())
    return lambda *tensors: torch.func.functional_call(module, parameters, tensors)


def quantised(module: nn.Module, example: tuple[Tensor, ...]) -> Callable[..., Tensor]:
    """Through `quantize_dynamic`, which takes no linear map of ours and says so."""
    with warnings.catch_warnings(action="ignore", category=UserWarning):
        return torch.ao.quantization.quantize_dynamic(module, {nn.LSTM, nn.GRU})


def onnx(module: nn.Module, example: tuple[Tensor, ...]) -> Callable[..., Tensor]:
    """Through the older ONNX exporter, run by onnxruntime."""
    file = io.BytesIO()
    torch.onnx.export(Call(lambda m, *tensors: m(*tensors), module).eval(), example, file, dynamo=False)
    session = onnxruntime.InferenceSession(file.getvalue())
    names = [one.name for one in session.get_inputs()]
    return lambda *tensors: torch.from_numpy(
        session.run(None, {name: tensor.numpy() for name, tensor in zip(names, tensors, strict=True)})[0]
    )


TOOLS: dict[str, Tool] = {
    "jit.trace": traced,
    "export": exported,
    "make_fx": recorded,
    "deepcopy": lambda module, example: copy.deepcopy(module),
    "pickle": lambda module, example: pickle.loads(pickle.dumps(module)),
    "save": saved,
    "compile": compiled,
    "vmap": mapped,
    "functional_call": functional,
    "quantize_dynamic": quantised,
    "onnx": onnx,
}
SIZES = dict.fromkeys(("deepcopy", "pickle", "save", "vmap", "functional_call"), ((2, 6), (3, 9)))
SIZES["jit.trace"] = ((2, 6), (3, 9), (1, 4))
EVERYTHING = ("jit.trace", "export", "make_fx", "deepcopy")
# Of the other tools a cell for each kind of subject. What a test defines in a line has no name to be pickled by.
NAMED = ("layer, alibi", "layer, encoder")
FEW = ("call, causal", "call, lengths", "call, documents", "call, weights", "layer, hugging face", *NAMED)
# transformers itself reads numbers under make_fx; the older exporter does not know an operator of its masks.
THEIRS = {("make_fx", "layer, hugging face"), ("onnx", "layer, hugging face")}
PAIRS = [
    (tool, name)
    for tool in TOOLS
    for name in (SUBJECTS if tool in EVERYTHING else NAMED if tool in ("pickle", "save") else FEW)
    if (tool, name) not in THEIRS
]


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


@pytest.mark.parametrize("subject", ["lengths", "weights", "entropy"])
def test_exported_for_any_length(subject: str) -> None:
    """Masks and questions of the weights fix no length, nor does a bound of memory."""
    call, length = Call(CALLS[subject][0]), torch.export.Dim("length", min=4, max=900)
    with torch.no_grad():
        graph = torch.export.export(call, heads()(2, 600), dynamic_shapes=(({2: length},) * 3,)).module()
        for tokens in (5, 700):
            given = heads()(2, tokens)
            torch.testing.assert_close(graph(*given), call(*given), atol=2e-5, rtol=1e-4)


@pytest.mark.filterwarnings("ignore")
def test_documents_through_the_newer_exporter() -> None:
    """A packed mask is standard operators there too."""
    file, call, example = io.BytesIO(), Call(CALLS["documents"][0]), heads()(2, 6)
    torch.onnx.export(call, example, file, dynamo=True, verbose=False)
    session, given = onnxruntime.InferenceSession(file.getvalue()), heads()(2, 6)
    names = [one.name for one in session.get_inputs()]
    (found,) = session.run(None, {name: tensor.numpy() for name, tensor in zip(names, given, strict=True)})
    torch.testing.assert_close(torch.from_numpy(found), call(*given), atol=2e-5, rtol=1e-4)


class Sdpa(nn.Module):
    """A model of others, whose attention is PyTorch's."""

    def __init__(self) -> None:
        super().__init__()
        self.maps = nn.Linear(32, 96)

    def forward(self, x: Tensor) -> Tensor:
        """Attend."""
        q, k, v = (part.view(*part.shape[:-1], 4, 8).transpose(-3, -2) for part in self.maps(x).chunk(3, -1))
        return nn.functional.scaled_dot_product_attention(q, k, v).transpose(-3, -2).flatten(-2)


@pytest.mark.parametrize("around", ["use_fast_attention", "served", "watch"])
@pytest.mark.parametrize("tool", TOOLS)
def test_tool_inside_what_takes_calls_over(tool: str, around: str) -> None:
    """Made and run inside a block, and run after it, what the tool made computes what the model does."""
    module = Sdpa().eval()
    with torch.no_grad():
        given = tokens(2, 64)
        expected = module(*given)
        if around == "served":
            fast: Any = use_fast_attention(module)
            made = TOOLS[tool](module, tokens(2, 64))
            torch.testing.assert_close(made(*given), expected, atol=2e-5, rtol=1e-4)
            fast.remove()
        else:
            with use_fast_attention() if around == "use_fast_attention" else regard.watch(module):
                module(*given)
                made = TOOLS[tool](module, tokens(2, 64))
                torch.testing.assert_close(made(*given), expected, atol=2e-5, rtol=1e-4)
        torch.testing.assert_close(made(*given), expected, atol=2e-5, rtol=1e-4)


def replayed(reentrant: bool) -> Callable[[nn.Module, Tensor], Tensor]:
    """Gradients of the first input through gradient checkpointing."""

    def gradient(module: nn.Module, x: Tensor) -> Tensor:
        x = x.clone().requires_grad_()
        checkpoint(module, x, use_reentrant=reentrant).square().sum().backward()
        assert x.grad is not None
        return x.grad

    return gradient


def tangent(module: nn.Module, x: Tensor) -> Tensor:
    """The derivative along `x`, which is the product of the gradients with it."""
    return torch.func.jvp(lambda y: module(y).square().sum(), (x,), (x,))[1]


def recompiled(module: nn.Module, x: Tensor) -> Tensor:
    """Gradients through `torch.compile`."""
    return replayed(False)(compiled(module, (x,)), x)  # type: ignore[arg-type]


GRADIENTS: dict[str, Callable[[nn.Module, Tensor], Tensor]] = {
    "checkpoint, reentrant": replayed(True),
    "checkpoint": replayed(False),
    "grad": lambda module, x: torch.func.grad(lambda y: module(y).square().sum())(x),
    "jvp": tangent,
    "jacrev": lambda module, x: torch.func.jacrev(lambda y: module(y).square().sum())(x),
    "compile": recompiled,
}
TRAINED: dict[str, Callable[[], nn.Module]] = {
    "call": lambda: Call(lambda x: regard.attention(x, x, x, causal=True)),
    "attention": lambda: Call(lambda m, x: m(x, causal=True), MultiHeadAttention(32, 4, position=ALiBi(4))),
    "encoder": lambda: Encoder(EncoderLayer(32, 4), 1),
    "hugging face": lambda: hugging_face(embedded=True),
    "served": Sdpa,
    "watch": Sdpa,
}


@pytest.mark.parametrize("tool", GRADIENTS)
@pytest.mark.parametrize("subject", TRAINED)
def test_gradients_through_a_tool(tool: str, subject: str) -> None:
    """They are those of the plain backward pass."""
    if tool in ("jvp", "jacrev") and subject in ("served", "watch"):
        return  # PyTorch's own attention has neither
    torch.manual_seed(0)
    module, (x,) = TRAINED[subject]().eval(), tokens(2, 64)
    leaf = x.clone().requires_grad_()
    (expected,) = torch.autograd.grad(module(leaf).square().sum(), leaf)
    around: Any = {"served": use_fast_attention, "watch": lambda: regard.watch(module)}.get(subject, nullcontext)
    with around():
        module(x)
        found = GRADIENTS[tool](module, x)
    torch.testing.assert_close(found, (expected * x).sum() if tool == "jvp" else expected, atol=1e-3, rtol=1e-3)


def test_quantize_dynamic_says_what_it_passes_over() -> None:
    """One warning for a model, none where no linear map was meant; the model computes what it did."""
    quantise = torch.ao.quantization.quantize_dynamic
    model, x = nn.Sequential(Encoder(EncoderLayer(32, 4), 2), nn.Linear(32, 3)).eval(), torch.randn(2, 5, 32)
    with warnings.catch_warnings(record=True, action="always") as told:
        small = quantise(model)
        quantise(model, {nn.Linear})
    ours = [one for one in told if "every Projection of regard in this model stays" in str(one.message)]
    assert [one.filename for one in ours] == [__file__, __file__]
    torch.testing.assert_close(small[0](x), model[0](x), rtol=0, atol=0)
    with warnings.catch_warnings(action="error", category=UserWarning):
        quantise(model, {nn.LSTM})


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
