"""The Triton kernels in the interpreter, beyond the table of conformance: long calls, maps, sizes, graphs."""

from __future__ import annotations

import itertools
import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

import regard
from regard import biases, masks
from regard._attention import _prepare
from regard._inputs import AttentionInputs
from regard.backends import BACKENDS, _cells, _philox
from regard.backends._scores import scores
from regard.backends.triton._backward import backward
from regard.backends.triton._forward import forward
from tests.interpreted import EVERY

MATH = next(backend for backend in BACKENDS if backend.name == "math")
TRITON = next(backend for backend in BACKENDS if backend.name == "triton")


def call(
    lengths: tuple[int, int], heads: tuple[int, int] = (2, 1), width: int = 16, batch: int = 1, **arguments: Any
) -> AttentionInputs:
    """Return a call with random query, key and value."""
    generator = torch.Generator().manual_seed(lengths[0] * 100 + lengths[1])
    query = torch.randn(batch, heads[0], lengths[0], width, generator=generator)
    key, value = torch.randn(2, batch, heads[1], lengths[1], width, generator=generator)
    return _prepare(query, key, value, False, arguments)[0]


def shifted(rows: int, keys: int, by: float) -> Tensor:
    """Return a bias that moves every other row far away."""
    bias = torch.zeros(rows, keys)
    bias[1::2] = by
    return bias


MAPPED: tuple[dict[str, Any], ...] = (
    {"causal": True},
    {"causal": True, "window": (70, 0)},
    {"mask": masks.documents([40, 100, 60]), "causal": True},
    {"mask": masks.padding([90])},
    {"mask": torch.arange(200) % 3 > 0},
    {"bias": biases.ALiBi(2), "softcap": 2.0},
    {"bias": shifted(200, 200, -1e9)},
    {"dropout": 0.5},
)


@pytest.mark.parametrize(
    ("cell", "arguments"),
    [
        pytest.param(cell, arguments, id=f"{cell}-{'-'.join(arguments)}")
        for (number, arguments), cell in itertools.product(enumerate(MAPPED), (64, 128))
        if EVERY or (number % 2 == 0) == (cell == 64)
    ],
)
def test_map(arguments: dict[str, Any], cell: int) -> None:
    """The map of the forward pass is the mean over queries of the sum over keys of each cell."""
    x = call((200, 200), **arguments)
    output, lse, found = forward(x, cell)
    whole = slice(0, 200)
    weights = torch.softmax(scores(x, whole, whole), -1).nan_to_num(0.0)
    expected = _cells.in_cells(weights, (cell, cell), torch.sum) / _cells.cell_sizes(200, cell, x.query.device)[:, None]
    torch.testing.assert_close(found, expected, atol=2e-6, rtol=1e-5)
    without = forward(x, 0)
    assert torch.equal(output, without[0])
    assert torch.equal(lse, without[1])


@pytest.mark.parametrize("lengths", [(1, 700), (3, 513), (4, 1025)])
@pytest.mark.parametrize(
    "arguments",
    [{"causal": True}, {"window": (300, 0)}, {"bias": biases.ALiBi(8), "softcap": 3.0}, {"mask": masks.padding([0])},
     {"dropout": 0.4}],
    ids=lambda arguments: "-".join(arguments),
)  # fmt: skip
def test_few_queries(lengths: tuple[int, int], arguments: dict[str, Any]) -> None:
    """Keys shared among programs give what one pass gives, for all heads of a key head at once."""
    x = call(lengths, (8, 2), **arguments)
    found, expected = TRITON.run(x), MATH.run(x)
    torch.testing.assert_close(found.output, expected.output, atol=2e-6, rtol=1e-5)
    torch.testing.assert_close(found.lse, expected.lse, atol=2e-6, rtol=1e-6)


def test_weights_of_a_step_far_from_zero() -> None:
    """A step of a generation whose rows lie far from zero."""
    x = call((3, 700), bias=shifted(3, 700, 1e9))
    torch.testing.assert_close(TRITON.run(x).output, MATH.run(x).output, atol=2e-6, rtol=1e-5)


@pytest.mark.parametrize("probability", [0.1, 0.5])
def test_dropout_keeps_what_others_keep(probability: float) -> None:
    """To the bit: values that are the unit matrix show each weight that is kept, and the same ones go to zero."""
    generator = torch.Generator().manual_seed(5)
    query, key = torch.randn(2, 2, 3, 130, 16)
    value = torch.eye(130).expand(2, 3, 130, 130)
    x = _prepare(query, key, value, False, {"dropout": probability, "generator": generator})[0]
    assert x.dropout is not None
    kept = _philox.keep(x.dropout.seed, torch.arange(6).view(2, 3), torch.arange(130), slice(0, 130), probability)
    assert torch.equal(TRITON.run(x).output != 0, kept)


def _gradients(run: Any, x: AttentionInputs) -> list[Tensor]:
    leaves = [t.detach().clone().requires_grad_() for t in (x.query, x.key, x.value)]
    result = run(replace(x, query=leaves[0], key=leaves[1], value=leaves[2]))
    ends = [result.output.square().sum(), result.lse.masked_fill(result.lse == -torch.inf, 0.0).sin().sum()]
    return [result.output.detach(), *torch.autograd.grad(sum(ends), leaves)]


# Around the sides of tiles; all of 70 x 70 take an hour and a half.
LENGTHS = (*range(1, 19), 31, 32, 33, 48, 63, 64, 65, 66, 70)
ODD = (
    list(itertools.product(LENGTHS, repeat=2))
    if EVERY
    else [(1, 70), (2, 3), (17, 31), (63, 65), (64, 64), (65, 63), (70, 1), (70, 70)]
)


@pytest.mark.parametrize("part", range(8))
def test_odd_sizes(part: int) -> None:
    """Lengths to 70 x 70 with masks in turn, forward and backward, in memory that begins as NaN."""
    for number, lengths in enumerate(ODD):
        if number % 8 != part:
            continue
        turns = ({}, {"causal": True}, {"window": (3, 9)}, {"mask": masks.padding([min(5, lengths[1])])})
        x = call(lengths, (1, 1), width=1 + number % 40, **turns[(number // 8 + part) % 4])
        for found, expected in zip(_gradients(TRITON.run, x), _gradients(MATH.run, x), strict=True):
            assert torch.allclose(found, expected, atol=2e-5, rtol=2e-5), lengths


@pytest.mark.parametrize("arguments", MAPPED[:7], ids=lambda arguments: "-".join(arguments))
def test_gradients_over_several_tiles(arguments: dict[str, Any]) -> None:
    """Tiles that see all, some and nothing of each other."""
    x = call((200, 200), **arguments)
    for found, expected in zip(_gradients(TRITON.run, x), _gradients(MATH.run, x), strict=True):
        torch.testing.assert_close(found, expected, atol=5e-5, rtol=5e-5)


def test_results_begin_as_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    """No kernel leaves a place of its results as it was, nor reads one before it is written."""
    x = call((100, 140), (4, 2), causal=True, window=(30, 0), bias=biases.RelativeBias(torch.randn(4, 239)))
    grad = torch.ones_like(x.query)

    def run() -> list[Tensor]:
        output, lse, found = forward(x, 64)
        given = backward(x, output, lse, grad, torch.ones_like(lse), (True, False))
        return [t for t in (output, lse, found, *given) if t is not None]

    expected = run()
    for name in ("empty_like", "empty"):
        plain = getattr(torch, name)
        monkeypatch.setattr(torch, name, lambda *a, plain=plain, **k: _poisoned(plain(*a, **k)))
    for name in ("new_empty", "new_empty_strided"):
        plain = getattr(Tensor, name)
        monkeypatch.setattr(Tensor, name, lambda *a, plain=plain, **k: _poisoned(plain(*a, **k)))
    for one, other in zip(run(), expected, strict=True):
        assert torch.equal(one, other)


def _poisoned(tensor: Tensor) -> Tensor:
    return tensor.fill_(torch.nan if tensor.is_floating_point() else 2**30)


def test_a_saved_graph_names_the_operator_of_all_kernels() -> None:
    """Where the Triton kernels were asked for, a graph on the CPU runs them, by the operator of the native ones."""
    query = torch.randn(1, 2, 9, 8)

    class Module(torch.nn.Module):
        def forward(self, query: Tensor) -> Tensor:
            return regard.attention(query, query, query, causal=True, backend="triton")

    exported = torch.export.export(Module(), (query,))
    assert "torch.ops.regard.attention_forward.default" in exported.graph_module.code
    assert "True" in exported.graph_module.code.partition("attention_forward.default(")[2].partition(")")[0]
    torch.testing.assert_close(exported.module()(query), Module()(query))


def test_never_chosen_on_the_cpu_by_itself() -> None:
    """Not even for a call that the fast backends refuse; asked for by name it runs, or says what is missing."""
    query = torch.randn(1, 2, 9, 8)
    rows = dict(regard.explain(query, query, query).rows)
    assert "only where it is asked for by name" in str(rows["triton"])
    with regard.use_backend("triton"):
        assert regard.explain(query, query, query).chosen == "triton"
    code = (
        "import regard, torch, sys; q = torch.ones(2, 3, 4); print(dict(regard.explain(q, q, q).rows)['triton']); "
        "print('triton' in sys.modules); regard.attention(q, q, q, backend='triton')"
    )
    env = {"TRITON_INTERPRET": "0", "PATH": "/usr/bin:/bin"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=env)
    assert done.stdout.splitlines() == [
        "compiles for GPUs; on the CPU it runs in Triton's interpreter alone, with TRITON_INTERPRET=1 set", "False",
    ]  # fmt: skip
    assert "RefusedError" in done.stderr


def test_without_triton(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where Triton is missing, the reason says how it comes."""
    from regard.backends.triton import _available

    monkeypatch.setattr(_available, "version", lambda: None)
    query = torch.randn(1, 2, 9, 8)
    with pytest.raises(regard.errors.RefusedError, match="needs Triton, which is not installed"):
        regard.attention(query, query, query, backend="triton")
    monkeypatch.setattr(_available, "version", lambda: "3.2.0")
    with pytest.raises(regard.errors.RefusedError, match=r"needs Triton 3\.6 or newer, not 3\.2\.0"):
        regard.attention(query, query, query, backend="triton")
