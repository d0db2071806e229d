"""Which examples each step contains: a pure function of (seed, step), the same on any machine.

An epoch shuffles the examples, sorts them by length inside pools, cuts the sorted row into as many
windows as the epoch has steps, each with the same share of the tokens, and shuffles the windows.
So a window holds examples of about one length and little padding is computed. The number of steps
in an epoch is always the same, so resuming goes straight to a step without replaying earlier ones.

A window is divided among processes and forward passes only afterwards (`split`), so neither changes
the examples of a step.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..errors import ArgumentError

# Number of windows whose examples are sorted together: more means less padding and less mixing.
POOL = 32
# Lengths are increased at random by up to this share before sorting, so that windows differ between epochs
# even when all of the data is one pool.
STRETCH = 0.1

Indices = NDArray[np.int64]


@dataclass(frozen=True)
class Place:
    """The position of a step: its epoch, and its window in that epoch, both from 0."""

    epoch: int
    window: int


class DataOrder:
    """The order of the examples.

    `lengths` are the numbers of tokens of the examples; `tokens_per_step` is the approximate size of a step.

    >>> order = DataOrder([3, 5, 2, 4, 6], tokens_per_step=10, seed=0)
    >>> order.steps_per_epoch
    2
    >>> sorted(int(i) for step in (0, 1) for i in order.examples(step))
    [0, 1, 2, 3, 4]
    """

    def __init__(self, lengths: Sequence[int], tokens_per_step: int, seed: int) -> None:
        self.lengths = np.asarray(lengths, dtype=np.int64)
        if self.lengths.ndim != 1 or not len(self.lengths):
            raise ArgumentError("There is nothing to train on: the data set has no examples.")
        empty = np.flatnonzero(self.lengths < 1)
        if len(empty):
            raise ArgumentError(f"Example {empty[0]} has no tokens ({len(empty)} like it); leave empty examples out.")
        self.seed = seed
        wanted = -(-int(self.lengths.sum()) // tokens_per_step)
        self.steps_per_epoch = min(wanted, len(self.lengths))
        self._epoch = -1
        self._windows: list[Indices] = []

    def place(self, step: int) -> Place:
        """Return where a step (from 0) lies."""
        return Place(*divmod(step, self.steps_per_epoch))

    def examples(self, step: int) -> Indices:
        """Return the indices of the examples of a step, shortest first."""
        place = self.place(step)
        if place.epoch != self._epoch:
            self._windows = self._plan(place.epoch)
            self._epoch = place.epoch
        return self._windows[place.window]

    def fingerprint(self) -> str:
        """Return a digest of the lengths, to recognise another data set."""
        return hashlib.sha256(self.lengths.astype("<i8").tobytes()).hexdigest()

    def _plan(self, epoch: int) -> list[Indices]:
        """Return the windows of one epoch."""
        random = np.random.default_rng([self.seed, epoch])
        row = random.permutation(len(self.lengths))
        keys = self.lengths[row] * random.uniform(1, 1 + STRETCH, len(row))
        pools = max(1, round(self.steps_per_epoch / POOL))
        for number, pool in enumerate(np.array_split(np.arange(len(row)), pools)):
            order = np.argsort(keys[pool], kind="stable")
            # Pools are sorted up and down by turns, so that a window across two pools has similar lengths too.
            row[pool] = row[pool][order if number % 2 == 0 else order[::-1]]
        windows = cut(row, self.lengths, self.steps_per_epoch)
        windows = [window[np.argsort(self.lengths[window], kind="stable")] for window in windows]
        return [windows[index] for index in random.permutation(len(windows))]


def cut(row: Indices, lengths: Indices, parts: int) -> list[Indices]:
    """Cut a row of examples into parts of about equally many tokens; none is empty if the row has enough."""
    ends = np.cumsum(lengths[row])
    middles = ends - lengths[row] / 2
    bounds = np.searchsorted(middles, ends[-1] * np.arange(1, parts) / parts)
    if len(row) >= parts:
        ordinal = np.arange(1, parts)
        bounds = np.maximum.accumulate(np.maximum(bounds, 1) - ordinal) + ordinal
        bounds = np.minimum(bounds, len(row) - parts + ordinal)
    return np.split(row, bounds)


def split(window: Indices, lengths: Indices, tokens_at_once: int, processes: int) -> list[Indices]:
    """Divide a window into forward passes of at most `tokens_at_once` tokens each, padding counted.

    The number of passes is a multiple of `processes`, because every process takes part in each collective;
    with too few examples some passes are empty.
    """
    passes = processes * -(-int(lengths[window].sum()) // (processes * tokens_at_once))
    while True:
        parts = cut(window, lengths, passes)
        if all(padded(part, lengths) <= tokens_at_once for part in parts):
            return parts
        passes += processes
        if passes >= len(window) + processes:
            return _singly(window, lengths, tokens_at_once, processes)


def padded(part: Indices, lengths: Indices) -> int:
    """Return the number of tokens of a padded batch of these examples."""
    return int(lengths[part].max()) * len(part) if len(part) else 0


def check_lengths(lengths: Indices, tokens_at_once: int) -> None:
    """Raise if some example does not fit into one forward pass."""
    long = np.flatnonzero(lengths > tokens_at_once)
    if len(long):
        raise ArgumentError(
            f"Example {long[0]} has {lengths[long[0]]} tokens, more than tokens_at_once={tokens_at_once} "
            f"({len(long)} like it); raise tokens_at_once or cut long examples."
        )


def _singly(window: Indices, lengths: Indices, tokens_at_once: int, processes: int) -> list[Indices]:
    """Give each example a pass of its own."""
    check_lengths(lengths[window], tokens_at_once)
    spare = -len(window) % processes
    return [*np.split(window, len(window)), *[window[:0]] * spare]
