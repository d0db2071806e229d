"""An n-gram model with Witten-Bell interpolation.

Source: Witten and Bell 1991, "The zero-frequency problem"; the recursion is that of Chen and Goodman
1998, section 2.4: p(w | h) = (c(h w) + t(h) · p(w | shorter h)) / (c(h) + t(h)), where t(h) counts the
different tokens seen after h.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ._saving import Baseline

Row = NDArray[np.int64]
# Most n-grams that are kept, 24 bytes each; the longest are left out first.
MOST = 20_000_000
PARTS = ("grams", "counts", "histories", "totals", "kinds")


class WittenBell(Baseline):
    """Predicts a token from the few before it; counts are sorted arrays, so that NumPy does the work."""

    def __init__(self, levels: list[tuple[Row, Row, Row, Row, Row]], vocab_size: int) -> None:
        self._levels, self._vocab_size = levels, vocab_size
        self.name = f"Witten-Bell {len(levels)}-gram"

    @classmethod
    def fit(cls, row: Row, *, vocab_size: int, order: int | None = None) -> Self:
        """Count the n-grams of a row of tokens.

        Args:
            row: Tokens, 0 to vocab_size - 1.
            vocab_size: Size of the vocabulary.
            order: Tokens of an n-gram; unless given, 5 for small vocabularies and 3 for large ones.
        """
        order = (5 if vocab_size <= 512 else 3) if order is None else order
        while vocab_size**order > 2**62:
            order -= 1
        levels: list[tuple[Row, Row, Row, Row, Row]] = []
        for size in range(1, min(order, len(row)) + 1):
            grams, counts = np.unique(_keys(row, size, vocab_size), return_counts=True)
            kept: int = sum(len(level[0]) for level in levels)
            if levels and kept + len(grams) > MOST:
                break
            histories, first, kinds = np.unique(grams // vocab_size, return_index=True, return_counts=True)
            levels.append((grams, counts, histories, np.add.reduceat(counts, first), kinds))
        return cls(levels, vocab_size)

    def nats(self, row: Row) -> float:
        """Return the summed loss of all tokens of a row except the first."""
        return float(self.losses(row).sum())

    def chances(self, history: Sequence[int]) -> NDArray[np.float64]:
        """Return the probability of each token after a history: (vocab_size,)."""
        chance = np.full(self._vocab_size, 1.0 / self._vocab_size)
        for size, (grams, counts, histories, totals, kinds) in enumerate(self._levels, start=1):
            if len(history) < size - 1:
                break
            last = np.asarray(history[len(history) - size + 1 :], np.int64)
            key = int(_keys(last, size - 1, self._vocab_size)[0]) if size > 1 else 0
            place = int(np.searchsorted(histories, key))
            if place == len(histories) or histories[place] != key:
                continue
            first, after = np.searchsorted(grams, [key * self._vocab_size, (key + 1) * self._vocab_size])
            seen = np.zeros(self._vocab_size)
            seen[grams[first:after] - key * self._vocab_size] = counts[first:after]
            chance = (seen + kinds[place] * chance) / (totals[place] + kinds[place])
        return chance

    def state(self) -> dict[str, Any]:
        return {"vocab_size": self._vocab_size, "orders": len(self._levels)}

    def tensors(self) -> dict[str, Tensor]:
        return {
            f"{part}.{order}": torch.from_numpy(array)
            for order, level in enumerate(self._levels)
            for part, array in zip(PARTS, level, strict=True)
        }

    @classmethod
    def restored(cls, state: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Self:
        levels = [tuple(tensors[f"{part}.{order}"].numpy() for part in PARTS) for order in range(state["orders"])]
        return cls(levels, state["vocab_size"])  # type: ignore[arg-type]

    def losses(self, row: Row) -> NDArray[np.float64]:
        """Return the loss of each token of a row except the first: (L - 1,)."""
        chance = np.full(len(row), 1.0 / self._vocab_size)
        for size, (grams, counts, histories, totals, kinds) in enumerate(self._levels, start=1):
            if len(row) < size:
                break
            keys = _keys(row, size, self._vocab_size)
            seen = _look_up(grams, counts, keys)
            total = _look_up(histories, totals, keys // self._vocab_size)
            different = _look_up(histories, kinds, keys // self._vocab_size)
            known = total > 0
            here = chance[size - 1 :]
            here[known] = ((seen + different * here) / np.maximum(total + different, 1))[known]
        losses: NDArray[np.float64] = -np.log(chance[1:])
        return losses


def _keys(row: Row, size: int, vocab_size: int) -> Row:
    """Return each n-gram of `size` tokens as one integer, the last token in the lowest digits."""
    keys = np.zeros(len(row) - size + 1, dtype=np.int64)
    for place in range(size):
        keys = keys * vocab_size + row[place : len(row) - size + 1 + place]
    return keys


def _look_up(known: Row, values: Row, keys: Row) -> Row:
    """Return the value of each key, 0 for unknown ones."""
    place = np.minimum(np.searchsorted(known, keys), len(known) - 1)
    found: Row = np.where(known[place] == keys, values[place], 0)
    return found
