"""Stored matrices behind the lazy interface."""

import pytest
import torch

from regard.errors import ArgumentError, DtypeError, ShapeError
from regard.weights import from_dense
from tests.weights.cases import pooled


@pytest.mark.parametrize("shape", [(5, 7), (3, 5, 7), (2, 3, 5, 7)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_numbers_come_back(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    """Entries, zeros, sums and entropies are those of the matrix."""
    matrix = torch.softmax(3 * torch.randn(shape), -1).to(dtype)
    matrix[..., 2, 3] = 0.0
    found = from_dense(matrix)
    assert found.shape == shape
    whole = found.dense()
    assert torch.allclose(whole.double(), matrix.double(), rtol=3e-6, atol=0)
    assert bool((whole[..., 2, 3] == 0).all())
    assert not bool(found.masked().any())
    wide = matrix.double()
    assert torch.allclose(found.received().double(), wide.sum(-2), atol=1e-6)
    assert torch.allclose(found.pooled(2).double(), pooled(wide, 2))


def test_what_is_hidden_is_said() -> None:
    """With a mask, hidden pairs are masked and weigh nothing; a row that sees nothing has no entropy."""
    matrix = torch.tensor([[0.5, 0.5], [0.0, 0.0]])
    found = from_dense(matrix, torch.tensor([[True, True], [False, False]]))
    assert found.masked().tolist() == [[False, False], [True, True]]
    assert found.entropy().tolist() == pytest.approx([0.6931472, 0.0])
    assert found.lse.tolist() == [0.0, -torch.inf]


def test_bad_matrices() -> None:
    """Scores, integers, vectors and masks that do not fit are refused."""
    with pytest.raises(ArgumentError, match="after the softmax"):
        from_dense(-torch.ones(2, 2))
    with pytest.raises(DtypeError, match="floating"):
        from_dense(torch.ones(2, 2, dtype=torch.long))
    with pytest.raises(ShapeError, match=r"\(L, S\)"):
        from_dense(torch.ones(2))
    with pytest.raises(ShapeError, match="broadcast"):
        from_dense(torch.ones(2, 2), torch.ones(3, 3, dtype=torch.bool))
