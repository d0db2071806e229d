"""Naive Bayes evidence as input of a model: how much each word, pair and triple of words speaks for each label.

The evidence of an n-gram for a label is the log-odds of the label among the training texts that contain
the n-gram, minus its log-odds among all texts, smoothed by one text of the prior. The evidence of a
training text would contain its own label, so it is counted on the other nine tenths of the data
(cross-fitting), without texts that overlap with it where there are enough others; new texts use the counts of all data.

Source: Wang and Manning 2012, "Baselines and bigrams", for log-count ratios as features.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ._overlap import groups

Floats = NDArray[np.float32]
Integers = NDArray[np.int64]

ORDERS = 3
FOLDS = 10
# Groups of overlapping texts from which on they are what is left out, in place of single texts.
FEW = 500
# N-grams in fewer training texts are left out: in the other parts of the data they hardly occur.
LEAST = 2


class Evidence:
    """Counts of n-grams, in total and by part of the data."""

    def __init__(self, keys: Integers, texts: Floats, labels: Floats, prior: Floats, vocab_size: int) -> None:
        self._keys, self._texts, self._labels, self._prior = keys, texts, labels, prior
        self._vocab_size = vocab_size
        self.width = ORDERS * len(prior)
        """Number of features of each token."""

    @classmethod
    def learnt(cls, rows: Sequence[Sequence[int]], targets: Floats, vocab_size: int) -> tuple[Evidence, list[Floats]]:
        """Count the n-grams; return the counts, and the cross-fitted evidence of the training texts.

        Args:
            rows: Tokens of each training text.
            targets: (texts, labels), 1 where a text has a label.
            vocab_size: Size of the vocabulary.
        """
        grams = [np.unique(_grams(row, vocab_size)) for row in rows]
        keys, counts = np.unique(np.concatenate(grams), return_counts=True)
        keys = keys[counts >= LEAST]
        held = [_places(keys, some) for some in grams]
        folds = _folds(rows)
        texts = np.zeros((FOLDS, len(keys)), np.float32)
        labels = np.zeros((FOLDS, len(keys), targets.shape[1]), np.float32)
        for number, some in enumerate(held):
            texts[folds[number], some] += 1
            labels[folds[number], some] += targets[number]
        prior = targets.mean(0).clip(1e-3, 1 - 1e-3).astype(np.float32)
        whole = cls(keys, texts.sum(0), labels.sum(0), prior, vocab_size)
        own = [
            cls(keys, whole._texts - texts[fold], whole._labels - labels[fold], prior, vocab_size)._odds()
            for fold in range(FOLDS)
        ]
        found = [whole._of(row, own[folds[number]]) for number, row in enumerate(rows)]
        return whole, found

    def of(self, rows: Sequence[Sequence[int]]) -> list[Floats]:
        """Return the evidence of new texts: (tokens, width) each."""
        odds = self._odds()
        return [self._of(row, odds) for row in rows]

    def module(self) -> nn.Module:
        """Return the same as a module: tokens int64 (B, L) to evidence (B, L, width)."""
        return _Lookup(torch.from_numpy(self._keys), torch.from_numpy(self._odds()), self._vocab_size)

    def tensors(self) -> dict[str, Tensor]:
        """Return the counts as tensors, to be saved."""
        named = {"keys": self._keys, "texts": self._texts, "labels": self._labels, "prior": self._prior}
        return {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in named.items()}

    @classmethod
    def from_tensors(cls, tensors: dict[str, Tensor], vocab_size: int) -> Evidence:
        """Build from what `tensors` returned."""
        keys, texts, labels, prior = (tensors[name].numpy() for name in ("keys", "texts", "labels", "prior"))
        return cls(keys, texts, labels, prior, vocab_size)

    def _odds(self) -> Floats:
        """Return the evidence of each n-gram for each label, with a last row of zeros for unknown n-grams."""
        share = (self._labels + self._prior) / (self._texts[:, None] + 1)
        share = share.clip(1e-4, 1 - 1e-4)
        odds = np.log(share / (1 - share)) - np.log(self._prior / (1 - self._prior))
        found: Floats = np.concatenate([odds, np.zeros((1, len(self._prior)))]).astype(np.float32)
        return found

    def _of(self, row: Sequence[int], odds: Floats) -> Floats:
        grams = _grams(row, self._vocab_size)  # (ORDERS, tokens)
        place = np.searchsorted(self._keys, grams).clip(max=len(self._keys) - 1)
        known = self._keys[place] == grams if len(self._keys) else np.zeros(grams.shape, bool)
        found: Floats = odds[np.where(known, place, -1)].transpose(1, 0, 2).reshape(len(row), -1)
        return found


class _Lookup(nn.Module):
    """`Evidence.of` in operators that every exporter knows: a binary search of fixed depth."""

    def __init__(self, keys: Tensor, odds: Tensor, vocab_size: int) -> None:
        super().__init__()
        self.keys = nn.Buffer(keys if len(keys) else torch.tensor([-1]))
        self.odds = nn.Buffer(odds if len(keys) else odds[[0, 0]])
        self._size = vocab_size + 1

    def forward(self, tokens: Tensor) -> Tensor:
        """Look up the word, pair and triple that end at each token."""
        length, last = tokens.shape[1], len(self.keys) - 1
        before = nn.functional.pad(tokens + 1, (ORDERS - 1, 0))
        key, found = torch.zeros_like(tokens), []
        for order in range(ORDERS):
            key = key + before[:, ORDERS - 1 - order : length + ORDERS - 1 - order] * self._size**order
            gram = key * ORDERS + order
            place = torch.zeros_like(gram)
            for bit in reversed(range(last.bit_length())):
                ahead = place + (1 << bit)
                fits = (ahead <= last) & (self.keys[ahead.clamp(max=last)] <= gram)
                place = torch.where(fits, ahead, place)
            found.append(self.odds[torch.where(self.keys[place] == gram, place, last + 1)])
        return torch.cat(found, -1)


def _folds(rows: Sequence[Sequence[int]]) -> Integers:
    """Return the part of each text: texts that overlap share one, unless there are few groups of them.

    Without one of few groups the words that it shares with some others would speak for the opposite label.
    """
    group = groups(rows)
    return (group if len(np.unique(group)) >= FEW else np.arange(len(rows))) % FOLDS


def _grams(row: Sequence[int], vocab_size: int) -> Integers:
    """Return the ids of the word, pair and triple that end at each token: (ORDERS, tokens)."""
    tokens = np.asarray(row, np.int64) + 1  # 0 stands before the text
    before = np.concatenate([np.zeros(ORDERS - 1, np.int64), tokens])
    size = vocab_size + 1
    rows, key = [], np.zeros(len(tokens), np.int64)
    for order in range(ORDERS):
        key = key + before[ORDERS - 1 - order : len(before) - order] * size**order
        rows.append(key * ORDERS + order)
    return np.stack(rows)


def _places(keys: Integers, grams: Integers) -> Integers:
    """Return the indices of n-grams in the sorted keys; the index of the last row for unknown ones."""
    place = np.searchsorted(keys, grams).clip(max=len(keys) - 1)
    found: Integers = place[keys[place] == grams]
    return found
