"""What the mask hides, against the mask written out in full."""

import pytest
import torch
from torch import Tensor

import regard
from regard.errors import ArgumentError
from tests.weights.cases import CASES, Case


def _hidden(case: Case) -> Tensor:
    """Return the hidden pairs, `(B, H, L, S)`."""
    b, h, rows, keys, _ = case.sizes
    seen = torch.ones(b, h, rows, keys, dtype=torch.bool)
    if case.visible is not None:
        seen = seen & case.visible
    bias = case.arguments.get("bias")
    if isinstance(bias, Tensor):
        seen = seen & (bias != -torch.inf)
    return ~seen


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
@pytest.mark.parametrize(("cell", "rows", "columns"), [(1, None, None), ((5, 8), None, None), (4, (3, 30), (7, 53))])
def test_masked_cells(case: Case, cell: int | tuple[int, int], rows: tuple[int, int], columns: tuple[int, int]) -> None:
    """A cell is masked exactly when every pair in it is hidden."""
    _, weights = case.call()
    r = slice(*(rows or (0, case.sizes[2])))
    c = slice(*(columns or (0, case.sizes[3])))
    down, across = cell if isinstance(cell, tuple) else (cell, cell)
    hidden = _hidden(case)[:, :, r, c]
    padded = torch.nn.functional.pad(hidden, (0, -hidden.shape[3] % across, 0, -hidden.shape[2] % down), value=True)
    expected = padded.unflatten(3, (-1, across)).all(4).unflatten(2, (-1, down)).all(3)
    assert torch.equal(weights.masked(cell, rows=r, columns=c), expected)
    assert bool((weights.pooled(cell, rows=r, columns=c)[expected] == 0).all())


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_visible_keys(case: Case) -> None:
    """The number of visible keys of each query is that of the mask."""
    _, weights = case.call()
    assert torch.equal(weights.visible_keys(), (~_hidden(case)).sum(-1))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
@pytest.mark.parametrize(("cell", "rows", "columns"), [(1, None, None), ((5, 8), None, None), (4, (3, 30), (7, 53))])
def test_uniform(case: Case, cell: int | tuple[int, int], rows: tuple[int, int], columns: tuple[int, int]) -> None:
    """Even attention over the visible keys, pooled as the weights are."""
    _, weights = case.call()
    r, c = slice(*(rows or (0, case.sizes[2]))), slice(*(columns or (0, case.sizes[3])))
    down, across = cell if isinstance(cell, tuple) else (cell, cell)
    seen = (~_hidden(case)).double()
    even = torch.nan_to_num(seen / seen.sum(-1, keepdim=True))[:, :, r, c]
    expected = [
        torch.stack([block.sum(-1).mean(-1) for block in strip.split(across, 3)], -1) for strip in even.split(down, 2)
    ]
    found = weights.uniform(cell, rows=r, columns=c)
    if found.numel():
        assert torch.allclose(found.double(), torch.stack(expected, 2), rtol=1e-6, atol=1e-7)


def test_ranks_and_errors() -> None:
    """Leading dimensions follow the call; a cell of no tokens is refused."""
    q = torch.randn(6, 4)
    _, weights = regard.attention(q, q, q, causal=True, need_weights=True)
    assert weights.masked(2).shape == (3, 3)
    assert weights.visible_keys().tolist() == [1, 2, 3, 4, 5, 6]
    assert weights.masked(2, rows=slice(0, 0)).shape == (0, 3)
    with pytest.raises(ArgumentError, match="tokens per side"):
        weights.masked(0)
