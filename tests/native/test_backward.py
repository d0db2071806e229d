"""The backward pass against the formulas in float64, on every instruction set of this machine."""

import itertools

import pytest
import torch

from tests.native import library
from tests.native.gradients import backward, gradients, through

pytestmark = pytest.mark.usefixtures("isa")
FLOATS = (torch.float32, torch.bfloat16, torch.float16)
# Smallest error that counts: rounding of the result alone, with few elements to average over.
LEAST = {torch.float32: 2e-6, torch.bfloat16: 6e-3, torch.float16: 8e-4}


def inputs(b, h, g, n, s, e, ev, dtype=torch.float32, seed=0):
    torch.manual_seed(seed)
    shapes = ((b, h, n, e), (b, g, s, e), (b, g, s, ev), (b, h, n, ev))
    return [torch.randn(shape).to(dtype) for shape in shapes]


def error(found, wanted):
    """Norm of the difference over the norm, of what may be NaN in the same places only."""
    assert torch.equal(torch.isnan(found), torch.isnan(wanted))
    found, wanted = found.double().nan_to_num(), wanted.double().nan_to_num()
    return ((found - wanted).norm() / wanted.norm().clamp_min(1e-30)).item()


def compare(q, k, v, grad_output, grad_lse=None, bias_gradient=None, **options):
    found = through(q, k, v, grad_output, grad_lse, bias_gradient, **options)
    wanted = gradients(q, k, v, grad_output, grad_lse, **options)
    naive = gradients(q, k, v, grad_output, grad_lse, **options, dtype=q.dtype)
    for name, x in found.items():
        y = wanted[name]
        if y.norm() < 1e-12:  # one key: weights are 1 whatever the scores, gradients of scores 0
            assert x.double().abs().max() < 1e-2 if x.numel() else True
            continue
        allowed = 3 * error(naive[name].double(), y) + LEAST[q.dtype]
        assert error(x, y) <= allowed, (name, error(x, y), allowed)


SHAPES = [
    (1, 1, 1, 1),
    (2, 1, 3, 5),
    (1, 70, 16, 64),
    (7, 5, 3, 70),
    (16, 17, 33, 31),
    (48, 64, 64, 64),
    (63, 65, 80, 96),
    (64, 97, 128, 32),
    (65, 129, 12, 256),
    (70, 70, 256, 20),
    (130, 260, 64, 64),
    (257, 193, 64, 48),
    (300, 401, 80, 96),
    (3, 300, 64, 64),
    (300, 2, 64, 64),
]


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_shapes(shape, dtype):
    """Any number of queries and keys, any widths; grouped heads."""
    n, s, e, ev = shape
    compare(*inputs(2, 4, 2, n, s, e, ev, dtype), grad_lse=torch.randn(2, 4, n))


def causal(n, s):
    i = torch.arange(n, dtype=torch.int32)
    return torch.zeros(1, 1, n, dtype=torch.int32), (i + 1 + s - n).clamp(0, s)[None, None].int()


def options_of(name, b, h, n, s):
    """One feature as keyword arguments."""
    torch.manual_seed(3)
    if name == "causal":
        return {"spans": causal(n, s)}
    if name == "spans":  # different in every head, some rows see nothing
        start = torch.randint(-3, s, (b, h, n), dtype=torch.int32)
        return {"spans": (start, start + torch.randint(0, s, (b, h, n), dtype=torch.int32))}
    if name == "window":
        i = torch.arange(n, dtype=torch.int32)[None, None] * s // n
        return {"spans": ((i - 20).int().contiguous(), (i + 9).int().contiguous())}
    if name == "mask":
        return {"mask": (torch.rand(b, 1, n, s) < 0.7).to(torch.uint8)}
    if name == "position_bias":
        bias = torch.randn(h, n + s - 1)
        bias[:, ::9] = -torch.inf
        return {"position_bias": bias}
    if name == "shared_position_bias":
        return {"position_bias": torch.randn(1, n + s - 1)}
    if name == "bias":
        bias = torch.randn(1, h, n, s)
        bias[..., ::5, ::3] = -torch.inf
        return {"bias": bias, "bias_gradient": torch.float32}
    if name == "softcap":
        return {"softcap": 1.5}
    if name == "dropout":
        return {"dropout": 0.3, "seed": 2**40 + 17}
    return {"scale": -0.4}


FEATURES = (
    "causal",
    "spans",
    "window",
    "mask",
    "position_bias",
    "shared_position_bias",
    "bias",
    "softcap",
    "dropout",
    "scale",
)
PAIRS = [
    (x, y)
    for x, y in itertools.combinations(FEATURES, 2)
    if not (x in ("causal", "spans") and y in ("spans", "window"))
    and not (x == "position_bias" and y == "shared_position_bias")
]


@pytest.mark.parametrize("features", [(x,) for x in FEATURES] + PAIRS, ids="-".join)
def test_features(features):
    """Every feature alone, and every two together."""
    b, h, n, s = 2, 4, 137, 203
    options = {k: v for name in features for k, v in options_of(name, b, h, n, s).items()}
    for dtype in FLOATS:
        compare(*inputs(b, h, 2, n, s, 24, 40, dtype), **options)


def test_bias_in_the_dtype_of_the_call():
    """A bias of half precision, and its gradient in the same."""
    for dtype in FLOATS:
        bias = torch.randn(2, 2, 37, 50).to(dtype)
        compare(*inputs(2, 2, 1, 37, 50, 16, 16, dtype), bias=bias, bias_gradient=dtype)


def test_strides():
    """Heads inside rows (B, L, H, E), a sliced sequence, a value broadcast over the batch."""
    for dtype in FLOATS:
        q, k, v, d = inputs(2, 3, 3, 90, 110, 64, 64, dtype)
        wanted = through(q, k, v, d)
        inside = [x.transpose(1, 2).contiguous().transpose(1, 2) for x in (q, k, v, d)]
        apart = [torch.cat([x, x], 2)[:, :, : x.shape[2]] for x in (q, k, v, d)]
        for given in (inside, apart):
            found = through(*given)
            for name in wanted:
                assert torch.equal(found[name], wanted[name])


def test_threads_do_not_change_a_bit():
    """1 to 4 threads, few heads and many items: the sums are in one order."""
    try:
        for dtype in (torch.float32, torch.bfloat16):
            b, h, n, s = 1, 2, 700, 500
            options = {**options_of("shared_position_bias", b, h, n, s), **options_of("causal", b, h, n, s)}
            q, k, v, d = inputs(b, h, 1, n, s, 40, 64, dtype)
            library.use_torch_threads(False)
            first = through(q, k, v, d, **options)
            library.use_torch_threads(True)
            for threads in (1, 2, 3, 4):
                torch.set_num_threads(threads)
                for _ in range(3):
                    again = through(q, k, v, d, **options)
                    for name in first:
                        assert torch.equal(first[name], again[name]), (threads, name)
    finally:
        library.use_torch_threads(False)


def test_rows_that_see_nothing():
    """No gradient from them, even if their lse gradient is NaN."""
    q, k, v, d = inputs(1, 2, 2, 70, 50, 16, 16)
    start = torch.zeros(1, 1, 70, dtype=torch.int32)
    stop = torch.full((1, 1, 70), 50, dtype=torch.int32)
    stop[..., 3:9] = 0
    grad_lse = torch.randn(1, 2, 70)
    grad_lse[..., 3:9] = torch.nan
    found = through(q, k, v, d, grad_lse, spans=(start, stop))
    assert (found["query"][:, :, 3:9] == 0).all()
    assert all(torch.isfinite(x).all() for x in found.values())
    nothing = through(q, k, v, d, spans=(start, start))
    assert all((x == 0).all() for x in nothing.values())


@pytest.mark.parametrize("what", ["query", "key", "value", "grad_output"])
@pytest.mark.parametrize("kind", ["causal", "window", "mask", "spans"])
def test_not_finite(what, kind):
    """NaN reaches whatever sees it and nothing else; infinities reach nothing that does not see them."""
    b, h, n, s = 1, 2, 100, 130
    options = options_of(kind, b, h, n, s)
    for dtype, bad in itertools.product((torch.float32, torch.bfloat16), (torch.nan, torch.inf)):
        given = dict(zip(("query", "key", "value", "grad_output"), inputs(b, h, 1, n, s, 20, 24, dtype), strict=False))
        given[what][:, 0, 57, 3] = bad
        found = through(*given.values(), **options)
        wanted = gradients(*given.values(), **options)
        for name, x in found.items():
            finite, expected = torch.isfinite(x), torch.isfinite(wanted[name])
            assert finite[expected].all(), (name, dtype, bad)
            assert bad == torch.inf or not finite[~expected].any(), (name, dtype)


@pytest.mark.parametrize(("n", "s"), [(0, 7), (5, 0), (0, 0)])
def test_empty(n, s):
    """No queries or no keys: zeros."""
    q, k, v, d = inputs(1, 2, 1, n, s, 8, 8)
    found = through(q, k, v, d)
    assert all((x == 0).all() for x in found.values())


def test_a_missing_argument_is_named():
    """Without a place for the gradients nothing is computed."""
    q, k, v, d = inputs(1, 1, 1, 4, 4, 8, 8)
    a = library.arguments(q, k, v)
    lse = torch.zeros(1, 1, 4)
    a.output, a.lse, a.grad_output = library.rows(d), lse.data_ptr(), library.rows(d)
    with pytest.raises(RuntimeError, match="grad_query"):
        library.call("backward", a)


def test_backward_reads_what_it_is_given():
    """The lse of another call gives other gradients: nothing is recomputed behind the caller."""
    q, k, v, d = inputs(1, 1, 1, 9, 9, 8, 8)
    output, lse, _ = library.forward(q, k, v)
    found, other = (backward(q, k, v, output, x, d)["value"] for x in (lse, lse + 1))
    assert torch.allclose(found, other * torch.e, rtol=1e-4, atol=1e-6)
