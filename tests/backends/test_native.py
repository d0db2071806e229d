"""The native kernel behind Python: loading, switches, graphs, derivatives, processes and threads."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

import regard
from regard import masks
from regard._inputs import AttentionInputs, Spans
from regard.backends.native import Native, _library, available, library_info
from regard.backends.native._calls import map_cell
from regard.biases import ALiBi, RelativeBias
from regard.errors import BackendError

SOURCE = Path(regard.__file__).parents[1]
LIBRARY = Path(_library.__file__).parent / f"libregard_native{_library._ENDING}"


def _run(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a few lines in a fresh interpreter; a missing library is imitated by `hide()`."""
    before = f"""
import sys; sys.path.insert(0, {str(SOURCE)!r})
import torch, regard
from pathlib import Path
from regard.backends.native import _library, library_info
def hide():
    _library._found.cache_clear()
    _library.__file__ = "/nowhere/_library.py"
q = torch.randn(1, 2, 5, 4)
"""
    return subprocess.run(
        [sys.executable, "-W", "always", "-c", before + code], capture_output=True, text=True, check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1", "REGARD_REQUIRE": "", **environment}, timeout=300,
    )  # fmt: skip


def test_library_is_there() -> None:
    """The library was built: a missing required part fails, it does not skip."""
    info = library_info()
    assert info.problem is None
    assert available()
    assert info.path == LIBRARY
    assert info.isa in info.isas
    assert info.isas[-1] == "baseline"


def test_threads_are_torch_s() -> None:
    """The library runs on torch's own threads and follows their number."""
    torch.set_num_threads(2)
    assert library_info().threads == 2


@pytest.mark.skipif("avx512_amx" not in library_info().isas, reason="this processor has no tiles")
def test_a_system_that_refuses_the_tiles() -> None:
    """Linux refuses them to a process with a small stack for signals; then the next instruction set runs."""
    code = (
        "import ctypes; memory = ctypes.create_string_buffer(4096); "
        "stack = (ctypes.c_void_p * 3)(ctypes.addressof(memory), 0, 4096); "
        "assert ctypes.CDLL(None).sigaltstack(stack, None) == 0; "
        "import torch, regard; from regard.backends.native import library_info; "
        "q = torch.ones(1, 1, 70, 16, dtype=torch.bfloat16); "
        "print(library_info().isas[0], bool((regard.attention(q, q, q, backend='native') == 1).all()))"
    )
    assert _run(code).stdout.split() == [library_info().isas[1], "True"]


@pytest.mark.parametrize("isa", library_info().isas)
def test_forced_instruction_set(isa: str) -> None:
    """`REGARD_ISA` decides, and each set gives the same numbers within rounding."""
    code = "o = regard.attention(q, q, q); m = regard.attention(q, q, q, backend='math')"
    run = _run(f"{code}; print(library_info().isa, float((o - m).abs().max()) < 1e-5)", REGARD_ISA=isa)
    assert run.stdout.split() == [isa, "True"], run.stderr


def test_unknown_instruction_set_is_an_error() -> None:
    """What cannot be obeyed is refused, with what this machine runs."""
    run = _run("regard.attention(q, q, q)", REGARD_ISA="vax")
    assert "BackendError: REGARD_ISA is 'vax'; this machine runs" in run.stderr
    assert "baseline" in run.stderr


def test_missing_library_warns_once() -> None:
    """One warning that says what it costs and how to build; then torch's own kernel runs."""
    run = _run("hide(); [regard.attention(q, q, q) for _ in range(3)]; print(regard.explain(q, q, q).chosen)")
    assert run.stdout.split() == ["fused"], run.stderr
    assert run.stderr.count("RuntimeWarning: regard's native CPU kernel cannot run") == 1
    assert "C++17 compiler" in run.stderr


def test_windows_has_no_library() -> None:
    """On Windows, where none is built, one warning says so and names what helps there; PyTorch's own kernel runs."""
    code = "sys.platform = 'win32'; _library._found.cache_clear(); regard.attention(q, q, q)"
    run = _run(f"{code}; print(regard.explain(q, q, q).chosen)")
    assert run.stdout.split() == ["fused"], run.stderr
    assert run.stderr.count("there is none for Windows; under WSL") == 1
    assert "compiler" not in run.stderr


def test_missing_library_asked_for_by_name() -> None:
    """Asked for by name, the backend refuses and says how to build it."""
    run = _run("hide(); regard.attention(q, q, q, backend='native')")
    assert "RefusedError: Backend 'native' was asked for, but it cannot run" in run.stderr


def test_required_library_is_an_error() -> None:
    """`REGARD_REQUIRE=native` turns the warning into an error; with the library it changes nothing."""
    run = _run("hide(); regard.attention(q, q, q)", REGARD_REQUIRE="native")
    assert "BackendError: REGARD_REQUIRE=native" in run.stderr
    assert "To build it" in run.stderr
    run = _run("regard.attention(q, q, q); print('fine')", REGARD_REQUIRE="native")
    assert run.stdout.split() == ["fine"], run.stderr


def test_library_is_loaded_late() -> None:
    """Importing regard loads nothing; the first call does."""
    run = _run("a = _library._found.cache_info().currsize; regard.attention(q, q, q); "
               "print(a, _library._found.cache_info().currsize)")  # fmt: skip
    assert run.stdout.split() == ["0", "1"], run.stderr


def test_library_of_another_version() -> None:
    """A library whose interface differs is refused before it is called."""
    with pytest.raises(BackendError, match="left from another version"):
        _library.load(LIBRARY, _library.ABI_VERSION + 1)


def test_file_that_is_no_library(tmp_path: Path) -> None:
    """A broken file is named, with how to build."""
    broken = tmp_path / LIBRARY.name
    broken.write_text("no library")
    with pytest.raises(BackendError, match="cannot be loaded"):
        _library.load(broken)


def _tensors(*shape: int, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    return [torch.randn(*shape, dtype=dtype, requires_grad=True) for _ in range(3)]


def _operator_arguments(*, bias: bool) -> tuple[object, ...]:
    """Return arguments of the forward operator, with every optional part or with none."""
    q, k, v = _tensors(2, 2, 6, 8)
    if not bias:
        return (q, k, v, *(None,) * 6, 0.3, None, 0.0, 0)
    start = torch.zeros(1, 1, 6, dtype=torch.int32)
    parts = (
        torch.randn(2, 11, requires_grad=True), torch.randn(1, 2, 6, 6, requires_grad=True), start,
        start + torch.arange(1, 7, dtype=torch.int32), torch.rand(2, 1, 6, 6) > 0.2, torch.tensor(5),
    )  # fmt: skip
    return (q, k, v, *parts, 0.3, 2.0, 0.25, 64)


@pytest.mark.filterwarnings("ignore:The .grad attribute:UserWarning")  # opcheck of PyTorch 2.14 reads it
@pytest.mark.parametrize("bias", [False, True])
def test_operator_is_registered_well(bias: bool) -> None:
    """`torch.library.opcheck`: schema, fake tensors, autograd and tracing agree with what the operator does."""
    regard.attention(*_tensors(1, 1, 2, 2))
    arguments = _operator_arguments(bias=bias)
    assert set(torch.library.opcheck(torch.ops.regard.attention_forward.default, arguments).values()) == {"SUCCESS"}


@pytest.mark.parametrize("bias", [False, True])
def test_backward_operator_is_registered_well(bias: bool) -> None:
    """The operator that graphs call for gradients: schema, fake tensors and tracing agree with what it does."""
    *call, _ = (a.detach() if isinstance(a, Tensor) else a for a in _operator_arguments(bias=bias))
    output, lse, _ = torch.ops.regard.attention_forward(*call, 0)
    arguments = (torch.randn_like(output), torch.randn_like(lse), output, lse, *call, bias, False)
    # Second derivatives do not go through this operator but through `math`, so autograd is not asked.
    tests = ("test_schema", "test_faketensor", "test_aot_dispatch_static")
    found = torch.library.opcheck(torch.ops.regard.attention_backward.default, arguments, test_utils=tests)
    assert set(found.values()) == {"SUCCESS"}


@pytest.mark.parametrize("bias", [False, True])
def test_operator_equals_the_eager_node(bias: bool) -> None:
    """A compiled call gives the bits of the eager one: output, lse and every gradient."""
    query, key, value = _tensors(2, 2, 70, 16)
    extra = torch.randn(2, 139, requires_grad=True)

    start, stop, _ = masks.causal().resolve(70, 70)

    def call(*given: Tensor) -> Tensor:
        vector, softcap = (given[3], 2.0) if bias else (None, None)
        spans = Spans(start, stop)
        inputs = AttentionInputs(*given[:3], 0.3, spans, None, vector, None, softcap, need_weights=True)
        result = Native().run(inputs)
        assert result.lse is not None
        assert result.map is not None
        return result.output.square().sum() + result.lse.sum() + result.map.sum()

    leaves = (query, key, value, extra) if bias else (query, key, value)
    torch._dynamo.reset()
    found = []
    for run in (call, torch.compile(call, fullgraph=True, backend="aot_eager")):
        total = run(*leaves)
        found.append([total, *torch.autograd.grad(total, leaves)])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-6)


def test_compiled_graph_holds_the_backward_operator() -> None:
    """The compiled backward pass is one operator, not the matrix in PyTorch."""
    names = []

    def note(graph: torch.fx.GraphModule, _: object) -> torch.fx.GraphModule:
        names.extend(str(node.target) for node in graph.graph.nodes)
        return graph

    from functorch.compile import make_boxed_func

    backend = torch._dynamo.backends.common.aot_autograd(
        fw_compiler=lambda g, x: make_boxed_func(note(g, x)), bw_compiler=lambda g, x: make_boxed_func(note(g, x))
    )
    torch._dynamo.reset()
    tensors = _tensors(1, 2, 9, 8)
    torch.compile(lambda *t: regard.attention(*t), fullgraph=True, backend=backend)(*tensors).sum().backward()
    assert "regard.attention_forward.default" in names
    assert "regard.attention_backward.default" in names


@pytest.mark.parametrize("options", [{}, {"causal": True, "softcap": 3.0}, {"dropout": 0.3}], ids=str)
def test_second_derivative(options: dict[str, object]) -> None:
    """Differentiating a gradient goes through PyTorch, and agrees with `math` alone."""
    tensors = _tensors(1, 2, 12, 8)
    found = []
    for backend in ("native", "math"):
        torch.manual_seed(4)
        output = regard.attention(*tensors, **options, backend=backend)
        first = torch.autograd.grad(output.square().sum(), tensors, create_graph=True)
        found.append(torch.autograd.grad(sum(g.square().sum() for g in first), tensors))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("shape", [(1, 1, 1, 40), (2, 1, 40, 1), (1, 3, 40, 40), (2, 3, 40, 40)])
def test_gradient_of_a_broadcast_bias(shape: tuple[int, ...]) -> None:
    """A bias that is broadcast gets the sum of its gradient."""
    tensors, bias = _tensors(2, 3, 40, 16), torch.randn(shape, requires_grad=True)
    found = []
    for backend in ("native", "math"):
        output = regard.attention(*tensors, bias=bias, backend=backend)
        found.append(torch.autograd.grad(output.square().sum(), (bias, *tensors)))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("shared", [False, True])
def test_gradient_of_a_position_bias(shared: bool) -> None:
    """One vector per head or one for all: the gradient is summed over batch and diagonal."""
    tensors, vector = _tensors(2, 3, 40, 16), torch.randn(1 if shared else 3, 79, requires_grad=True)
    found = []
    for backend in ("native", "math"):
        output = regard.attention(*tensors, bias=RelativeBias(vector), causal=True, backend=backend)
        found.append(torch.autograd.grad(output.square().sum(), (vector, *tensors)))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_gradient_of_lse_alone() -> None:
    """A loss on `lse` only: the gradient of the output is missing, not zero times something."""
    tensors = _tensors(1, 2, 30, 8)
    found = []
    for backend in ("native", "math"):
        _, weights = regard.attention(*tensors, need_weights=True, backend=backend)
        found.append(torch.autograd.grad(weights.lse.square().sum(), tensors[:2]))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_large_gradient_of_a_bias_is_refused() -> None:
    """Where the stored gradient of a bias would be large, the backend says so and `math` runs."""
    query = torch.empty(1, 1, 1, 1).expand(4, 64, 2048, 8)
    bias = torch.zeros(1, 1, 2048, 2048, requires_grad=True)
    reasons = dict(regard.explain(query, query, query, bias=bias).rows)
    assert "4096 MiB for the gradient of the bias" in (reasons["native"] or "")


def test_map_costs_no_bit_and_adds_up() -> None:
    """The map kept on the way equals pooled weights; the output does not notice."""
    q, k, v = (torch.randn(2, 3, 300, 32) for _ in range(3))
    output, weights = regard.attention(q, k, v, causal=True, need_weights=True)
    assert torch.equal(output, regard.attention(q, k, v, causal=True))
    source = weights._source
    assert source.map_cell == 64
    assert source.map is not None
    torch.testing.assert_close(source.map, _pooled(weights), atol=1e-5, rtol=1e-4)


def _pooled(weights: regard.AttentionWeights) -> Tensor:
    dense = weights.dense()
    rows = [part.mean(2) for part in dense.split(64, 2)]
    return torch.stack([torch.stack([p.sum(-1) for p in row.split(64, -1)], -1) for row in rows], 2)


def test_map_stays_small() -> None:
    """At most 2,048 cells a side, whatever the length."""
    assert map_cell(10, 2000) == 64
    assert all(-(-n // map_cell(n, 1)) <= 2048 for n in (131_072, 131_073, 500_000, 10**6))


def test_layout_of_the_output() -> None:
    """Heads lie next to each other for each token, so that joining them copies nothing."""
    q = torch.randn(2, 3, 5, 8)
    joined = regard.attention(q, q, q, backend="native").transpose(1, 2)
    assert joined.is_contiguous()
    q.requires_grad_()
    assert regard.attention(q, q, q, backend="native").transpose(1, 2).is_contiguous()


class _Calls(Dataset[Tensor]):
    """Each item is the result of a call."""

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> Tensor:
        query = torch.full((1, 2, 200, 16), float(index))
        return regard.attention(query, query, query, causal=True)[0, 0, -1, 0]


def test_worker_processes() -> None:
    """A forked worker of a DataLoader calls the kernel after the parent has, on its threads."""
    torch.set_num_threads(2)
    query = torch.randn(1, 8, 600, 64)
    regard.attention(query, query, query)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*fork.*", category=DeprecationWarning)
        found = torch.cat(list(DataLoader(_Calls(), num_workers=2, multiprocessing_context="fork", timeout=300)))
    assert found.tolist() == [0.0, 1.0, 2.0, 3.0]


def test_many_threads_at_once() -> None:
    """Eight Python threads, each with calls of its own, get what one gets."""
    tensors = [tuple(torch.randn(1, 2, 100 + i, 16) for _ in range(3)) for i in range(8)]

    def work(i: int) -> list[Tensor]:
        q, k, v = (t.clone().requires_grad_() for t in tensors[i])
        output = regard.attention(q, k, v, causal=True, backend="native")
        return [output.detach(), *torch.autograd.grad(output.sum(), (q, k, v))]

    alone = [work(i) for i in range(8)]
    with ThreadPoolExecutor(8) as pool:
        for _ in range(3):
            together = list(pool.map(work, range(8)))
            for one, other in zip(alone, together, strict=True):
                assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_thread_counts_change_no_bit() -> None:
    """Output, lse, map and gradients have the same bits on one to four threads."""
    query, key, value = _tensors(2, 4, 333, 32)
    found = []
    for threads in (1, 2, 3, 4):
        torch.set_num_threads(threads)
        output, weights = regard.attention(
            query, key, value, causal=True, bias=ALiBi(4), need_weights=True, backend="native"
        )
        gradients = torch.autograd.grad(output.square().sum() + weights.lse.sum(), (query, key, value))
        found.append([output, weights.lse, weights._source.map, *gradients])
    for other in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(found[0], other, strict=True))


def test_names_what_it_does_not_cover() -> None:
    """Each refusal has its reason."""
    q = torch.randn(1, 1, 4, 300)
    assert "widths up to 256, not 300" in str(dict(regard.explain(q, q, q).rows)["native"])
    assert "float64" in str(dict(regard.explain(*[q.double()[..., :8]] * 3).rows)["native"])
    assert "empty" in str(dict(regard.explain(q[:, :, :0, :8], *[q[..., :8]] * 2).rows)["native"])
    assert Native().name == "native"


def test_cost_of_a_tiny_call(capsys: pytest.CaptureFixture[str]) -> None:
    """What a call costs beyond torch's own on 8 heads of 16 x 16: printed, since a busy machine decides nothing."""
    q = torch.randn(1, 8, 16, 16)

    def microseconds(call: object) -> float:
        best = float("inf")
        for _ in range(20):
            begin = time.perf_counter()
            for _ in range(50):
                call(q, q, q)  # type: ignore[operator]
            best = min(best, (time.perf_counter() - begin) / 50)
        return best * 1e6

    with torch.no_grad():
        torch_s = microseconds(torch.nn.functional.scaled_dot_product_attention)
        ours = microseconds(regard.attention)
    with capsys.disabled():
        print(f"\na tiny call: {ours:.1f} us, torch's own {torch_s:.1f} us")
    assert torch.equal(regard.attention(q, q, q), regard.attention(q, q, q))
