"""The passes that look into the weights, in Triton's interpreter, against the matrix itself in float64."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import regard
from regard import masks
from regard._attention import _prepare
from regard._inputs import AttentionInputs, Summary
from regard.backends import BACKENDS, native
from regard.backends._contract import refusal
from regard.backends.native import Native
from regard.backends.triton import Triton

from ..conformance.calls import DEVICE, make, numbers, solved, yardstick
from ..conformance.cases import CASES, Case
from ..conformance.tolerances import error, limit

TRITON = Triton()
# Every feature, alignments and edges; others differ in what the forward pass makes of them.
NAMES = {
    "cross", "long", "one-query", "one-of-each", "odd-width", "negative", "pattern", "per-head", "one-row", "square",
    "top-left-tall", "both-sides", "right-open", "of-an-empty-sequence", "transposed", "sliced", "mirrored", "peaked",
}  # fmt: skip


def _chosen() -> list[Case]:
    of_features = {case.question for case in CASES}
    first = {question: next(c for c in CASES if c.question == question) for question in sorted(of_features)}
    found = [case for case in CASES if case.name in NAMES or case is first[case.question]]
    return [case for case in found if refusal(TRITON, make(case, torch.float32).inputs()) is None]


def _inspect(x: AttentionInputs, lse: Tensor, name: str, **wanted: Any) -> tuple[Tensor, ...]:
    rows, columns = slice(0, x.shape[2]), slice(0, x.shape[3])
    return TRITON.inspect(name, x, lse, **({"rows": rows, "columns": columns} | wanted))


def _cells(weights: np.ndarray, cell: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    lines = [weights[:, :, i : i + cell[0]] for i in range(0, weights.shape[2], cell[0])]
    parts = [[line[..., j : j + cell[1]] for j in range(0, weights.shape[3], cell[1])] for line in lines]
    mass = np.stack([np.stack([part.sum(3).mean(2) for part in line], -1) for line in parts], 2)
    most = np.stack([np.stack([part.max((2, 3)) for part in line], -1) for line in parts], 2)
    return mass, most


@pytest.mark.parametrize(
    ("case", "dtype"),
    [
        *((case, torch.float32) for case in _chosen()),
        # They differ in how tiles are read alone.
        *((case, dtype) for case in _chosen() if case.name == "per-head" for dtype in (torch.bfloat16, torch.float16)),
    ],
    ids=str,
)
def test_every_pass(case: Case, dtype: torch.dtype) -> None:
    """Tile, cells, received, entropy, peak, top and the summary of the cases of the table, against the oracle.

    One key head of the last sequence: the interpreter takes programs one after the other.
    """
    call, answer, sizes = make(case, dtype), solved(case, dtype, False), case.sizes
    part = slice(sizes.B - 1, sizes.B), slice(0, sizes.H // sizes.G)
    x, weights = call.inputs(need_weights=True).of_heads(*part), answer.weights[part]
    lse = torch.from_numpy(answer.lse[part]).float().to(DEVICE)
    # That of the native passes: an entropy near zero shows the rounding of `lse`.
    allowed = max(limit(dtype, error(numbers(yardstick(case, dtype, False)["lse"]), answer.lse)), 2e-5)

    def close(found: Tensor, expected: np.ndarray) -> None:
        assert error(numbers(found), expected) <= allowed

    close(_inspect(x, lse, "tile")[0], weights)
    close(_inspect(x, lse, "received")[0], weights.sum(2))
    with np.errstate(divide="ignore", invalid="ignore"):
        surprise = -np.where(weights > 0, weights * np.log(weights), 0.0)
    close(_inspect(x, lse, "entropy")[0], surprise.sum(3))
    mass, most = _cells(weights, (8, 4))
    close(_inspect(x, lse, "pooled", cell=(8, 4))[0], mass)
    close(_inspect(x, lse, "highest", cell=(8, 4))[0], most)
    count = min(3, weights.shape[3])
    values, keys = _inspect(x, lse, "top", count=count)
    best = -np.sort(-weights, axis=3)[..., :count]
    close(values, best)
    places = keys.cpu()
    assert torch.equal(places == -1, torch.from_numpy(best == 0))
    close(torch.from_numpy(weights).gather(3, places.clamp(min=0)) * (places >= 0), best)
    value, key = _inspect(x, lse, "peak")
    assert torch.equal(value, values[..., 0])
    assert torch.equal(key, keys[..., 0])
    summary = TRITON.summarise(x, lse, 4)
    close(summary.received, weights.sum(2))
    close(summary.entropy, surprise.sum(3))
    close(summary.map, _cells(weights, (4, 4))[0])
    apart = np.arange(weights.shape[3]) - np.arange(weights.shape[2])[:, None] - (weights.shape[3] - weights.shape[2])
    close(summary.distance, (weights * np.abs(apart)).sum(3))
    close(summary.neighbours, np.stack([(weights * (apart == side)).sum((2, 3)) for side in (-1, 0, 1)], -1))
    assert torch.equal(summary.top[..., :count], values)
    assert torch.equal(summary.top_keys[..., :count].long(), keys)


def _call(queries: int, keys: int, **arguments: Any) -> tuple[AttentionInputs, Tensor]:
    width = arguments.pop("width", 16)
    q, k = torch.randn(1, 2, queries, width).to(DEVICE), torch.randn(1, 1, keys, width).to(DEVICE)
    x = _prepare(q, k, k, True, arguments)[0]
    lse = BACKENDS[[b.name for b in BACKENDS].index("math")].run(x).lse
    assert lse is not None
    return x, lse


@pytest.mark.parametrize("cell", [(16, 64), (7, 80), (128, 2), (500, 3)])
def test_rectangles_and_cells_of_any_size(cell: tuple[int, int]) -> None:
    """Cells larger and smaller than a tile, of a rectangle that begins and ends anywhere."""
    x, lse = _call(100, 110, causal=True)
    where = {"rows": slice(13, 99), "columns": slice(5, 108)}
    weights = _inspect(x, lse, "tile", **where)[0]
    for name, expected in zip(("pooled", "highest"), _cells(numbers(weights), cell), strict=True):
        found = _inspect(x, lse, name, cell=cell, **where)[0]
        np.testing.assert_allclose(numbers(found), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("size", "cell"), [((140, 70), 128), ((70, 40), 1), ((70, 90), 16)])
def test_summaries_are_those_of_the_native_kernel(size: tuple[int, int], cell: int) -> None:
    """Cells of one row, of some, and of more rows than a tile."""
    x, lse = _call(*size, window=(40, 3))
    found, expected = TRITON.summarise(x, lse, cell), native.summary(x.map(Tensor.cpu), lse.cpu(), cell)
    for name in ("map", "masked", "entropy", "distance", "received", "top", "top_keys", "neighbours", "visible_keys"):
        torch.testing.assert_close(getattr(found, name).cpu(), getattr(expected, name), rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("width", [1, 256])
def test_widths(width: int) -> None:
    """The narrowest and the widest head."""
    x, lse = _call(20, 40, width=width, scale=0.1)
    expected = native.inspect("tile", x.map(Tensor.cpu), lse.cpu(), slice(0, 20), slice(0, 40))[0]
    torch.testing.assert_close(_inspect(x, lse, "tile")[0].cpu(), expected, rtol=1e-5, atol=1e-6)


def test_equal_weights_go_to_the_first_key() -> None:
    """Ties: the lower key first; more wanted than there are keys, -1."""
    x, lse = _call(20, 70)
    x = replace(x, query=torch.zeros_like(x.query))
    lse = torch.full_like(lse, float(np.log(70)))
    assert bool((_inspect(x, lse, "peak")[1] == 0).all())
    assert bool((_inspect(x, lse, "top", count=64)[1] == torch.arange(64, device=DEVICE)).all())
    few = _inspect(x, lse, "top", columns=slice(3, 5), count=4)[1]
    assert few[0, 0, 0].tolist() == [3, 4, -1, -1]


def test_nan_shows_in_the_rows_that_see_it() -> None:
    """A hidden NaN changes nothing; one that is seen is the largest weight of its row and no other's."""
    x, _ = _call(40, 40, causal=True)
    x.key[:, :, 25] = torch.nan
    lse = torch.zeros(x.shape[:3], device=DEVICE)
    for name in ("tile", "entropy", "peak", "highest"):
        found = _inspect(x, lse, name, cell=(1, 40))[0].isnan()
        assert (found if found.ndim == 3 else found.any(-1))[0, 0].tolist() == [False] * 25 + [True] * 15, name
    assert bool((_inspect(x, lse, "top", count=2)[1][..., 25:, 0] == 25).all())
    assert bool((TRITON.summarise(x, lse, 8).top_keys[..., 25:, 0] == 25).all())


def test_rows_far_from_zero_are_normalised_by_their_own_sum() -> None:
    """At scores of 1e6 an lse in float32 has lost the sum; with a sink it is taken as it is."""
    x, _ = _call(30, 50)
    x = replace(x, bias=torch.full((1, 1, 1, 1), 1e6, device=DEVICE))
    lse = torch.full(x.shape[:3], 1e6, device=DEVICE)
    assert bool(torch.allclose(_inspect(x, lse, "tile")[0].sum(-1), torch.ones(x.shape[:3], device=DEVICE), atol=1e-3))
    sunk = _inspect(replace(x, sinks=torch.zeros(1, 2, 1, device=DEVICE)), lse, "tile")[0].sum(-1)
    assert bool((sunk - 1).abs().amax() > 0.5)


def _answers(weights: regard.AttentionWeights) -> list[Any]:
    return [
        weights.pooled(8), weights.pooled(8, "peak"), weights.entropy(), weights.received(), *weights.peak(),
        *weights.top(3), weights[..., 3:9, 2:7], weights.max_scores(), weights.mean_distance(),
    ]  # fmt: skip


@pytest.mark.parametrize("sinks", [False, True])
def test_the_backend_that_made_a_call_looks_into_it(sinks: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lazy weights and a watched model look through Triton where it ran, and with it not into other calls here."""
    q = torch.randn(1, 2, 33, 8).to(DEVICE)
    arguments: dict[str, Any] = {"causal": True, "mask": masks.padding([30])}
    if sinks:
        arguments["sinks"] = torch.tensor([0.5, -1.0], device=DEVICE)
    asked = []
    for backend in (Triton, Native):
        made = backend.inspect

        def noted(self: Any, name: str, *rest: Any, made: Any = made, **more: Any) -> tuple[Tensor, ...]:
            asked.append((self.name, name))
            return made(self, name, *rest, **more)

        monkeypatch.setattr(backend, "inspect", noted)
    ours = _answers(regard.attention(q, q, q, need_weights=True, backend="triton", **arguments)[1])
    assert {backend for backend, _ in asked} == {"triton"}
    assert {name for _, name in asked} == {"pooled", "highest", "entropy", "received", "peak", "top", "tile"}
    asked.clear()
    others = _answers(regard.attention(q, q, q, need_weights=True, backend="math", **arguments)[1])
    assert {backend for backend, _ in asked} <= ({"native"} if DEVICE == "cpu" else {"triton"})
    for one, other in zip(ours, others, strict=True):
        torch.testing.assert_close(one, other, rtol=2e-5, atol=2e-6)


def test_watch_looks_through_triton(monkeypatch: pytest.MonkeyPatch) -> None:
    """A recording's summaries come from the one pass."""
    made: list[Summary] = []
    summarise = Triton.summarise

    def noted(self: Triton, *given: Any) -> Summary:
        made.append(summarise(self, *given))
        return made[-1]

    monkeypatch.setattr(Triton, "summarise", noted)

    class Model(torch.nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return regard.attention(x, x, x, causal=True)

    model, x = Model(), torch.randn(1, 2, 20, 8).to(DEVICE)
    with regard.use_backend("triton"), regard.watch(model) as recording:
        model(x)
    assert len(made) == 1
    assert recording.calls[0].backend == "triton"
    expected = regard.attention(x, x, x, causal=True, need_weights=True)[1].entropy()
    torch.testing.assert_close(recording.calls[0].weights.entropy(), expected, rtol=2e-5, atol=2e-6)
