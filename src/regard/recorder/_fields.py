"""The fields of a stored call: which tensors and numbers a dataclass holds, by name, and which shapes they must have.

Summaries and exact parts are dataclasses of tensors, named tuples of tensors and numbers. They are written and read by
the names of their fields; each tensor has one line in the table below, so that what a file says can be checked.
"""

from __future__ import annotations

import operator
from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import Any, NamedTuple, TypeVar, get_args, get_type_hints

from torch import Tensor

from ..errors import ArgumentError

__all__ = ["RULES", "Rule", "Sizes", "assemble", "numbers_of", "rule_of", "tensors_of"]

_T = TypeVar("_T")


class Rule(NamedTuple):
    """What a stored tensor looks like."""

    dimensions: str
    """A letter for each dimension; of a small one the size may be 1 for "the same everywhere"."""
    kind: str
    """`float`, `int32`, `int64` or `bool`."""
    low: int = 0
    """Smallest integer."""
    high: str = ""
    """Letter of the size that integers may reach; empty for any."""


# B batch, H heads, G key heads, L queries, S keys, E head width, Q and K cells of the map, M and N of the kernel's map,
# D = L + S - 1 distances.
RULES = {
    "map": Rule("BHQK", "float"),
    "entropy": Rule("BHL", "float"),
    "masked": Rule("bhqk", "bool"),
    "distance": Rule("BHL", "float"),
    "received": Rule("BHS", "float"),
    "links": Rule("BHL4", "float"),
    "link_keys": Rule("BHL4", "int32", -1, "S"),
    "near": Rule("BH3", "float"),
    "lse": Rule("BHL", "float"),
    "seeing": Rule("bhL", "int64", 0, "S"),
    "counts": Rule("bhS", "int64"),
    "query": Rule("BHLE", "float"),
    "key": Rule("BGSE", "float"),
    "value_norms": Rule("BGS", "float"),
    "start": Rule("bhL", "int32", 0, "S"),
    "stop": Rule("bhL", "int32", 0, "S"),
    "dense_mask": Rule("bhls", "bool"),
    "position_bias": Rule("hD", "float"),
    "bias": Rule("bhls", "float"),
    "log_factor": Rule("BHS", "float"),
    "kernel_map": Rule("BHMN", "float"),
}  # fmt: skip

_NAMES = {"B": "batch", "H": "head", "G": "key_head", "L": "query", "S": "key", "E": "width", "D": "distance",
          "3": "place", "4": "link",
          "Q": "query_cells", "K": "key_cells", "M": "query_cells", "N": "key_cells"}  # fmt: skip


class Sizes(NamedTuple):
    """The sizes of a call by the letters of the rules."""

    known: Mapping[str, int]

    @classmethod
    def of_call(cls, given: Mapping[str, int], cell: int, kernel_cell: int) -> Sizes:
        """Complete the sizes `B H L S G E` by those that follow from them."""
        queries, keys = given["L"], given["S"]
        maps = {"Q": -(-queries // cell), "K": -(-keys // cell)}
        if kernel_cell:
            maps |= {"M": -(-queries // kernel_cell), "N": -(-keys // kernel_cell)}
        return cls({**given, **maps, "D": max(queries + keys - 1, 0), "3": 3, "4": 4})

    def shape_fits(self, shape: tuple[int, ...], rule: Rule) -> bool:
        """Return whether a shape follows a rule."""
        return len(shape) == len(rule.dimensions) and all(
            size == self.known.get(letter.upper()) or (letter.islower() and size == 1)
            for size, letter in zip(shape, rule.dimensions, strict=True)
        )

    def names(self, shape: tuple[int, ...], rule: Rule) -> list[str]:
        """Return a name for each dimension; equal names have equal sizes."""
        found = []
        for size, letter in zip(shape, rule.dimensions, strict=True):
            name = _NAMES[letter.upper()]
            if letter.upper() in "QKMN":
                name = f"{name}_{size}"
            found.append(name if letter.upper() in "QKMN" or size == self.known[letter.upper()] else f"any_{name}")
        return found


def rule_of(name: str) -> Rule:
    """Return the rule of a tensor."""
    if name not in RULES:
        raise ArgumentError(f"{name!r} is no tensor that a recording on disk has a place for.")
    return RULES[name]


def tensors_of(thing: Any) -> Iterator[tuple[str, Tensor]]:
    """Yield the tensors of a dataclass by name; those of a named tuple as `field_part`. None is left out."""
    for one in fields(thing):
        value = getattr(thing, one.name)
        if isinstance(value, Tensor):
            yield one.name, value
        elif isinstance(value, tuple):
            yield from ((f"{one.name}_{part}", tensor) for part, tensor in value._asdict().items())  # type: ignore[attr-defined]


def numbers_of(thing: Any) -> dict[str, float | int]:
    """Return the numbers of a dataclass by name. None is left out."""
    values = {one.name: getattr(thing, one.name) for one in fields(thing)}
    return {name: value for name, value in values.items() if isinstance(value, int | float)}


def assemble(kind: type[_T], tensors: Mapping[str, Tensor], numbers: Mapping[str, float | int]) -> _T:
    """Make a dataclass again; raises `KeyError` for what is missing, `TypeError` for a number of a wrong kind."""
    found: dict[str, Any] = {}
    for name, hint in get_type_hints(kind).items():
        choices = get_args(hint) or (hint,)
        group = next((c for c in choices if isinstance(c, type) and issubclass(c, tuple)), None)
        if group is not None:
            names: tuple[str, ...] = group._fields  # type: ignore[attr-defined]
            if type(None) not in choices or f"{name}_{names[0]}" in tensors:
                found[name] = group(*(tensors[f"{name}_{part}"] for part in names))
        elif Tensor in choices:
            if type(None) not in choices or name in tensors:
                found[name] = tensors[name]
        elif type(None) not in choices or name in numbers:
            number: Any = numbers[name]
            found[name] = float(number) if float in choices else operator.index(number)
    return kind(**found)
