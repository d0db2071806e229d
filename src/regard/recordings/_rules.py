"""What each tensor of a recorded call must look like, so that a file that nobody vouches for can be checked."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import Any, NamedTuple

import torch
from torch import Tensor

Shape = tuple[int, ...]


class Rule(NamedTuple):
    """What a stored tensor looks like."""

    dimensions: str
    """A letter for each dimension; of a small one the size may be 1 for "the same everywhere"."""
    dtypes: tuple[torch.dtype, ...]
    low: int = 0
    """Smallest integer."""
    high: str = ""
    """Letter of the size that integers may reach; empty for any."""


_SUMS = (torch.float32, torch.float64)
_FLOATS = (*_SUMS, torch.float16, torch.bfloat16)
_INT32, _INT64, _BOOL = (torch.int32,), (torch.int64,), (torch.bool,)

# B batch, H heads, G key heads, L queries, S keys, E head width, Q and K cells of the map, M and N of the kernel's map,
# D = L + S - 1 distances. Sizes come from the tensors named in `sizes_of`.
RULES = {
    "map": Rule("BHQK", _SUMS),
    "entropy": Rule("BHL", _SUMS),
    "masked": Rule("bhqk", _BOOL),
    "distance": Rule("BHL", _SUMS),
    "received": Rule("BHS", _SUMS),
    "top": Rule("BHL4", _SUMS),
    "top_keys": Rule("BHL4", _INT32, -1, "S"),
    "neighbours": Rule("BH3", _SUMS),
    "lse": Rule("BHL", _SUMS),
    "visible_keys": Rule("bhL", _INT64, 0, "S"),
    "visible_queries": Rule("bhS", _INT64),
    "query": Rule("BHLE", _FLOATS),
    "key": Rule("BGSE", _FLOATS),
    "value_norms": Rule("BGS", _SUMS),
    "start": Rule("bhL", _INT32, 0, "S"),
    "stop": Rule("bhL", _INT32, 0, "S"),
    "dense_mask": Rule("bhls", _BOOL),
    "position_bias": Rule("hD", _FLOATS),
    "bias": Rule("bhls", _FLOATS),
    "log_factor": Rule("BHS", _SUMS),
    "kernel_map": Rule("BHMN", _SUMS),
}  # fmt: skip

# Of a tensor without elements the file holds nothing that vouches for its sizes.
_MOST_OF_EMPTY = 1 << 32


def sizes_of(shapes: Mapping[str, Shape], cell: int, kernel_cell: int) -> dict[str, int]:
    """Return the sizes of a call by letter; raises `LookupError` where a tensor that tells them is missing."""
    batch, heads, queries = shapes["entropy"][:3]
    keys = shapes["received"][2]
    groups, width = shapes["key"][1::2] if "key" in shapes else (0, 0)
    sizes = {"B": batch, "H": heads, "L": queries, "S": keys, "G": groups, "E": width, "3": 3, "4": 4}
    sizes |= {"Q": -(-queries // cell), "K": -(-keys // cell), "D": max(queries + keys - 1, 0)}
    if kernel_cell:
        sizes |= {"M": -(-queries // kernel_cell), "N": -(-keys // kernel_cell)}
    return sizes


def why_not(rule: Rule, shape: Shape, dtype: torch.dtype, sizes: Mapping[str, int]) -> str:
    """Say why a tensor breaks a rule; empty if it does not."""
    fits = len(shape) == len(rule.dimensions) and all(
        size == sizes.get(letter.upper()) or (letter.islower() and size == 1)
        for size, letter in zip(shape, rule.dimensions, strict=True)
    )
    if dtype not in rule.dtypes or not fits:
        return f"is {str(dtype).removeprefix('torch.')} {list(shape)}, which is not what a call of this size has"
    if 0 in shape and math.prod(size or 1 for size in shape) > _MOST_OF_EMPTY:
        return f"is empty, {list(shape)}; the other sizes may then make up {_MOST_OF_EMPTY:,}"
    return ""


def tensors_of(thing: Any) -> Iterator[tuple[str, Tensor]]:
    """Yield the tensors of a dataclass by name; None is left out."""
    for one in fields(thing):
        value = getattr(thing, one.name)
        if isinstance(value, Tensor):
            yield one.name, value
