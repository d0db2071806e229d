"""Examples of unequal length as one padded tensor, and examples set aside for development."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TypeVar

import torch
from torch import Tensor

from ..errors import ArgumentError

Example = TypeVar("Example")


def padded(rows: Sequence[Sequence[int]], fill: int = 0) -> tuple[Tensor, Tensor]:
    """Stack rows of numbers, filled up on the right: (B, L) and their lengths (B,), both int64.

    >>> padded([[5, 6, 7], [8]])[0].tolist()
    [[5, 6, 7], [8, 0, 0]]
    """
    lengths = torch.tensor([len(row) for row in rows], dtype=torch.int64)
    table = torch.full((len(rows), int(lengths.max())), fill, dtype=torch.int64)
    for line, row in zip(table, rows, strict=True):
        line[: len(row)] = torch.tensor(row, dtype=torch.int64)
    return table, lengths


def is_aside(contents: bytes, share: float, part: str) -> bool:
    """Return whether an example is set aside for a part (`dev`, `test`), by a digest of its contents."""
    digest = hashlib.blake2b(contents, digest_size=8, key=part.encode()).digest()
    return int.from_bytes(digest, "little") < share * 2**64


def set_aside(examples: Sequence[Example], share: float, part: str) -> tuple[list[Example], list[Example]]:
    """Divide examples into those to train on and those of a part, by a digest of their contents.

    Equal examples fall on the same side, and adding data moves none of the old.
    """
    kept: list[Example] = []
    aside: list[Example] = []
    for example in examples:
        (aside if is_aside(repr(example).encode(), share, part) else kept).append(example)
    if not kept or not aside:
        raise ArgumentError(
            f"{len(examples)} examples are too few to set {share:.0%} of them aside; give `dev` examples yourself."
        )
    return kept, aside


def by_length(lengths: Sequence[int], at_once: int) -> list[list[int]]:
    """Group indices of examples of like length, so that no group computes more than `at_once` numbers."""
    groups: list[list[int]] = []
    for index in sorted(range(len(lengths)), key=lambda i: lengths[i]):
        if groups and (len(groups[-1]) + 1) * max(1, lengths[index]) <= at_once:
            groups[-1].append(index)
        else:
            groups.append([index])
    return groups
