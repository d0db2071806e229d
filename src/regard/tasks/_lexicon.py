"""Which tokens of the target stand for a token of the source: IBM Model 1, by expectation maximisation over all pairs.

Source: Brown et al. 1993, "The mathematics of statistical machine translation", section 4.2.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

ROUNDS = 5
# Translations kept of each token, and the most places (source token, target token of one pair) that are counted.
KEPT, MOST = 8, 30_000_000


class Lexicon(NamedTuple):
    """The likeliest target tokens of each token of a source, and their probabilities, both `(vocab_size, KEPT)`.

    Where a token has fewer, the rest of its probabilities are 0; of a token that no source holds, all are.
    """

    ids: Tensor
    shares: Tensor

    def alignment(self, source: Tensor, target: Tensor) -> Tensor:
        """Return which tokens of a source each token of a target translates, shares of sum 1; 0 where none is known.

        int64 `(B, S)` and `(B, T)` to float32 `(B, T, S)`. Cost O(B·T·S·KEPT).
        """
        ids, shares = (table.to(source.device)[source] for table in self)
        found = ((ids[:, None] == target[:, :, None, None]) * shares[:, None]).sum(-1)
        return found / found.sum(-1, keepdim=True).clamp(min=torch.finfo(torch.float32).tiny)


def learn_lexicon(sources: Sequence[Sequence[int]], targets: Sequence[Sequence[int]], vocab_size: int) -> Lexicon:
    """Return what stands for what in pairs of texts.

    Of very many pairs every n-th is read. Cost: `ROUNDS` passes over the products of the lengths of the pairs, 12 bytes
    for each.

    >>> lexicon = learn_lexicon([[4, 5], [4, 6]], [[7, 8], [7, 9]], 10)
    >>> lexicon.ids[4, 0].item(), round(lexicon.shares[4, 0].item(), 1)
    (7, 0.8)
    >>> lexicon.alignment(torch.tensor([[4, 5]]), torch.tensor([[7, 8]])).round().tolist()
    [[[1.0, 0.0], [0.0, 1.0]]]
    """
    places = sum(len(s) * len(t) for s, t in zip(sources, targets, strict=True))
    step = -(-places // MOST) or 1
    pairs = list(zip(sources, targets, strict=True))[::step]
    one, other, owner = [], [], []
    seen = 0
    for source, target in pairs:
        s, t = np.asarray(source, np.int64), np.asarray(target, np.int64)
        one.append(np.tile(s, len(t)))
        other.append(np.repeat(t, len(s)))
        owner.append(np.repeat(np.arange(seen, seen + len(t)), len(s)))
        seen += len(t)
    keys = np.concatenate(one) * vocab_size + np.concatenate(other)
    known, link = np.unique(keys, return_inverse=True)
    place = np.concatenate(owner).astype(np.int32)
    shares = _maximised(known // vocab_size, link.astype(np.int32), place, vocab_size)
    return _best(known, shares, vocab_size)


def _maximised(
    left: NDArray[np.int64], link: NDArray[np.int32], place: NDArray[np.int32], vocab_size: int
) -> NDArray[np.float64]:
    """Return p(target token | source token) of each pair of tokens that occurs, from equal ones."""
    shares = np.ones(len(left))
    for _ in range(ROUNDS):
        chance = shares[link]
        chance /= np.bincount(place, chance)[place]
        counts = np.bincount(link, chance, len(left))
        shares = counts / np.bincount(left, counts, vocab_size)[left]
    return shares


def _best(known: NDArray[np.int64], shares: NDArray[np.float64], vocab_size: int) -> Lexicon:
    """Return the first `KEPT` of each token, the likeliest first."""
    order = np.lexsort((-shares, known // vocab_size))
    left = (known // vocab_size)[order]
    rank = np.arange(len(order)) - np.searchsorted(left, left)
    kept = order[rank < KEPT]
    ids, found = np.zeros((vocab_size, KEPT), np.int64), np.zeros((vocab_size, KEPT), np.float32)
    ids[known[kept] // vocab_size, rank[rank < KEPT]] = known[kept] % vocab_size
    found[known[kept] // vocab_size, rank[rank < KEPT]] = shares[kept]
    return Lexicon(torch.from_numpy(ids), torch.from_numpy(found))
