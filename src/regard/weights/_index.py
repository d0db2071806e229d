"""Reading an index as torch reads it, before there is a tensor: which rows and columns are needed, and what then.

An index becomes one selector per dimension (what has to be computed) and a remainder of the same form, which is
applied to the small tensor. The remainder keeps the kinds of the parts, so torch's own rules about where the
dimensions go hold without being written down again.
"""

from __future__ import annotations

import operator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .._inputs import Index
from ..errors import ArgumentError, nearest


class Plan(NamedTuple):
    """What an index needs."""

    selectors: tuple[Index, ...]
    """For each dimension a slice with step 1, or int64 positions."""
    remainder: tuple[Any, ...]
    """Index into the tensor of the selected positions."""
    pairs: tuple[Tensor, Tensor] | None
    """Rows and columns `(n,)` of single entries where those are fewer than the rectangle; the remainder then
    indexes a tensor `(b, h, n)`."""


def plan(index: Any, shape: tuple[int, ...], device: torch.device) -> Plan:
    """Read an index of a tensor of `shape`; raises what torch raises, `IndexError` or `ValueError`."""
    parts = _spread([_read(part, device) for part in (index if isinstance(index, tuple) else (index,))])
    taken = sum(part is not None and not _takes_none(part) for part in parts if part is not Ellipsis)
    if taken > len(shape):
        raise IndexError(f"{taken} indices were given for attention weights of {len(shape)} dimensions.")
    if sum(part is Ellipsis for part in parts) > 1:
        raise IndexError("an index can hold only one ellipsis ('...').")
    if not any(part is Ellipsis for part in parts):
        parts.append(Ellipsis)
    selectors: list[Index] = []
    remainder: list[Any] = []
    places: list[int] = []  # where in the remainder each dimension stands
    for part in parts:
        if part is Ellipsis:
            for size in shape[len(selectors) : len(selectors) + len(shape) - taken]:
                places.append(len(remainder))
                selectors.append(slice(0, size))
                remainder.append(slice(None))
        elif part is None or _takes_none(part):
            remainder.append(part)
        else:
            selector, rest = _one(part, shape[len(selectors)], len(selectors))
            places.append(len(remainder))
            selectors.append(selector)
            remainder.append(rest)
    return _paired(tuple(selectors), remainder, places, parts)


def _read(part: Any, device: torch.device) -> Any:
    if part is None or part is Ellipsis or isinstance(part, slice | bool):
        return part
    if isinstance(part, Tensor) or hasattr(part, "__array__") or isinstance(part, list):
        tensor = torch.as_tensor(part, device=device)
        if isinstance(part, list) and tensor.numel() == 0:
            tensor = tensor.long()
        if tensor.dtype == torch.uint8 or tensor.is_floating_point() or tensor.is_complex():
            raise IndexError(f"an index tensor is {tensor.dtype}; use int64 positions, or bool with True where wanted.")
        return int(tensor) if tensor.ndim == 0 and tensor.dtype != torch.bool else tensor
    try:
        return operator.index(part)
    except TypeError:
        hint = ""
        if isinstance(part, str):
            hint = nearest(part, ("head", "pooled", "entropy", "received", "top", "peak", "share", "dense"))
        raise IndexError(
            f"{part!r} is no index. Use integers, slices, None, ..., or integer and boolean tensors.{hint}"
        ) from None


def _spread(parts: list[Any]) -> list[Any]:
    # A bool tensor of d dimensions stands for the d position tensors of its True entries.
    found: list[Any] = []
    for part in parts:
        if isinstance(part, Tensor) and part.dtype == torch.bool and part.ndim > 0:
            found.extend(_Masked(p, size) for p, size in zip(part.nonzero(as_tuple=True), part.shape, strict=True))
        else:
            found.append(part)
    return found


class _Masked(NamedTuple):
    positions: Tensor
    size: int


def _takes_none(part: Any) -> bool:
    return isinstance(part, bool) or (isinstance(part, Tensor) and part.dtype == torch.bool)


def _one(part: Any, size: int, dim: int) -> tuple[Index, Any]:
    if isinstance(part, int):
        if not -size <= part < size:
            raise IndexError(f"index {part} is out of range for dimension {dim} of size {size}.")
        return slice(part % size, part % size + 1), 0
    if isinstance(part, slice):
        start, stop, step = part.indices(size)
        if step < 1:
            raise ValueError("slice step must be positive.")
        if step == 1:
            return slice(start, max(start, stop)), slice(None)
        return torch.arange(start, max(start, stop), step, device="cpu"), slice(None)
    if isinstance(part, _Masked):
        if part.size != size:
            raise IndexError(f"a boolean index has size {part.size} in dimension {dim}, the weights have {size}.")
        part = part.positions
    positions = torch.where(part < 0, part + size, part).long()
    if part.numel() and (int(positions.amin()) < 0 or int(positions.amax()) >= size):
        raise IndexError(f"a position lies out of range for dimension {dim} of size {size}.")
    needed, rest = positions.unique(return_inverse=True)
    if needed.numel() and int(needed[-1]) - int(needed[0]) + 1 == needed.numel():
        return slice(int(needed[0]), int(needed[-1]) + 1), rest
    return needed, rest


def _paired(selectors: tuple[Index, ...], remainder: list[Any], places: list[int], parts: list[Any]) -> Plan:
    row, column = (remainder[place] for place in places[-2:])
    if not (isinstance(row, Tensor) and isinstance(column, Tensor) and places[-1] == places[-2] + 1):
        return Plan(selectors, tuple(remainder), None)
    try:
        row, column = torch.broadcast_tensors(row, column)
    except RuntimeError:  # the remainder will say so, in torch's words
        return Plan(selectors, tuple(remainder), None)
    if row.numel() >= length(selectors[-2]) * length(selectors[-1]):
        return Plan(selectors, tuple(remainder), None)
    pairs = tuple(
        _positions(selector, rest.device)[rest.reshape(-1)]
        for selector, rest in zip(selectors[-2:], (row, column), strict=True)
    )
    merged = torch.arange(row.numel(), device=row.device).view(row.shape)
    rest = (*remainder[: places[-2]], merged, *remainder[places[-1] + 1 :])
    return Plan(selectors, rest, (pairs[0], pairs[1]))


def length(selector: Index) -> int:
    """Return how many positions a selector picks."""
    return selector.stop - selector.start if isinstance(selector, slice) else selector.numel()


def _positions(selector: Index, device: torch.device) -> Tensor:
    if isinstance(selector, slice):
        return torch.arange(selector.start, selector.stop, device=device)
    return selector.to(device)


def sides(cell: int | tuple[int, int]) -> tuple[int, int]:
    """Return the queries and keys of a cell."""
    both = tuple(cell) if isinstance(cell, tuple | list) else (cell, cell)
    if len(both) != 2 or any(not isinstance(side, int) or isinstance(side, bool) or side < 1 for side in both):
        raise ArgumentError(f"cell is {cell!r}; give the tokens per side, an integer >= 1, or (queries, keys).")
    return both[0], both[1]


def bounds(part: slice | None, size: int, name: str) -> slice:
    """Return a slice with plain bounds; raises `ArgumentError` for steps."""
    start, stop, step = (part or slice(None)).indices(size)
    if step != 1:
        raise ArgumentError(f"{name} is {part}; a pooled rectangle takes slices with step 1.")
    return slice(start, max(start, stop))
