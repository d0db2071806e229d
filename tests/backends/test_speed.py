"""The table of which fast kernel runs a call: what it decides, and what it never decides."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

import regard
from regard.backends import fastest
from regard.backends.native import BY_PARTS, LENGTHS, Row, _library, _measured, _products, _speed, available
from regard.cli import main
from regard.integrations import use_fast_attention

pytestmark = pytest.mark.skipif(not available(), reason="there is no native kernel here")
SLOW, FAST = (0.3, 0.4, 0.5), (1.5, 2.0, 3.0)


@pytest.fixture
def loses(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine on which the native kernel loses in bfloat16, but in training short sequences."""
    ratios = {
        ("bfloat16", "forward"): SLOW,
        ("bfloat16", "training"): (2.0, 1.2, 0.5),
        ("bfloat16", "decoding"): FAST,
    }
    monkeypatch.setattr(_speed, "_measured", lambda dtype, work: (ratios.get((dtype, work), ()), "some unit"))
    _speed.forget()
    yield
    _speed.forget()


def half(length: int, *, keys: int | None = None, gradient: bool = False) -> list[torch.Tensor]:
    """Return query, key and value."""
    return [torch.randn(1, 2, n, 16, dtype=torch.bfloat16, requires_grad=gradient)
            for n in (length, keys or length, keys or length)]  # fmt: skip


def chosen(*tensors: torch.Tensor, **arguments: object) -> str | None:
    """Return which backend runs a call."""
    return regard.explain(*tensors, **arguments).chosen  # type: ignore[arg-type]


def test_the_nearest_length_counts() -> None:
    """Sizes are compared as factors."""
    assert [_speed.ratio_at(SLOW, "forward", n, n) for n in (1, 128, 255, 257, 1000, 1100, 100_000)] == [
        0.3, 0.3, 0.3, 0.4, 0.4, 0.5, 0.5
    ]  # fmt: skip
    assert _speed.ratio_at(SLOW, "forward", 16, 1024) == 0.3
    assert [_speed.ratio_at(SLOW, "decoding", 1, n) for n in (10, 6000, 100_000)] == [0.3, 0.4, 0.5]


def test_which_row_speaks() -> None:
    """The processor's own row, else the last of the same instruction sets, else none."""
    rows = tuple(Row(name, best, isa, "", {}) for name, best, isa in
                 (("a", "x", "x"), ("b", "x", "x"), ("a", "x", "y")))  # fmt: skip
    assert _speed.row_of("a", "x", "x", rows) is rows[0]
    assert _speed.row_of("c", "x", "x", rows) is rows[1]
    assert _speed.row_of("b", "x", "y", rows) is rows[2]
    assert _speed.row_of("a", "z", "y", rows) is None


def test_rows_are_whole() -> None:
    """Each names its machine and date, and has a figure for each length."""
    for row in _measured.ROWS:
        assert row.measured.startswith("20")
        assert row.isa in row.best or row.processor
        for (dtype, work), ratios in row.ratios.items():
            assert dtype.removesuffix(BY_PARTS) in ("float32", "bfloat16", "float16")
            assert len(ratios) == len(LENGTHS[work])
            assert min(ratios) > 0


@pytest.mark.usefixtures("loses")
def test_a_slower_kernel_leaves_the_call() -> None:
    """By dtype, size and work; the reason names the figure."""
    q, k, v = half(600)
    assert chosen(q, k, v) == "fused"
    assert "takes 2.5 times as long here as PyTorch's own kernel (some unit)" in repr(regard.explain(q, k, v))
    assert chosen(*(t.float() for t in (q, k, v))) == "native"
    assert chosen(*half(1, keys=600)) == "native"
    assert chosen(*half(600, gradient=True)) == "native"
    assert chosen(*half(2048, gradient=True)) == "fused"
    with torch.no_grad():
        assert chosen(*half(600, gradient=True)) == "fused"


@pytest.mark.usefixtures("loses")
def test_what_the_other_does_not_serve_or_skip_stays() -> None:
    """Dropout and softcap have no fused kernel; a narrow window is skipped by ours alone."""
    q, k, v = half(600)
    assert chosen(q, k, v, dropout=0.1) == "native"
    assert chosen(q, k, v, softcap=5.0) == "native"
    assert chosen(q, k, v, window=(20, 20)) == "native"
    assert chosen(q, k, v, window=(500, 500)) == "fused"
    assert chosen(q, k, v, causal=True) == "fused"


@pytest.mark.usefixtures("loses")
def test_a_name_obeys() -> None:
    """Asked for by name, in the call or around it, the kernel runs."""
    q, k, v = half(300)
    ours = regard.attention(q, k, v, backend="native")
    with regard.use_backend("native"):
        assert chosen(q, k, v) == "native"
        assert torch.equal(regard.attention(q, k, v), ours)


@pytest.mark.usefixtures("loses")
def test_weights_decide_nothing() -> None:
    """The output is the same to the bit, and the native passes look into it."""
    q, k, v = half(300)
    output, weights = regard.attention(q, k, v, causal=True, need_weights=True)
    assert torch.equal(output, regard.attention(q, k, v, causal=True))
    dense = weights.dense()
    assert torch.allclose(dense.sum(-1), torch.ones(()), atol=1e-3)
    assert torch.allclose(weights.entropy(), -(dense.double() * dense.double().clamp_min(1e-30).log()).sum(-1).float(),
                          atol=1e-3)  # fmt: skip


@pytest.mark.usefixtures("loses")
def test_the_other_doors_ask_too() -> None:
    """`use_fast_attention` leaves the call, a watched model runs on PyTorch's kernel."""
    q, k, v = half(600)
    assert fastest(q, k, v) == ("fused", "native")
    assert fastest(q.float(), k.float(), v.float()) == ("native", "fused")
    with use_fast_attention() as fast:
        theirs = torch.nn.functional.scaled_dot_product_attention(q, k, v)
        torch.nn.functional.scaled_dot_product_attention(q.float(), k.float(), v.float())
    assert (fast.taken, fast.calls) == (1, 2)
    assert "measured to be slower" in repr(fast)

    class Model(torch.nn.Module):
        def forward(self) -> torch.Tensor:
            return torch.nn.functional.scaled_dot_product_attention(q, k, v)

    model = Model().eval()
    with regard.watch(model) as recording:
        watched = model()
    assert len(recording) == 1
    assert torch.allclose(watched, theirs, atol=1e-2)


def test_a_row_is_printed(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """`regard bench --table` prints a row that the table takes as it is."""
    monkeypatch.setattr("regard.cli.bench.LENGTHS", dict.fromkeys(LENGTHS, (8, 16, 32)))
    assert main(["bench", "--table", "--repeats", "1", "--threads", "1"]) == 0
    row = eval(capsys.readouterr().out, {"Row": Row})
    info = regard.backends.native.library_info()
    assert (row.processor, row.best, row.isa) == (info.processor, info.isas[0], info.isa)
    assert {len(ratios) for ratios in row.ratios.values()} == {3}


@pytest.fixture
def tiled(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[tuple[str, str], tuple[float, ...]]]:
    """A machine with tiles, on which nothing was measured by parts until a test says so."""
    monkeypatch.setattr(_library.library(), "parts", {torch.float32: 3, torch.float16: 2})
    ratios: dict[tuple[str, str], tuple[float, ...]] = {("float32", work): SLOW for work in LENGTHS}
    monkeypatch.setattr(_speed, "_measured", lambda dtype, work: (ratios.get((dtype, work), ()), "some unit"))
    _speed.forget()
    yield ratios
    _speed.forget()


def test_parts_count_where_they_were_measured(tiled: dict[tuple[str, str], tuple[float, ...]]) -> None:
    """By parts the kernel may win a call that it loses otherwise: by dtype, work and size, and unless forbidden."""
    q = torch.randn(1, 2, 600, 16)
    assert chosen(q, q, q) == "fused"
    tiled["float32 by parts", "forward"] = (0.2, 1.9, 2.0)
    tiled["float32 by parts", "training"] = (0.1, 0.2, 0.3)
    _speed.forget()
    assert chosen(q, q, q) == "native"
    assert "by 3 parts of bfloat16" in repr(regard.explain(q, q, q))
    assert chosen(q[:, :, :100], q[:, :, :100], q[:, :, :100]) == "fused"
    assert chosen(q[:, :, :1], q, q) == "fused"
    assert chosen(*(t.clone().requires_grad_() for t in (q, q, q))) == "fused"
    with regard.use_backend(None, fp32="plain"):
        assert chosen(q, q, q) == "fused"
        with regard.use_backend("native"):  # what surrounds a block holds in it
            assert "with float32 as it is: asked for" in repr(regard.explain(q, q, q))
    assert chosen(q, q, q) == "native"


@pytest.mark.usefixtures("tiled")
def test_parts_that_were_not_measured_run_where_they_are_asked_for() -> None:
    """Then the kernel is not held to be slower, as where no row speaks at all."""
    q = torch.randn(1, 2, 600, 16)
    with regard.use_backend(None, fp32="parts"):
        assert chosen(q, q, q) == "native"
    assert chosen(q, q, q) == "fused"


def test_a_wrong_value_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """By name, from the argument and from the environment."""
    words = "fp32 is 'half'. It must be one of 'auto', 'plain', 'parts'"
    with pytest.raises(regard.errors.ArgumentError, match=words), regard.use_backend(None, fp32="half"):  # type: ignore[arg-type]
        pass
    monkeypatch.setenv("REGARD_FP32", "half")
    _products._environment.cache_clear()
    try:
        with pytest.raises(regard.errors.BackendError, match="REGARD_FP32 is 'half'"):
            regard.attention(*torch.ones(3, 1, 2, 4))
        monkeypatch.setenv("REGARD_FP32", "plain")
        _products._environment.cache_clear()
        assert _products.fp32() == "plain"
    finally:
        monkeypatch.delenv("REGARD_FP32")
        _products._environment.cache_clear()
        _speed.forget()


@pytest.mark.usefixtures("tiled")
def test_a_row_has_both_ways(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """On a machine with tiles the row that `regard bench --table` prints has figures of both, but for decoding."""
    monkeypatch.setattr("regard.cli.bench.LENGTHS", dict.fromkeys(LENGTHS, (8, 16, 32)))
    assert main(["bench", "--table", "--repeats", "1", "--threads", "1"]) == 0
    row = eval(capsys.readouterr().out, {"Row": Row})
    assert {key for key in row.ratios if key[0].endswith(BY_PARTS)} == {
        (dtype + BY_PARTS, work) for dtype in ("float32", "float16") for work in ("forward", "training")
    }
    assert len(row.ratios) == 9 + 4
