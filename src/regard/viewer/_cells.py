"""A matrix as cells to be drawn; masked and not recorded are distinguished from zero."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .._values import described, whole
from ..errors import ArgumentError, ArgumentTypeError, DtypeError, ShapeError
from ..weights import AttentionWeights

# Every quantity drawn is nonnegative, so these negative codes cannot be numbers.
MASKED = -1.0
NOT_RECORDED = -2.0

Matrix = AttentionWeights | Tensor | NDArray[Any]


@dataclass(frozen=True, eq=False)
class Cells:
    """The numbers of one picture."""

    numbers: NDArray[np.float64]
    """(rows, columns); `MASKED` and `NOT_RECORDED` are codes."""
    shape: tuple[int, int]
    """Number of queries and keys of the whole matrix."""
    cell: int
    """Tokens per side of a cell."""
    row_sums: tuple[float, float] | None
    """Lowest and highest sum of a row with visible keys; None if unknown."""

    @property
    def highest(self) -> float:
        """The largest number; 0 if there is none."""
        real = self.numbers[np.isfinite(self.numbers) & (self.numbers >= 0)]
        return float(real.max()) if real.size else 0.0


def checked_matrix(name: str, given: Any) -> Matrix:
    """Return lazy weights, or a validated array of numbers. Raises `ArgumentTypeError`, `DtypeError`."""
    if isinstance(given, AttentionWeights):
        return given
    if not isinstance(given, Tensor | np.ndarray):
        raise ArgumentTypeError(
            f"{name} is {described(given)}; give AttentionWeights (need_weights=True), or a tensor or array of weights."
        )
    numbers = given.dtype.kind in "fiub" if isinstance(given, np.ndarray) else not given.is_complex()
    if not numbers or (isinstance(given, Tensor) and given.is_meta):
        raise DtypeError(f"{name} is {described(given)}, which holds no real numbers to draw.")
    return given


def heads_of(matrix: Matrix) -> tuple[int, int]:
    """Return how many inputs and heads a matrix of 2 to 4 dimensions holds; raises `ShapeError`."""
    shape = tuple(checked_matrix("weights", matrix).shape)
    if not 2 <= len(shape) <= 4:
        raise ShapeError(f"weights has shape {shape}; give (L, S), (heads, L, S) or (batch, heads, L, S).")
    if 0 in shape:
        raise ShapeError(f"weights has shape {shape}; there is nothing to draw.")
    inputs, heads = (1, 1, *shape[:-2])[-2:]
    return inputs, heads


def pick(matrix: Matrix, batch: int, head: int) -> Matrix:
    """Return the matrix `(L, S)` of one input and head; raises `ArgumentError` for an index out of range."""
    inputs, heads = heads_of(matrix)
    for name, given, size in (("batch", batch, inputs), ("head", head, heads)):
        if not -size <= whole(name, given) < size:
            raise ArgumentError(f"{name} is {given}; the weights have {size}, counted from 0.")
    index = (whole("batch", batch) % inputs, whole("head", head) % heads)[4 - matrix.ndim :]
    if isinstance(matrix, AttentionWeights):
        return matrix.head(*index)
    return matrix[index]


def cells_of(matrix: Matrix, most: int = 512) -> Cells:
    """Return one matrix `(L, S)` in cells; single weights if it has at most `most` tokens a side.

    Otherwise a cell has the least power of two of tokens a side for which at most `most` cells a side remain. Its
    number is the mean over its queries of the sum over its keys. In an array NaN means not recorded, and nothing is
    known to be masked.
    """
    queries, keys = matrix.shape
    cell = 1 << max(0, (-(-max(queries, keys) // most) - 1).bit_length())
    if isinstance(matrix, AttentionWeights):
        cell = max(cell, matrix.kept_cell)
        numbers = matrix.detach().pooled(cell).double().cpu().numpy().copy()
        sees = (matrix.visible_keys() > 0).double().cpu().numpy()
        numbers[matrix.masked(cell).cpu().numpy()] = MASKED
    else:
        numbers, sees = _pooled_array(np.asarray(torch.as_tensor(matrix).detach().double().cpu()), cell)
    return Cells(numbers, (queries, keys), cell, _row_sums(numbers, sees, cell))


def _pooled_array(dense: NDArray[np.float64], cell: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    if (dense < 0).any():
        raise ArgumentError("weights holds negative numbers; attention weights are 0 or more (NaN = not recorded).")
    if cell > 1:
        edges = [np.arange(0, size, cell) for size in dense.shape]
        counts = np.diff([*edges[0], dense.shape[0]])[:, None]
        dense = np.add.reduceat(np.add.reduceat(dense, edges[0], 0), edges[1], 1) / counts
    return np.where(np.isnan(dense), NOT_RECORDED, dense), np.ones(dense.shape[0] * cell)


def _row_sums(numbers: NDArray[np.float64], sees: NDArray[np.float64], cell: int) -> tuple[float, float] | None:
    if (numbers == NOT_RECORDED).any():
        return None
    share = np.array([sees[a : a + cell].mean() for a in range(0, numbers.shape[0] * cell, cell)])
    sums = np.where(numbers < 0, 0.0, numbers).sum(1)
    sums = sums[share > 0] / share[share > 0]
    return (float(sums.min()), float(sums.max())) if sums.size else None
