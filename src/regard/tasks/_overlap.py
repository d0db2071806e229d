"""Groups of texts that overlap: phrases of one sentence, quotations, copies with small changes.

What is learnt from one of them is known of the others. So a group stays together where data is split, or what training
sees would be easier than what comes later.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

# Texts overlap if they share so many words in a row, or if one of fewer words (from two) is part of the other.
SHARED = 5
# What more texts have in common is a turn of speech.
MOST = 30

Keys = NDArray[np.uint64]


def groups(rows: Sequence[Sequence[int]], largest: float = 0.1) -> NDArray[np.int64]:
    """Return for each text, given as numbers of its words, the first text of its group.

    Groups that would grow above a share `largest` of all texts are not joined. Cost: O(words) memory and time.

    >>> groups([[1, 2, 3, 4, 5, 6], [9, 8, 7], [2, 3, 4, 5, 6, 0], [8, 7], [5, 6], [5]], largest=0.5).tolist()
    [0, 1, 0, 1, 0, 5]
    """
    lengths = np.array([len(row) for row in rows], np.int64)
    words = np.concatenate([np.asarray(row, np.uint64) for row in rows]) if len(rows) else np.zeros(0, np.uint64)
    owners, starts = np.repeat(np.arange(len(rows)), lengths), np.cumsum(lengths) - lengths
    found: list[tuple[Keys, NDArray[np.int64]]] = []
    for size in range(2, SHARED + 1):
        runs = _runs(words, size)
        inside = owners[: len(runs)] == owners[size - 1 :]
        if size < SHARED:
            inside &= np.isin(runs, runs[starts[lengths == size]])
        found.append((runs[inside], owners[: len(runs)][inside]))
    keys, texts = (np.concatenate(parts) for parts in zip(*found, strict=True))
    order = np.lexsort((texts, keys))
    keys, texts = keys[order], texts[order]
    again = (keys[1:] == keys[:-1]) & (texts[1:] == texts[:-1])
    keys, texts = (np.concatenate([one[:1], one[1:][~again]]) for one in (keys, texts))
    starts = np.flatnonzero(np.concatenate([[True] * bool(len(keys)), keys[1:] != keys[:-1]]))
    sizes = np.diff(starts, append=len(keys))
    parents, count = np.arange(len(rows)), np.ones(len(rows), np.int64)
    for start, size in zip(starts[sizes > 1], sizes[sizes > 1], strict=True):
        if size <= MOST:
            for other in texts[start + 1 : start + size]:
                _join(parents, count, int(texts[start]), int(other), largest * len(rows))
    return np.array([_root(parents, place) for place in range(len(rows))], np.int64)


def _runs(row: Keys, size: int) -> Keys:
    """Return a hash of each run of `size` words."""
    found = np.full(max(0, len(row) - size + 1), size, np.uint64)
    if not len(found):
        return found
    for place in range(size):
        found = found * np.uint64(0x9E3779B97F4A7C15) + row[place : len(row) - size + 1 + place] + np.uint64(1)
        found ^= found >> np.uint64(29)
    return found


def _root(parents: NDArray[np.int64], place: int) -> int:
    while parents[place] != place:
        parents[place] = parents[parents[place]]
        place = int(parents[place])
    return place


def _join(parents: NDArray[np.int64], count: NDArray[np.int64], one: int, other: int, most: float) -> None:
    """Join the groups of two texts unless the result would be too large; the first text stands for both."""
    first, second = sorted((_root(parents, one), _root(parents, other)))
    if first != second and count[first] + count[second] <= max(2, most):
        parents[second] = first
        count[first] += count[second]
