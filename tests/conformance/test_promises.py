"""Promises that are no table: threads, derivatives, graphs, `torch.func`, autocast, devices without numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

import regard
from regard import biases, masks
from regard._inputs import AttentionInputs, Dropout, Spans
from regard.backends import BACKENDS
from regard.backends._contract import Backend, refusal
from tests.interpreted import share

from .calls import DEVICE, HERE, make
from .cases import CASES, Case

backends = pytest.mark.parametrize("backend", HERE, ids=lambda backend: backend.name)
# The textbook leaves torch, so it records no gradient and stands in no graph.
in_torch = pytest.mark.parametrize("backend", [b for b in HERE if "gradient" in b.honours], ids=lambda b: b.name)
GRAPHS: tuple[dict[str, Any], ...] = (
    {},
    {"causal": True},
    {"window": (3, 1)},
    {"mask": masks.padding([5, 12]), "causal": True},
    {"causal": True, "bias": biases.ALiBi(2)},
    {"causal": True, "softcap": 2.0, "dropout": 0.3},
    {"causal": True, "sinks": torch.tensor([0.5, -1.0], device=DEVICE)},
)
# Backends whose last bit may change with the number of threads; their module says so.
ROUNDS_BY_THREADS = {"fused"}
graphs = pytest.mark.parametrize("arguments", GRAPHS, ids=lambda arguments: "-".join(arguments) or "plain")


# Torch 2.13's own tracer makes an instance of the autograd function that it traces, and warns of it.
tracer_warns = pytest.mark.filterwarnings("ignore:.*Function.* should not be instantiated:DeprecationWarning")


def _tensors(*shape: int, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    return [torch.randn(*shape, dtype=dtype, device=DEVICE, requires_grad=True) for _ in range(3)]


@pytest.mark.parametrize(
    ("backend", "case"),
    share(
        (b for b in HERE if "gradient" in b.honours),
        (case for case in CASES if case.sizes.L * case.sizes.S >= 81),
        one_in=25,
    ),
)
def test_threads_change_nothing(backend: Backend, case: Case) -> None:
    """One thread or two, output and gradients have the same bits; torch's kernel may round otherwise, and says so."""
    call = make(case, torch.float32)
    if refusal(backend, call.inputs()) is not None:
        assert backend.name in case.refused
        return
    found = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        output = backend.run(call.inputs()).output
        found.append([output, *torch.autograd.grad(output, list(call.leaves().values()), call.grad_output)])
    exact = backend.name not in ROUNDS_BY_THREADS
    for one, two in zip(*found, strict=True):
        torch.testing.assert_close(one, two, rtol=0 if exact else 1e-5, atol=0 if exact else 1e-6)


@pytest.mark.parametrize("through", ["output", "lse", "both"])
@pytest.mark.parametrize("dropout", [0.0, 0.4])
def test_derivatives_of_math(through: str, dropout: float) -> None:
    """First and second derivatives of every tensor agree with differences, through the output and through `lse`."""
    q = torch.randn(1, 2, 3, 2, dtype=torch.float64, requires_grad=True)
    k, v = (torch.randn(1, 1, 4, width, dtype=torch.float64, requires_grad=True) for width in (2, 3))
    vector = torch.randn(2, 6, dtype=torch.float64, requires_grad=True)
    dense = torch.randn(1, 1, 3, 4, dtype=torch.float64, requires_grad=True)

    def call(*leaves: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        inputs = AttentionInputs(
            leaves[0], leaves[1], leaves[2], 0.6, _causal_spans(3, 4), position_bias=leaves[3], bias=leaves[4],
            softcap=1.5, dropout=Dropout(dropout, torch.tensor(11)) if dropout else None,
        )  # fmt: skip
        result = BACKENDS[[b.name for b in BACKENDS].index("math")].run(inputs)
        assert result.lse is not None
        return {"output": result.output, "lse": result.lse, "both": (result.output, result.lse)}[through]

    # The value has no part in lse, and finite differences say so.
    assert torch.autograd.gradcheck(call, (q, k, v, vector, dense))
    assert torch.autograd.gradgradcheck(call, (q, k, v, vector, dense))


def _causal_spans(queries: int, keys: int) -> Spans:
    start, stop, _ = masks.causal().resolve(queries, keys)
    assert start is not None
    assert stop is not None
    return Spans(start, stop)


@pytest.fixture
def _nothing_compiled() -> None:
    """Forget earlier compilations, which count against a limit."""
    torch._dynamo.reset()


def _accepts(backend: Backend, arguments: dict[str, Any]) -> bool:
    query = torch.randn(2, 2, 12, 8, device=DEVICE)
    with regard.use_backend(backend.name):
        reasons = dict(regard.explain(query, query, query, **arguments).rows)
    return reasons[backend.name] is None


@in_torch
@graphs
@tracer_warns
@pytest.mark.usefixtures("_nothing_compiled")
def test_compiled(backend: Backend, arguments: dict[str, Any]) -> None:
    """A compiled call is one graph without a break, and gives the same output and gradients."""
    if not _accepts(backend, arguments):
        assert "softcap" in arguments, "only these arguments may be refused here"
        return
    tensors = _tensors(2, 2, 12, 8)

    def call(*given: Tensor) -> Tensor:
        return regard.attention(*given, **arguments, backend=backend.name)

    compiled = torch.compile(call, fullgraph=True, backend="aot_eager")
    if backend.name == "fused" and "sinks" in arguments:  # its lse has a gradient in eager calls alone
        with pytest.raises(Exception, match="no gradient of lse in a graph"):
            compiled(*tensors)
        torch.testing.assert_close(compiled(*(t.detach() for t in tensors)), call(*tensors).detach())
        return
    _same(compiled, call, tensors)


def _same(one: Callable[..., Tensor], other: Callable[..., Tensor], tensors: list[Tensor]) -> None:
    found = []
    for call in (one, other):
        torch.manual_seed(3)
        output = call(*tensors)
        found.append([output, *torch.autograd.grad(output.square().sum(), tensors)])
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


@tracer_warns
@pytest.mark.usefixtures("_nothing_compiled")
def test_compiled_obeys_use_backend() -> None:
    """A compiled function follows `use_backend`, also when it changes after compilation."""
    tensors = _tensors(1, 2, 5, 4)
    compiled = torch.compile(lambda *t: regard.attention(*t, softcap=1.0), fullgraph=True, backend="aot_eager")
    compiled(*tensors)
    with regard.use_backend("fused"), pytest.raises(Exception, match="softcap"):
        compiled(*tensors)


@in_torch
def test_exported_for_any_length(backend: Backend) -> None:
    """An exported call keeps the length open."""

    class Module(torch.nn.Module):
        def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
            return regard.attention(query, key, value, causal=True, backend=backend.name)

    length = torch.export.Dim("length", min=2, max=512)
    tensors = tuple(tensor.detach() for tensor in _tensors(1, 2, 20, 8))
    exported = torch.export.export(Module(), tensors, dynamic_shapes=({2: length},) * 3).module()
    shorter = [tensor[:, :, :7] for tensor in tensors]
    torch.testing.assert_close(exported(*shorter), Module()(*shorter))


@in_torch
@graphs
def test_fake_tensors(backend: Backend, arguments: dict[str, Any]) -> None:
    """Shapes can be worked out without numbers."""
    if not _accepts(backend, arguments):
        assert "softcap" in arguments, "only these arguments may be refused here"
        return
    arguments = {name: given for name, given in arguments.items() if name != "mask"}
    with FakeTensorMode():
        if "bias" in arguments:
            arguments["bias"] = biases.ALiBi(2)  # its slopes must be as unreal as the rest
        if "sinks" in arguments:
            arguments["sinks"] = torch.zeros(2, device=DEVICE)
        tensor = torch.randn(2, 2, 12, 8, device=DEVICE)
        assert regard.attention(tensor, tensor, tensor, **arguments, backend=backend.name).shape == (2, 2, 12, 8)


def test_meta_device() -> None:
    """On the meta device `math` gives the shape, and the gradients' shapes."""
    query = torch.randn(2, 4, 6, 8, device="meta", requires_grad=True)
    output = regard.attention(query, query[:, :2], query[:, :2, :, :3], causal=True)
    output.sum().backward()
    assert output.shape == (2, 4, 6, 3)
    assert query.grad is not None


def test_torch_func() -> None:
    """`vmap` and `grad` go through, and agree with a loop."""
    many = torch.randn(3, 1, 2, 6, 4, device=DEVICE)

    def loss(query: Tensor) -> Tensor:
        return regard.attention(query, many[0], many[1], causal=True).square().sum()

    looped = []
    for query in many:
        leaf = query.clone().requires_grad_()
        looped.append(torch.autograd.grad(loss(leaf), leaf)[0])
    torch.testing.assert_close(torch.func.vmap(torch.func.grad(loss))(many), torch.stack(looped))


@in_torch
def test_autocast(backend: Backend) -> None:
    """Under autocast the call equals one with inputs cast by hand, and gradients come back in float32."""
    tensors = _tensors(1, 2, 9, 8)
    with torch.autocast(DEVICE, dtype=torch.bfloat16):
        output = regard.attention(*tensors, causal=True, backend=backend.name)
    by_hand = regard.attention(*(t.bfloat16() for t in tensors), causal=True, backend=backend.name)
    assert torch.equal(output, by_hand)
    assert torch.autograd.grad(output.float().sum(), tensors)[0].dtype == torch.float32


@backends
def test_leading_dimensions(backend: Backend) -> None:
    """Fewer leading dimensions give the same numbers in the same form."""
    query, key, value = (tensor.detach() for tensor in _tensors(1, 1, 5, 4))
    full = regard.attention(query, key, value, causal=True, backend=backend.name)
    flat = regard.attention(query[0, 0], key[0, 0], value[0, 0], causal=True, backend=backend.name)
    assert torch.equal(flat, full[0, 0])
