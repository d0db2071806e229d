"""The native forward against float64, on every instruction set of the machine."""

import pytest
import torch

from tests.native import library, reference

DTYPES = [torch.float32, torch.bfloat16, torch.float16]
# Error allowed by dtype: ||out - ref|| / ||ref||, and |lse - ref|.
TOLERANCE = {torch.float32: (3e-6, 2e-5), torch.bfloat16: (8e-3, 2e-3), torch.float16: (1e-3, 2e-4)}
SHAPES = [
    # B, H, G, L, S, E, Ev
    (2, 4, 2, 64, 64, 64, 64),
    (1, 1, 1, 1, 1, 1, 1),
    (2, 4, 2, 70, 130, 64, 64),
    (1, 2, 2, 5, 33, 80, 20),
    (1, 4, 1, 130, 67, 33, 65),
    (1, 2, 1, 300, 260, 7, 128),
    (1, 2, 2, 40, 90, 256, 256),
    (1, 4, 2, 3, 4200, 50, 70),
    (2, 3, 3, 9, 0, 16, 16),
]


def inputs(shape, dtype, seed=0):
    b, h, g, n, s, e, ev = shape
    torch.manual_seed(seed)
    return tuple(torch.randn(size).to(dtype) for size in ((b, h, n, e), (b, g, s, e), (b, g, s, ev)))


def options(shape):
    """One set of options per feature, and one with several."""
    b, h, _, n, s, _, _ = shape
    i = torch.arange(n)
    causal = (torch.zeros(1, 1, n, dtype=torch.int32), (i + s - n + 1).int()[None, None])
    window = ((i - 20).int().expand(b, h, n), (i + 9).int().expand(b, h, n))
    mask = (torch.rand(b, 1, n, s) > 0.5).to(torch.uint8)
    vector = torch.randn(h, n + s - 1)
    return {
        "plain": {},
        "causal": {"spans": causal},
        "window": {"spans": window},
        "mask": {"mask": mask},
        "bias": {"bias": torch.randn(1, h, n, s)},
        "column bias": {"bias": torch.randn(b, 1, 1, s).masked_fill(torch.rand(s) > 0.7, -torch.inf)},
        "position bias": {"position_bias": vector},
        "softcap": {"softcap": 2.0},
        "negative scale": {"scale": -0.3},
        "dropout": {"dropout": 0.3, "seed": 0x123456789ABC},
        "several": {
            "spans": causal,
            "mask": mask,
            "position_bias": vector[:1],
            "softcap": 3.0,
            "dropout": 0.1,
            "seed": 7,
        },
    }


def check(got, want, dtype):
    output, lse, _ = got
    expected, expected_lse, _ = want
    worst, worst_lse = TOLERANCE[dtype]
    error = (output.double() - expected).norm() / expected.norm().clamp_min(1e-30)
    assert error <= worst
    seen = expected_lse > -torch.inf
    assert torch.equal(lse == -torch.inf, ~seen)
    assert ((lse - expected_lse)[seen].abs() <= worst_lse).all()


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_every_feature(isa, dtype, shape):
    """Output, lse and map of every feature agree with float64."""
    q, k, v = inputs(shape, dtype)
    for name, choice in options(shape).items():
        want = reference.forward(q, k, v, **choice)
        got = library.forward(q, k, v, cell=(64, 64), **choice)
        check(got, want, dtype)
        cells = reference.pooled(want[2], 64, 64)
        assert torch.allclose(got[2].double(), cells, atol=TOLERANCE[dtype][1]), name


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_all_small_shapes(isa, dtype):
    """Every pair of lengths near the edges of tiles, with odd widths."""
    lengths = [1, 2, 3, 4, 5, 6, 7, 12, 15, 16, 17, 31, 33, 47, 49, 63, 65, 70]
    for n in lengths:
        for s in lengths:
            e, ev = (n * 7 + s) % 37 + 1, (s * 5 + n) % 41 + 1
            q, k, v = inputs((1, 2, 1, n, s, e, ev), dtype, seed=n * 100 + s)
            check(library.forward(q, k, v), reference.forward(q, k, v), dtype)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_hidden_values_have_no_effect(isa, dtype):
    """NaN and Inf where nobody may look change nothing; where somebody may, his row is NaN."""
    for n, s in ((40, 150), (1, 300)):
        q, k, v = inputs((1, 2, 2, n, s, 24, 40), dtype)
        visible = torch.rand(n, s) > 0.3
        visible[:, s // 2] = False
        visible[0, s // 3] = True
        mask = visible.to(torch.uint8)[None, None]
        clean = library.forward(q, k, v, mask=mask)
        k[:, :, s // 2], v[:, :, s // 2] = torch.nan, torch.inf
        v[:, 0, s // 3, 5] = torch.nan
        got = library.forward(q, k, v, mask=mask)
        assert torch.equal(got[1], clean[1])
        sees = visible[:, s // 3]
        assert got[0][:, 0, sees, 5].isnan().all()
        got[0][:, 0, sees, 5] = clean[0][:, 0, sees, 5]
        assert torch.allclose(got[0], clean[0], rtol=1e-2, atol=1e-3)


def test_nan_in_a_visible_key(isa):
    """A NaN score reaches output and lse of the rows that see it, and no other row."""
    q, k, v = inputs((1, 1, 1, 100, 100, 64, 64), torch.float32)
    k[:, :, 70, 3] = torch.nan
    spans = (torch.zeros(1, 1, 100, dtype=torch.int32), torch.arange(1, 101).int()[None, None])
    output, lse, _ = library.forward(q, k, v, spans=spans)
    assert output[:, :, 70:].isnan().all()
    assert lse[:, :, 70:].isnan().all()
    assert output[:, :, :70].isfinite().all()
    assert lse[:, :, :70].isfinite().all()


@pytest.mark.parametrize("n", [1, 300])
def test_map_leaves_output_unchanged(isa, n):
    """Asking for the map changes no bit of output or lse; rows of cells sum to 1."""
    q, k, v = inputs((1, 2, 2, n, 700, 64, 64), torch.float32)
    plain = library.forward(q, k, v)
    for cell in ((16, 64), (32, 128), (64, 64), (128, 192), (192, 64), (320, 1024)):
        output, lse, cells = library.forward(q, k, v, cell=cell)
        assert torch.equal(output, plain[0])
        assert torch.equal(lse, plain[1])
        want = reference.pooled(reference.forward(q, k, v)[2], *cell)
        assert torch.allclose(cells.double(), want, atol=2e-6)


def test_scores_that_rise_late(isa):
    """The reference maximum moves when late keys score far higher."""
    q, k, v = inputs((1, 2, 2, 200, 700, 64, 64), torch.float32)
    k[:, :, 300:310] *= 40
    k[:, :, 650] *= 100
    got = library.forward(q, k, v, cell=(64, 128))
    want = reference.forward(q, k, v)
    assert ((got[0] - want[0]).norm() / want[0].norm()) < 5e-6
    assert ((got[1] - want[1]).abs() <= 1e-6 * want[1].abs() + 1e-5).all()
    assert torch.allclose(got[2].double(), reference.pooled(want[2], 64, 128), atol=1e-5)


@pytest.mark.parametrize("n", [2, 500])
def test_threads_do_not_change_results(isa, n):
    """Bitwise the same with a serial loop and with 1 to 4 threads."""
    q, k, v = inputs((2, 4, 2, n, 5000, 32, 32), torch.bfloat16)
    library.use_torch_threads(False)
    want = library.forward(q, k, v, cell=(64, 64))
    try:
        library.use_torch_threads(True)
        for threads in (1, 2, 3, 4):
            torch.set_num_threads(threads)
            for a, b in zip(library.forward(q, k, v, cell=(64, 64)), want, strict=True):
                assert torch.equal(a, b)
    finally:
        library.use_torch_threads(False)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_strides(isa, dtype):
    """Views with heads behind the sequence, odd row strides and expanded heads give the same."""
    q, k, v = inputs((2, 4, 4, 70, 90, 32, 32), dtype)
    want = library.forward(q, k, v)

    def odd(x):
        wide = torch.zeros(*x.shape[:-1], x.shape[-1] + 3, dtype=dtype)
        wide[..., 1:-2] = x
        return wide[..., 1:-2]

    def behind(x):
        return x.transpose(1, 2).contiguous().transpose(1, 2)

    for move in (odd, behind):
        got = library.forward(move(q), move(k), move(v))
        assert torch.equal(got[0], want[0])
        assert torch.equal(got[1], want[1])
    one = k[:, :1].expand(-1, 4, -1, -1), v[:, :1].expand(-1, 4, -1, -1)
    shared = library.forward(q, k[:, :1].contiguous(), v[:, :1].contiguous())
    assert torch.equal(library.forward(q, *one)[0], shared[0])


def test_bad_arguments_are_refused():
    """The message says what does not fit; nothing is written."""
    q, k, v = inputs((1, 2, 1, 4, 4, 8, 8), torch.float32)
    with pytest.raises(RuntimeError, match="multiple of 64"):
        library.forward(q, k, v, cell=(64, 16))
    with pytest.raises(RuntimeError, match="dropout"):
        library.forward(q, k, v, dropout=1.0)
    with pytest.raises(RuntimeError, match="widths up to 256"):
        library.forward(torch.ones(1, 1, 2, 300), torch.ones(1, 1, 2, 300), torch.ones(1, 1, 2, 8))
    a = library.arguments(q, k, v)
    a.size = 10**6
    with pytest.raises(RuntimeError, match="size"):
        library.call("forward", a)
