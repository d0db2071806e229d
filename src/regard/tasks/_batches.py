"""Padding examples of unequal length into one tensor, and setting examples aside for development."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..errors import ArgumentError

Example = TypeVar("Example")


def padded(rows: Sequence[Sequence[int]], fill: int = 0) -> tuple[Tensor, Tensor]:
    """Stack rows of numbers, padded on the right: (B, L) and their lengths (B,), both int64.

    >>> padded([[5, 6, 7], [8]])[0].tolist()
    [[5, 6, 7], [8, 0, 0]]
    """
    lengths = torch.tensor([len(row) for row in rows], dtype=torch.int64)
    table = torch.full((len(rows), int(lengths.max())), fill, dtype=torch.int64)
    for line, row in zip(table, rows, strict=True):
        line[: len(row)] = torch.tensor(row, dtype=torch.int64)
    return table, lengths


def stacked(rows: Sequence[NDArray[np.float32]]) -> Tensor:
    """Stack rows of vectors, padded with zeros on the right: (B, L, width)."""
    table = torch.zeros(len(rows), max(len(row) for row in rows), rows[0].shape[1])
    for line, row in zip(table, rows, strict=True):
        line[: len(row)] = torch.from_numpy(row)
    return table


def which_aside(contents: Sequence[bytes], share: float, part: str) -> list[bool]:
    """Return for each example whether it is set aside for a part (`dev`, `test`), by a digest of its contents.

    Equal examples stay together, and adding data moves none of the old ones. Exception: if the digests of few examples
    all fall on one side, `share` of the different examples (at least one) is set aside by rank.
    """
    digests = [hashlib.blake2b(one, digest_size=8, key=part.encode()).digest() for one in contents]
    places = [int.from_bytes(digest, "little") for digest in digests]
    bound = share * 2**64
    different = sorted(set(places))
    if len(different) < 2:
        raise ArgumentError(
            f"{len(places):,} examples, {len(different)} different, are too few to set {share:.0%} of them aside: "
            f"equal ones stay together. Give more, or `{part}` examples of your own (--{part})."
        )
    if not different[0] < bound <= different[-1]:
        bound = different[min(max(1, round(share * len(different))), len(different) - 1)]
    return [place < bound for place in places]


def set_aside(
    examples: Sequence[Example], contents: Sequence[bytes], share: float, part: str
) -> tuple[list[Example], list[Example]]:
    """Split examples into those to train on and those of a part, by `which_aside` of their contents."""
    aside = which_aside(contents, share, part)
    kept = [example for example, is_aside in zip(examples, aside, strict=True) if not is_aside]
    return kept, [example for example, is_aside in zip(examples, aside, strict=True) if is_aside]


def windows(length: int, most: int) -> list[slice]:
    """Return windows of at most `most` that cover a length, at least one; neighbours overlap by half.

    >>> [(one.start, one.stop) for one in windows(9, 4)]
    [(0, 4), (2, 6), (4, 8), (6, 9)]
    """
    step = max(1, most // 2)
    return [slice(start, min(start + most, length)) for start in range(0, max(1, length - most + step), step)]


def by_length(lengths: Sequence[int], at_once: int) -> list[list[int]]:
    """Group indices of examples of similar length; a padded group has at most `at_once` numbers."""
    groups: list[list[int]] = []
    for index in sorted(range(len(lengths)), key=lambda i: lengths[i]):
        if groups and (len(groups[-1]) + 1) * max(1, lengths[index]) <= at_once:
            groups[-1].append(index)
        else:
            groups.append([index])
    return groups
