"""Tag sequences of a batch of sentences, scored as linear chains: the best one, and how likely a part of it is.

Two linear chains over the same tags mix into a third: scores and transitions are averaged. That is the
normalised geometric mean of the two distributions over sequences.

Source: Lafferty, McCallum and Pereira 2001; Rabiner 1989 for forward and backward sums.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..models.conditional_field import viterbi

# A tag sequence's part: sentence, first word, word after the last.
Place = tuple[int, int, int]


@dataclass(frozen=True)
class Chains:
    """The scores of a batch: of each tag at each word, of a first tag, of neighbouring tags, of a last tag."""

    scores: Tensor
    """float32 (B, L, T), padded on the right."""
    lengths: Tensor
    """int64 (B,), 1 to L."""
    start: Tensor
    """(T,)"""
    between: Tensor
    """(T, T): the tag before, the tag after."""
    end: Tensor
    """(T,)"""

    def mixed(self, other: Chains, share: float) -> Chains:
        """Return `share` of this and the rest of another."""
        pairs = zip(self._parts(), other._parts(), strict=True)
        scores, start, between, end = (share * one + (1 - share) * two for one, two in pairs)
        return Chains(scores, self.lengths, start, between, end)

    def cooled(self, temperature: float) -> Chains:
        """Return the chains with all scores divided by a temperature: the best sequences are the same."""
        scores, start, between, end = (one / temperature for one in self._parts())
        return Chains(scores, self.lengths, start, between, end)

    def lowered(self, tag: int, by: float) -> Chains:
        """Return the chains with one tag's score lowered at every word: other tags are found more often."""
        if by == 0:
            return self
        scores = self.scores.clone()
        scores[..., tag] -= by
        return dataclasses.replace(self, scores=scores)

    def best(self) -> list[list[int]]:
        """Return the best tags of each sentence."""
        found = viterbi(self.scores, self.start, self.between, self.end, self.lengths).tolist()
        return [tags[:length] for tags, length in zip(found, self.lengths.tolist(), strict=True)]

    def chances(self, places: Sequence[Place], tags: Sequence[Sequence[int]], goes_on: Tensor) -> list[float]:
        """Return the probability that the words of each place carry the given tags and the entity ends there.

        Args:
            places: Where.
            tags: The tags of all words of each sentence, of which each place's are taken.
            goes_on: bool (T, T), whether the second tag continues the entity of the first.
        """
        if not places:
            return []
        scores, start, between, end = (one.double() for one in self._parts())
        before, after = self._sums(scores, start, between, end)
        whole = torch.logsumexp(after[:, 0] + start + scores[:, 0], -1)
        parts = (scores, between, end, before, after, whole, goes_on)
        score, step, last, behind, ahead, all_paths, stays = (one.numpy() for one in parts)  # a torch number costs 5 µs
        found = []
        for row, first, stop in places:
            some = tags[row][first:stop]
            total = behind[row, first, some[0]]
            for place in range(1, len(some)):
                total = total + step[some[place - 1], some[place]] + score[row, first + place, some[place]]
            if stop < int(self.lengths[row]):
                rest = step[some[-1]] + score[row, stop] + ahead[row, stop]
                total = total + np.logaddexp.reduce(np.where(stays[some[-1]], -np.inf, rest))
            else:
                total = total + last[some[-1]]
            found.append(float(np.exp(total - all_paths[row]).clip(0, 1)))
        return found

    def _parts(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        return self.scores, self.start, self.between, self.end

    def _sums(self, scores: Tensor, start: Tensor, between: Tensor, end: Tensor) -> tuple[Tensor, Tensor]:
        """Return the logarithms of the sums over all beginnings up to a word, and over all ends after it: (B, L, T)."""
        longest = scores.shape[1]
        before = [start + scores[:, 0]]
        for place in range(1, longest):
            before.append(_stepped(before[-1], between) + scores[:, place])
        last = end.expand(len(scores), -1)
        after = [last]
        for place in range(longest - 1, 0, -1):
            longer = _stepped(after[-1] + scores[:, place], between.T)
            after.append(torch.where((self.lengths > place)[:, None], longer, last))
        return torch.stack(before, 1), torch.stack(after[::-1], 1)


def _stepped(total: Tensor, between: Tensor) -> Tensor:
    """Return log(sum over tags of exp(total + between)); relative to the largest, float64."""
    highest = total.amax(-1, keepdim=True)
    return ((total - highest).exp() @ between.exp()).clamp_min(1e-300).log() + highest


def continues(tags: Sequence[str]) -> Tensor:
    """Return which tag continues the entity of which: bool (T, T), the tag before and the tag after."""
    return torch.tensor([[two.startswith(("I-", "E-")) and two[2:] == one[2:] for two in tags] for one in tags])
