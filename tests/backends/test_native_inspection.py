"""The passes that look into the weights, against the matrix itself in float64."""

from dataclasses import fields, replace
from itertools import product

import pytest
import torch
from torch import Tensor

import regard
from regard import masks
from regard._attention import _prepare
from regard._inputs import KEPT_TOP, AttentionInputs, Dropout, Spans, Summary
from regard.backends import INSPECTORS
from regard.backends.math import Math
from regard.backends.native import forward_summary, inspect, library_info, summary
from regard.backends.native._calls import forward
from regard.biases import ALiBi
from regard.errors import KernelError

SIZES = [(1, 1), (3, 70), (70, 5), (64, 128), (150, 150), (200, 333)]
CELLS = [(1, 1), (3, 5), (16, 64), (63, 7), (65, 200), (500, 500)]
CALLS = ["plain", "causal", "window", "padding", "dense mask", "position bias", "dense bias", "softcap", "grouped"]


def _call(name: str, queries: int, keys: int, dtype: torch.dtype = torch.float32, width: int = 40) -> AttentionInputs:
    """Return a call of two sequences and four heads that uses one feature."""
    groups = 2 if name == "grouped" else 4
    query = torch.randn(2, queries, 4, width, dtype=dtype).transpose(1, 2)
    key = 2 * torch.randn(2, groups, keys, width, dtype=dtype)
    options = {
        "causal": {"causal": True},
        "window": {"window": (7, 3)},
        "padding": {"mask": masks.padding([keys, keys // 2])},
        "dense mask": {"mask": torch.rand(2, 1, queries, keys) > 0.6},
        "position bias": {"bias": ALiBi(4)},
        "dense bias": {"bias": torch.randn(1, 4, queries, 1)},
        "softcap": {"softcap": 2.0, "causal": True},
    }.get(name, {})
    return _prepare(query, key, key, True, options)[0]


def _matrix(x: AttentionInputs) -> tuple[Tensor, Tensor]:
    """Return the weights in float64, and the lse in float32, from the call in PyTorch with unit vectors as values."""
    keys = x.key.shape[2]
    units = torch.eye(keys, dtype=torch.float64).expand(*x.key.shape[:2], keys, keys)
    exact = replace(x, query=x.query.double(), key=x.key.double(), value=units)
    result = Math().run(exact)
    assert result.lse is not None
    return result.output, result.lse.float()


def _close(found: Tensor, expected: Tensor, dtype: torch.dtype = torch.float32) -> None:
    bound = 2e-5 if dtype == torch.float32 else 2e-3
    error = (found.double() - expected).norm() / expected.norm().clamp(min=1.0)
    assert found.shape == expected.shape
    assert float(error) < bound


def _pooled(weights: Tensor, cell: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Pool by loops: the mean over the rows of a cell of the sum over its keys, and the largest entry."""
    rows = [weights[:, :, i : i + cell[0]] for i in range(0, weights.shape[2], cell[0])]
    cells = [[part[..., j : j + cell[1]] for j in range(0, weights.shape[3], cell[1])] for part in rows]
    mass = torch.stack([torch.stack([c.sum(3).mean(2) for c in line], -1) for line in cells], 2)
    most = torch.stack([torch.stack([c.amax((2, 3)) for c in line], -1) for line in cells], 2)
    return mass, most


@pytest.mark.parametrize(("name", "size"), [*product(CALLS, SIZES)])
def test_passes_agree_with_the_matrix(name: str, size: tuple[int, int]) -> None:
    """Tile, received, entropy, peak and top of the whole matrix, for every feature and odd sizes."""
    x = _call(name, *size)
    weights, lse = _matrix(x)
    whole = slice(0, size[0]), slice(0, size[1])
    _close(inspect("tile", x, lse, *whole)[0], weights)
    _close(inspect("received", x, lse, *whole)[0], weights.sum(2))
    _close(inspect("entropy", x, lse, *whole)[0], -torch.special.xlogy(weights, weights).sum(3))
    values, indices = inspect("peak", x, lse, *whole)
    _close(values, weights.amax(3))
    assert bool(((indices == -1) == (weights.amax(3) == 0)).all())
    _close(weights.gather(3, indices.clamp(min=0)[..., None])[..., 0], weights.amax(3))
    count = min(5, size[1])
    values, indices = inspect("top", x, lse, *whole, top=count)
    expected = weights.topk(count).values
    _close(values, expected)
    assert bool(((indices == -1) == (expected == 0)).all())
    _close(weights.gather(3, indices.clamp(min=0)) * (indices >= 0), expected)


@pytest.mark.parametrize("cell", [1, 8, 64, 128])
@pytest.mark.parametrize(("name", "size"), [*product(CALLS, [(1, 1), (70, 33), (150, 210), (300, 300)])])
def test_the_summary_agrees_with_the_matrix(name: str, size: tuple[int, int], cell: int) -> None:
    """One look at every weight gives what the passes give one by one, in cells below and above a group of rows."""
    x = _call(name, *size)
    weights, lse = _matrix(x)
    found = summary(x, lse, cell)
    _close(found.map, _pooled(weights, (cell, cell))[0])
    _close(found.entropy, -torch.special.xlogy(weights, weights).sum(3))
    _close(found.received, weights.sum(2))
    top = inspect("top", x, lse, slice(0, size[0]), slice(0, size[1]), top=KEPT_TOP)  # more than there are keys, too
    _close(found.top, top[0])
    assert torch.equal(found.top_keys.long(), top[1])
    apart = torch.arange(size[1]) - torch.arange(size[0])[:, None] - (size[1] - size[0])
    _close(found.distance, (weights * apart.abs()).sum(3))
    _close(found.neighbours, torch.stack([(weights * (apart == side)).sum((2, 3)) for side in (-1, 0, 1)], -1))


def _tensors(found: Summary) -> list[Tensor]:
    return [getattr(found, field.name) for field in fields(found) if field.name != "cell"]


def _same_summary(found: Summary, expected: Summary) -> None:
    """Top weights are the same; sums may be taken in another order, over what the mask cuts."""
    assert torch.equal(found.top, expected.top)
    assert torch.equal(found.top_keys, expected.top_keys)
    assert found.cell == expected.cell
    for one, other in zip(_tensors(found), _tensors(expected), strict=True):
        torch.testing.assert_close(one, other, rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("size", [(5, 3), (17, 70), (70, 33), (64, 128), (197, 197), (300, 301), (700, 90), (3, 50)])
@pytest.mark.parametrize("name", CALLS)
def test_output_and_summary_at_once(name: str, size: tuple[int, int], dtype: torch.dtype) -> None:
    """One pass gives every bit of the output and `lse` of the forward pass, and the summary of the other."""
    x = _call(name, *size, dtype=dtype)
    output, lse, _ = forward(x, 0)
    for cell in (2, 64):
        again, lse_again, found = forward_summary(x, cell)
        assert torch.equal(again, output)
        assert torch.equal(lse_again, lse)
        _same_summary(found, summary(x, lse, cell))


@pytest.mark.parametrize("size", [(1, 300), (70, 2049), (130, 2048), (9000, 20)])
def test_output_and_summary_of_rows_that_are_few_many_or_long(size: tuple[int, int]) -> None:
    """Where one pass would not pay both are made all the same; many rows are summed in stretches."""
    x = _call("padding", *size)
    output, lse, _ = forward(x, 0)
    again, lse_again, found = forward_summary(x, 32)
    assert torch.equal(again, output)
    assert torch.equal(lse_again, lse)
    _same_summary(found, summary(x, lse, 32))


def test_output_and_summary_with_dropout() -> None:
    """The output drops the weights that it always drops, the summary is of the weights before."""
    x = replace(_call("causal", 150, 150), dropout=Dropout(0.4, torch.tensor(7)))
    output, lse, _ = forward(x, 0)
    again, _, found = forward_summary(x, 4)
    assert torch.equal(again, output)
    assert not torch.equal(output, forward(replace(x, dropout=None), 0)[0])
    _same_summary(found, summary(x, lse, 4))


def test_scores_far_apart_and_hidden_nan_at_once() -> None:
    """Blocks whose maximum rises, rows that see nothing, and a NaN in a key that nobody sees."""
    x = _call("plain", 150, 400)
    x.key[:, :, 130:] *= 40
    stop = torch.arange(150, dtype=torch.int32)[None, None] * 2
    x = replace(x, spans=Spans(torch.zeros_like(stop), stop))
    x.key[:, :, 350] = torch.nan
    output, lse, _ = forward(x, 0)
    again, lse_again, found = forward_summary(x, 8)
    assert bool(output.isfinite().all())
    assert bool((lse[:, :, 0] == -torch.inf).all())
    assert torch.equal(again, output)
    assert torch.equal(lse_again, lse)
    _same_summary(found, summary(x, lse, 8))


def test_top_weights_among_equals_are_the_first_keys_and_nan_is_the_largest() -> None:
    """Among equals the lower key comes first; a NaN among the scores stands before every number, as in `top`."""
    x = _call("causal", 70, 70)
    x.query.zero_()
    found = summary(x, _matrix(x)[1], 64).top_keys[0, 0]
    assert found[:5].tolist() == [[0, -1, -1, -1], [0, 1, -1, -1], [0, 1, 2, -1], [0, 1, 2, 3], [0, 1, 2, 3]]
    x.query.fill_(1.0)
    x.key[:, :, 40] = torch.nan
    top = inspect("top", x, torch.zeros(x.shape[:3]), slice(0, 70), slice(0, 70), top=KEPT_TOP)
    found = summary(x, torch.zeros(x.shape[:3]), 64)
    assert torch.equal(found.top_keys.long(), top[1])
    assert bool((found.top_keys[..., 40:, 0] == 40).all())
    assert bool(found.top[..., 40:, 0].isnan().all())


def test_the_summary_refuses_cells_that_cut_groups() -> None:
    """Cells of rows that neither divide 64 nor are a multiple of it are an error, not other numbers."""
    x = _call("causal", 70, 70)
    with pytest.raises(KernelError, match="summary of cells of 5 rows"):
        summary(x, _matrix(x)[1], 5)


@pytest.mark.parametrize(("name", "cell"), [*product(CALLS, CELLS)])
def test_cells_agree_with_the_matrix(name: str, cell: tuple[int, int]) -> None:
    """Pooled mass and peak of a rectangle that begins and ends anywhere."""
    x = _call(name, 150, 210)
    weights, lse = _matrix(x)
    rows, columns = slice(13, 149), slice(5, 209)
    mass, most = _pooled(weights[:, :, rows, columns], cell)
    _close(inspect("pooled", x, lse, rows, columns, cell)[0], mass)
    _close(inspect("highest", x, lse, rows, columns, cell)[0], most)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision(dtype: torch.dtype) -> None:
    """Half inputs are widened; sums stay in float32."""
    x = _call("causal", 130, 130, dtype)
    weights, lse = _matrix(x)
    whole = slice(0, 130), slice(0, 130)
    _close(inspect("tile", x, lse, *whole)[0], weights, dtype)
    _close(inspect("pooled", x, lse, *whole, (32, 32))[0], _pooled(weights, (32, 32))[0], dtype)


@pytest.mark.parametrize("width", [1, 3, 17, 256])
def test_head_widths(width: int) -> None:
    """Any width to 256."""
    x = _call("causal", 40, 70, width=width)
    weights, lse = _matrix(x)
    _close(inspect("tile", x, lse, slice(1, 40), slice(3, 70))[0], weights[:, :, 1:, 3:])


def test_equal_weights_go_to_the_first_key() -> None:
    """Ties: the lower key first, in peak and in top."""
    x = replace(_call("causal", 70, 150), query=torch.zeros(2, 4, 70, 40))
    lse = _matrix(x)[1]
    whole = slice(0, 70), slice(0, 150)
    assert bool((inspect("peak", x, lse, *whole)[1] == 0).all())
    assert bool((inspect("top", x, lse, *whole, top=64)[1] == torch.arange(64)).all())


def test_hidden_nan_is_not_seen() -> None:
    """A NaN in a key that no row of the rectangle sees changes nothing; a visible one shows in the rows that see it."""
    x = _call("causal", 100, 100)
    weights, lse = _matrix(x)
    key = x.key.clone()
    key[:, :, 60] = torch.nan
    strange = replace(x, key=key)
    before, whole = (slice(0, 60), slice(0, 100)), (slice(0, 100), slice(0, 100))
    for name in ("tile", "entropy", "peak", "highest", "received"):
        rows = inspect(name, strange, lse, *before, (7, 7))[0]
        assert bool(rows.isfinite().all()), name
    _close(inspect("tile", strange, lse, *before)[0], weights[:, :, :60])
    for name in ("entropy", "peak"):
        found = inspect(name, strange, lse, *whole)[0]
        assert bool(found[:, :, 60:].isnan().all()), name
        assert bool(found[:, :, :60].isfinite().all()), name


def test_threads_change_no_bit() -> None:
    """Every pass gives the same bits on one thread and on several."""
    x = _call("causal", 700, 700)
    lse = _matrix(x)[1]
    whole = slice(0, 700), slice(0, 700)
    found = []
    for threads in (1, 2, 3, 4):
        torch.set_num_threads(threads)
        found.append(
            [
                t
                for name in ("lse", "tile", "pooled", "highest", "received", "entropy", "peak", "top")
                for t in inspect(name, x, lse, *whole, (90, 50), 7)
            ]
        )
        found[-1] += _tensors(summary(x, lse, 16))
        output, lse_again, both = forward_summary(x, 16)
        found[-1] += [output, lse_again, *_tensors(both)]
    for other in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(found[0], other, strict=True))


def test_lazy_weights_use_the_passes() -> None:
    """The lazy matrix gives the same answers as the streamed one, on every instruction set that is forced."""
    from regard.weights._inspected import Inspected
    from regard.weights._question import Question
    from regard.weights._stream import Stream

    assert library_info().problem is None
    q, k = torch.randn(1, 3, 90, 16), torch.randn(1, 3, 130, 16)
    _, weights = regard.attention(q, k, k, causal=True, need_weights=True)
    (native,) = (one for one in INSPECTORS if one.name == "native")
    kernel = Inspected(native)
    for plain in (weights, weights.value_weighted(), weights.value_weighted(normalise=True)):
        source = plain._ready(differentiable=False)
        for name in ("lse", "tile", "pooled", "highest", "received", "entropy", "peak", "top"):
            question = Question(name, source, slice(0, 90), slice(0, 130), (20, 30) if "p" in name else (1, 1), 4)
            if name == "tile":
                question = replace(question, cell=(1, 1))
            assert kernel.why_not(question) is None
            for a, b in zip(kernel.run(question), Stream().run(question), strict=True):
                if a.dtype == torch.int64:
                    assert torch.equal(a, b)
                else:
                    _close(a, b.double())
