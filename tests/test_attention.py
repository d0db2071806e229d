"""The call itself: its forms, defaults, choice of backend, and what it does inside compiled and traced code."""

import importlib
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

import regard
from regard import biases, masks
from regard._inputs import KERNEL_TENSORS
from regard.backends import BACKENDS
from regard.errors import BackendError, KernelError, RefusedError

SIZE = st.integers(1, 5)


def tensors(*lead: int, queries: int = 6, keys: int = 6, width: int = 4, seed: int = 0) -> tuple[Tensor, ...]:
    """Return a random query, key and value in float64."""
    generator = torch.Generator().manual_seed(seed)
    return tuple(
        torch.randn(*lead, length, width, generator=generator, dtype=torch.float64) for length in (queries, keys, keys)
    )


# Forms


@given(SIZE, SIZE, st.integers(0, 5), st.integers(0, 5), SIZE, SIZE, st.integers(1, 3), st.booleans())
def test_any_shape_is_the_textbook(batch, groups, queries, keys, width, value_width, repeat, causal) -> None:  # type: ignore[no-untyped-def]
    """Any batch, grouped heads, lengths (also none), widths: output and weights as the textbook says."""
    heads = groups * repeat
    query = torch.randn(batch, heads, queries, width, dtype=torch.float64)
    key = torch.randn(batch, groups, keys, width, dtype=torch.float64)
    value = torch.randn(batch, groups, keys, value_width, dtype=torch.float64)
    output, weights = regard.attention(query, key, value, causal=causal, need_weights=True)
    book = regard.reference
    mask = book.see_past(queries, keys) if causal else None
    expected = book.scaled_dot_product(
        query.numpy(), book.repeat_heads(key.numpy(), heads), book.repeat_heads(value.numpy(), heads), mask=mask
    )
    torch.testing.assert_close(output, torch.from_numpy(expected.output))
    torch.testing.assert_close(weights.dense(), torch.from_numpy(expected.weights))


def layouts(tensor: Tensor) -> dict[str, Tensor]:
    """Return the same numbers in other strides."""
    apart = torch.full((*tensor.shape[:-1], 2 * tensor.shape[-1]), torch.nan, dtype=tensor.dtype)
    apart[..., ::2] = tensor
    room = torch.full((*tensor.shape[:-2], tensor.shape[-2] + 3, tensor.shape[-1]), torch.nan, dtype=tensor.dtype)
    room[..., 2:-1, :] = tensor
    return {
        "as made": tensor,
        "heads inside": tensor.transpose(1, 2).contiguous().transpose(1, 2),
        "width first": tensor.transpose(-1, -2).contiguous().transpose(-1, -2),
        "every second column": apart[..., ::2],
        "a slice of rows": room[..., 2:-1, :],
        "reversed twice": tensor.flip(2).flip(2),
        "batch last": tensor.permute(1, 2, 3, 0).contiguous().permute(3, 0, 1, 2),
    }


@given(st.data())
def test_strides_do_not_matter(data: st.DataObject) -> None:
    """Views of any layout give what contiguous tensors give."""
    query, key, value = tensors(2, 3)
    names = st.sampled_from(sorted(layouts(query)))
    viewed = [layouts(x)[data.draw(names)] for x in (query, key, value)]
    expected = regard.attention(query, key, value, causal=True)
    torch.testing.assert_close(regard.attention(*viewed, causal=True), expected)


def test_expanded_tensors() -> None:
    """One key and value for all batch rows, and one query for all rows, by stride 0."""
    query, key, value = tensors(1, 2)
    expanded = [x.expand(3, -1, -1, -1) for x in (query, key, value)]
    torch.testing.assert_close(regard.attention(*expanded), regard.attention(query, key, value).expand(3, -1, -1, -1))
    row = query[:, :, :1].expand(-1, -1, 6, -1)
    torch.testing.assert_close(regard.attention(row, key, value), regard.attention(row.clone(), key, value))


def test_fewer_dimensions_come_back_as_given() -> None:
    """(L, E) and (H, L, E) are one batch row of (B, H, L, E); so are their weights."""
    query, key, value = tensors(1, 1)
    full, full_weights = regard.attention(query, key, value, causal=True, need_weights=True)
    for lead in ((), (1,)):
        shapes = [x.reshape(*lead, 6, 4) for x in (query, key, value)]
        output, weights = regard.attention(*shapes, causal=True, need_weights=True)
        assert output.shape == (*lead, 6, 4)
        assert weights.dense().shape == (*lead, 6, 6)
        assert torch.equal(output.reshape(full.shape), full)
        assert torch.equal(weights.dense().reshape(full_weights.dense().shape), full_weights.dense())


def test_defaults_are_what_they_say() -> None:
    """Leaving an argument out is the same as giving its default."""
    query, key, value = tensors(2, 3)
    plain = regard.attention(query, key, value)
    for same in (
        {"scale": 0.5}, {"mask": masks.Mask()}, {"window": (None, None)}, {"causal": False, "dropout": 0.0},
        {"mask": torch.ones(6, 6, dtype=torch.bool)}, {"bias": torch.zeros(6, 6, dtype=torch.float64)},
    ):  # fmt: skip
        torch.testing.assert_close(regard.attention(query, key, value, **same), plain)  # type: ignore[call-overload]


def test_all_masks_hold_together() -> None:
    """mask=, causal= and window= intersect; a hidden row gives zeros."""
    query, key, value = tensors(2, 1, queries=4, keys=6)
    holes = torch.rand(2, 1, 4, 6) < 0.6
    holes[0, 0, 1] = False
    both = holes & masks.causal().to_dense(4, 6) & masks.window(2, None).to_dense(4, 6)
    output, weights = regard.attention(query, key, value, mask=holes, causal=True, window=(2, None), need_weights=True)
    torch.testing.assert_close(output, regard.attention(query, key, value, mask=both))
    assert torch.equal(weights.dense() > 0, both)
    assert not output[0, 0, 1].any()


def test_a_tensor_mask_is_recognised() -> None:
    """A large boolean tensor whose rows are single runs reaches the backends as spans; others stay dense."""
    seen: list[tuple[bool, bool]] = []
    first = regard.backends.named("math")

    class Spy:
        name = "spy"
        honours = first.honours

        def why_not(self, inputs: Any) -> None:
            seen.append((inputs.spans is not None, inputs.dense_mask is not None))

        def run(self, inputs: Any) -> Any:
            return first.run(inputs)

    query, key, value = tensors(1, 1, queries=40, keys=40)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(regard.backends, "BACKENDS", (Spy(), *BACKENDS))
        regard.attention(query, key, value, mask=torch.ones(40, 40).tril().bool())
        regard.attention(query, key, value, mask=torch.eye(40).roll(3).bool() | torch.eye(40).bool())
    assert seen == [(True, False), (False, True)]


def test_inputs_stay_as_they_are() -> None:
    """Nothing that was given is written to."""
    query, key, value = tensors(2, 2)
    mask, bias = torch.rand(6, 6) < 0.7, torch.randn(2, 6, 6, dtype=torch.float64)
    before = [x.clone() for x in (query, key, value, mask, bias)]
    regard.attention(query, key, value, mask=mask, bias=bias, causal=True, softcap=2.0, dropout=0.2)
    assert all(torch.equal(a, b) for a, b in zip(before, (query, key, value, mask, bias), strict=True))


def test_autocast_is_followed() -> None:
    """Under autocast float32 becomes its dtype, as in torch's own attention; float64 stays."""
    query, key, value = (x.float() for x in tensors(1, 2))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert regard.attention(query, key, value).dtype == torch.bfloat16
        assert regard.attention(query, key.bfloat16(), value, causal=True).dtype == torch.bfloat16
        assert regard.attention(*tensors(1, 2)).dtype == torch.float64


# Dropout


def test_the_generator_decides_about_dropout() -> None:
    """One seed, one output; the next call, another; torch's default generator serves if none is given."""
    query, key, value = tensors(2, 2)

    def draw(generator: torch.Generator | None) -> Tensor:
        return regard.attention(query, key, value, dropout=0.5, generator=generator)

    one, two = torch.Generator().manual_seed(5), torch.Generator().manual_seed(5)
    first = draw(one)
    assert torch.equal(first, draw(two))
    assert not torch.equal(first, draw(one))
    torch.manual_seed(5)
    default = draw(None)
    assert torch.equal(default, first)
    assert not torch.equal(default, draw(None))


def test_no_dropout_draws_no_random_number() -> None:
    """A call without dropout, and explain with it, leave the generator where it was."""
    query, key, value = tensors(2, 2)
    generator = torch.Generator().manual_seed(1)
    before = generator.get_state()
    default = torch.get_rng_state()
    regard.attention(query, key, value, generator=generator)
    regard.explain(query, key, value, dropout=0.5, generator=generator)
    regard.explain(query, key, value, dropout=0.5)
    assert torch.equal(before, generator.get_state())
    assert torch.equal(default, torch.get_rng_state())


def test_weights_are_those_before_dropout() -> None:
    """Rows of the weights sum to 1 whatever the dropout."""
    query, key, value = tensors(2, 2)
    _, weights = regard.attention(query, key, value, dropout=0.5, need_weights=True)
    torch.testing.assert_close(weights.dense(), regard.attention(query, key, value, need_weights=True)[1].dense())


# Choice of a backend


def test_explain_shows_the_choice() -> None:
    """One row a backend in the order asked, with a reason for each refusal, and an arrow at the one that runs."""
    query, key, value = tensors(1, 2)
    table = regard.explain(query.requires_grad_(), key, value, causal=True)
    assert [name for name, _ in table.rows] == [backend.name for backend in BACKENDS]
    assert dict(table.rows)["reference"] == "has no gradient"
    lines = repr(table).splitlines()
    assert len(lines) == len(BACKENDS)
    (arrow,) = (line for line in lines if line.startswith("->"))
    assert arrow.split()[1] == table.chosen
    assert "runs this call" in arrow
    assert any("reference  has no gradient" in line for line in lines)


def test_explain_knows_use_backend() -> None:
    """Inside the block the choice is the one asked for, or none if that one refuses."""
    query, key, value = tensors(1, 2)
    with regard.use_backend("reference"):
        table = regard.explain(query, key, value)
        assert table.chosen == "reference"
        assert "runs this call (asked for by use_backend)" in repr(table)
        refused = regard.explain(query.requires_grad_(), key, value)
        assert refused.chosen is None
        assert "->" not in repr(refused)
        assert "has no gradient (asked for by use_backend)" in repr(refused)


def runs_on(query: Tensor) -> str | None:
    """Say which backend would run."""
    return regard.explain(query, query, query).chosen


def test_use_backend_nests_and_restores() -> None:
    """The innermost block counts, None gives the choice back, an error does not leave it set."""
    query, _, _ = tensors(1, 2)
    usual = runs_on(query)
    with regard.use_backend("reference"):
        with regard.use_backend("math"):
            assert runs_on(query) == "math"
            with regard.use_backend(None):
                assert runs_on(query) == usual
        assert runs_on(query) == "reference"
    with pytest.raises(KeyError), regard.use_backend("reference"):
        raise KeyError
    assert runs_on(query) == usual


def test_a_backend_named_in_the_call_wins() -> None:
    """backend= is stronger than the block around it, and either obeys or refuses."""
    query, key, value = tensors(1, 2)
    query.requires_grad_()
    with regard.use_backend("reference"):
        assert regard.attention(query, key, value, backend="math").requires_grad
        with pytest.raises(BackendError, match="'reference' was asked for, but it has no gradient"):
            regard.attention(query, key, value)


def test_use_backend_is_for_one_thread() -> None:
    """Another thread does not see the block."""
    query, _, _ = tensors(1, 2)
    seen: list[str | None] = []
    with regard.use_backend("reference"):
        thread = threading.Thread(target=lambda: seen.append(runs_on(query)))
        thread.start()
        thread.join()
    assert seen == [runs_on(query)]
    assert seen != ["reference"]


# Compiled, exported, traced, transformed

LENGTHS = torch.tensor([6, 4])
REAL = torch.arange(6) < LENGTHS[:, None]
USED = masks.padding(LENGTHS) & masks.documents([2, 4])
USED.banded(True, None).resolve(6, 6)
CALLS: dict[str, Callable[..., Any]] = {
    "plain": lambda q, k, v: regard.attention(q, k, v),
    "causal": lambda q, k, v: regard.attention(q, k, v, causal=True),
    "window": lambda q, k, v: regard.attention(q, k, v, causal=True, window=(2, 0)),
    "lengths": lambda q, k, v: regard.attention(q, k, v, mask=masks.padding(LENGTHS), causal=True),
    "padding mask": lambda q, k, v: regard.attention(q, k, v, mask=masks.padding(REAL), causal=True),
    "documents": lambda q, k, v: regard.attention(q, k, v, mask=masks.documents(torch.tensor([2, 4]))),
    "made before": lambda q, k, v: regard.attention(q, k, v, mask=USED, causal=True),
    "ids": lambda q, k, v: regard.attention(q, k, v, mask=masks.documents(ids=torch.tensor([0, 0, 1, 1, 1, 2]))),
    "prefix": lambda q, k, v: regard.attention(q, k, v, mask=masks.prefix(LENGTHS - 3)),
    "tensor": lambda q, k, v: regard.attention(q, k, v, mask=torch.ones(6, 6).tril().bool()),
    "alibi": lambda q, k, v: regard.attention(q, k, v, bias=biases.ALiBi(2)),
    "softcap": lambda q, k, v: regard.attention(q, k, v, softcap=2.0),
    "dropout": lambda q, k, v: regard.attention(q, k, v, causal=True, dropout=0.4),
    "weights": lambda q, k, v: regard.attention(q, k, v, causal=True, need_weights=True)[1].dense(),
}


# torch's own, where its compiler meets an autograd.Function.
pytestmark = pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")


@pytest.mark.parametrize("name", CALLS)
def test_compiles_as_one_graph(name: str) -> None:
    """fullgraph=True, without a warning, with the same output and gradients; dropout keeps its random stream."""
    call = CALLS[name]
    leaves = [x.requires_grad_() for x in tensors(2, 2)]
    torch._dynamo.reset()
    results = []
    for run in (call, torch.compile(call, fullgraph=True, backend="aot_eager")):
        torch.manual_seed(3)
        for _ in range(2):
            output = run(*leaves)
            results.append((output, torch.autograd.grad(output.square().sum(), leaves[:2])))
    torch.testing.assert_close(results[2:], results[:2])
    if name == "dropout":
        assert not torch.equal(results[2][0], results[3][0])


def test_dropout_does_not_recompile() -> None:
    """The seed is a tensor in the graph: new random numbers need no new graph."""
    torch._dynamo.reset()
    compiled = torch.compile(CALLS["dropout"], fullgraph=True, backend="aot_eager")
    with torch._dynamo.config.patch(error_on_recompile=True):
        outputs = [compiled(*tensors(2, 2)) for _ in range(3)]
    assert not torch.equal(outputs[0], outputs[1])
    assert not torch.equal(outputs[1], outputs[2])


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")  # inductor's own
@pytest.mark.parametrize(("backend", "dtype"), [("aot_eager", torch.float64), ("inductor", torch.float32)])
def test_compiles_for_any_length(
    backend: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """One dynamic graph serves all lengths; inductor, through a kernel, checks how results lie in memory too.

    It does more where the environment says CI: there it refuses operators that it thinks it should take apart.
    """
    monkeypatch.setenv("CI", "1")
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    if backend == "inductor":
        importlib.import_module("torch._inductor.lowering").lowerings.pop(torch.ops.regard.attention_forward.default, 0)
    torch._dynamo.reset()
    compiled = torch.compile(CALLS["causal"], fullgraph=True, backend=backend, dynamic=True)
    with torch._dynamo.config.patch(error_on_recompile=True):
        for queries in (5, 9, 6):
            given_tensors = [one.to(dtype) for one in tensors(2, 2, queries=queries, keys=11)]
            torch.testing.assert_close(compiled(*given_tensors), CALLS["causal"](*given_tensors))


@pytest.mark.parametrize("cell", [0, 64])
def test_fake_results_lie_as_real_ones(cell: int) -> None:
    """Sizes, strides and types, also where sizes are symbols, with a map and without."""
    torch._dynamo.reset()
    found = []

    def seen(graph: torch.fx.GraphModule, _: Any) -> Any:
        (node,) = (node for node in graph.graph.nodes if "attention_forward" in str(node.target))
        found.extend(node.meta["example_value"])
        return graph

    def call(q: Tensor, k: Tensor, v: Tensor) -> Any:
        rest = [None] * (len(KERNEL_TENSORS) - 3)
        return torch.ops.regard.attention_forward(q, k, v, *rest, 0.5, None, 0.0, cell)

    given_tensors = [one.float() for one in tensors(2, 2, queries=6, keys=11)]
    real = torch.compile(call, backend=seen, dynamic=True)(*given_tensors)
    for fake, one in zip(found, real, strict=True):
        hints = [tuple(int(size.node.hint) if isinstance(size, torch.SymInt) else size for size in sizes)
                 for sizes in (fake.shape, fake.stride())]  # fmt: skip
        assert (*hints, fake.dtype) == (tuple(one.shape), one.stride(), one.dtype)


def test_use_backend_reaches_compiled_code() -> None:
    """A block inside and a block around the compiled function both count; what refuses says so."""

    def inside(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        with regard.use_backend("math"):
            return regard.attention(q, k, v)

    torch._dynamo.reset()
    given_tensors = tensors(2, 2)
    expected = regard.attention(*given_tensors)
    torch.testing.assert_close(torch.compile(inside, fullgraph=True, backend="aot_eager")(*given_tensors), expected)
    around = torch.compile(CALLS["plain"], fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(around(*given_tensors), expected)
    with regard.use_backend("math"):
        torch.testing.assert_close(around(*given_tensors), expected)
    with regard.use_backend("reference"), pytest.raises(Exception, match="Observed exception"):
        around(*given_tensors)


class Model(torch.nn.Module):
    """A model around the call."""

    def forward(self, query: Tensor, key: Tensor, value: Tensor, lengths: Tensor) -> Tensor:
        """Attend causally to real keys."""
        return regard.attention(query, key, value, mask=masks.padding(lengths), causal=True)


@pytest.mark.parametrize("strict", [False, True])
def test_exports_with_dynamic_length(strict: bool) -> None:
    """torch.export takes the call; the program serves other lengths."""
    length = torch.export.Dim("length", min=2, max=64)
    shapes = ({2: length}, {2: length}, {2: length}, None)
    program = torch.export.export(Model(), (*tensors(2, 2), LENGTHS), dynamic_shapes=shapes, strict=strict)
    other = (*tensors(2, 2, queries=11, keys=11), torch.tensor([11, 4]))
    torch.testing.assert_close(program.module()(*other), Model()(*other))


@pytest.mark.parametrize("name", CALLS)
def test_fake_and_meta_tensors(name: str) -> None:
    """Shapes alone go through, and leave no fake array behind for the next real call."""
    expected = CALLS[name](*tensors(2, 2)).shape
    with torch._subclasses.FakeTensorMode(allow_non_fake_inputs=True):
        assert CALLS[name](*tensors(2, 2)).shape == expected
    real = CALLS[name](*tensors(2, 2))
    assert type(real) is Tensor
    assert bool(real.isfinite().all())


def test_meta_device() -> None:
    """On the meta device the call gives the right shape and computes nothing."""
    query, key, value = (x.to("meta") for x in tensors(2, 2, queries=3))
    output = regard.attention(query, key, value, causal=True, mask=masks.padding([6, 4]), dropout=0.1)
    assert output.shape == (2, 2, 3, 4)
    assert output.is_meta


def test_function_transforms() -> None:
    """vmap over a leading dimension and torch.func.grad agree with the plain call, before and after."""
    query, key, value = (x.flatten(0, 1).unflatten(0, (5, 2, 1)) for x in tensors(10, 1))
    expected = torch.stack([CALLS["causal"](*each) for each in zip(query, key, value, strict=True)])
    torch.testing.assert_close(torch.func.vmap(CALLS["causal"])(query, key, value), expected)
    leaf = query[0].clone().requires_grad_()
    (gradient,) = torch.autograd.grad(CALLS["causal"](leaf, key[0], value[0]).sum(), leaf)
    found = torch.func.grad(lambda q: CALLS["causal"](q, key[0], value[0]).sum())(query[0])
    torch.testing.assert_close(found, gradient)
    torch.testing.assert_close(CALLS["causal"](query[0], key[0], value[0]), expected[0])


def test_a_refusal_is_a_value_with_its_reason() -> None:
    """Who refuses and why stand beside the message; an unknown name is another error, a failing kernel a third."""
    q = torch.ones(1, 1, 2, 300)
    with pytest.raises(RefusedError, match="'native' was asked for, but it covers") as refused:
        regard.attention(q, q, q, backend="native")
    assert (refused.value.backend, refused.value.reason) == ("native", "covers head widths up to 256, not 300")
    with pytest.raises(BackendError) as unknown:
        regard.attention(q, q, q, backend="nativ")
    assert not isinstance(unknown.value, RefusedError)
    assert not issubclass(KernelError, BackendError)
