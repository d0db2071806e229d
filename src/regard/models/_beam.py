"""Greedy and beam search: from the scores of a next token to whole sequences."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor


class Hypothesis(NamedTuple):
    """A generated sequence."""

    tokens: list[int]
    """Its tokens, without the ones that begin and end it."""
    score: float
    """Log-probability in nats, the end included, divided by the length penalty; the nearer to 0, the better."""


Step = Callable[[Tensor, Tensor | None], Tensor]
"""Takes the newest token of each row, int64 `(rows,)`, and which old row each row continues (None: the same, in
order); returns log-probabilities, float32 `(rows, V)`."""


@dataclass(frozen=True)
class Search:
    """Settings of a search."""

    bos_id: int
    eos_id: int
    max_length: int
    length_penalty: float
    no_repeat_ngram_size: int = 0

    def normalised(self, total: float, length: int) -> float:
        """Return the score of `length` tokens, the end included: `total / ((5 + length) / 6)^penalty`.

        Source: Wu et al. 2016, arXiv:1609.08144, equation 14.
        """
        return total / float(((5.0 + length) / 6.0) ** self.length_penalty)

    def allowed(self, scores: Tensor, history: Tensor) -> Tensor:
        """Return the log-probabilities `(rows, V)` with -inf for tokens that would repeat an n-gram of their row.

        `history` is int64 `(rows, T)`. The end token is in no history, so it is never forbidden.
        """
        size, length = self.no_repeat_ngram_size, history.shape[1]
        if not 0 < size <= length:
            return scores
        written = history.unfold(1, size, 1)
        again = (written[..., :-1] == history[:, None, length - size + 1 :]).all(-1)
        row, place = again.nonzero(as_tuple=True)
        return scores.index_put((row, written[row, place, -1]), scores.new_tensor(-torch.inf))


def greedy_search(step: Step, batch: int, search: Search, device: torch.device) -> list[Hypothesis]:
    """Take the likeliest token at each step. Sequences that have ended leave the batch."""
    found: list[Hypothesis | None] = [None] * batch
    alive = torch.arange(batch, device=device)
    tokens = torch.full((batch,), search.bos_id, device=device)
    totals = torch.zeros(batch, dtype=torch.float64, device=device)
    history = torch.empty(batch, 0, dtype=torch.int64, device=device)
    rows: Tensor | None = None
    for length in range(1, search.max_length + 1):
        best, tokens = search.allowed(step(tokens, rows), history).max(-1)
        totals = totals + best.double()
        history = torch.cat((history, tokens[:, None]), 1)
        ended = tokens == search.eos_id
        over = ended if length < search.max_length else torch.ones_like(ended)
        for row in over.nonzero()[:, 0].tolist():
            kept = history[row, : length - 1] if bool(ended[row]) else history[row]
            found[int(alive[row])] = Hypothesis(kept.tolist(), search.normalised(float(totals[row]), length))
        rows = None
        if bool(over.any()):
            rows = (~over).nonzero()[:, 0]
            if len(rows) == 0:
                break
            alive, tokens, totals, history = (x[rows] for x in (alive, tokens, totals, history))
    return [Hypothesis([], 0.0) if hypothesis is None else hypothesis for hypothesis in found]


@dataclass
class _Found:
    """The finished sequences of one source."""

    finished: int = 0
    best: Hypothesis = field(default_factory=lambda: Hypothesis([], -float("inf")))

    def add(self, hypothesis: Hypothesis) -> None:
        """Count a finished sequence and keep the better one."""
        self.finished += 1
        if hypothesis.score > self.best.score:
            self.best = hypothesis


def beam_search(step: Step, batch: int, beams: int, search: Search, device: torch.device) -> list[Hypothesis]:
    """Keep the `beams` likeliest unfinished sequences of each source, and the best finished one by its score.

    A source is done when `beams` of its sequences have finished, or when no unfinished one could still reach the best
    finished score. A sequence cut at `max_length` competes as it is. Finished sources leave the batch.

    `step` is called with `alive · beams` rows, the beams of a source side by side.
    """
    found = [_Found() for _ in range(batch)]
    if search.max_length == 0:
        return [Hypothesis([], 0.0)] * batch
    alive = list(range(batch))
    tokens = torch.full((batch * beams,), search.bos_id, device=device)
    totals = torch.full((batch, beams), -torch.inf, dtype=torch.float64, device=device)
    totals[:, 0] = 0.0  # all beams begin equal, so only the first counts
    history = torch.empty(batch, beams, 0, dtype=torch.int64, device=device)
    rows: Tensor | None = None
    for length in range(1, search.max_length + 1):
        scores = search.allowed(step(tokens, rows).double(), history.flatten(0, 1))
        vocabulary = scores.shape[-1]
        every = (totals[:, :, None] + scores.view(len(alive), beams, -1)).flatten(1)
        best, place = every.topk(min(2 * beams, every.shape[1]))  # 2 * beams suffice: each beam can end in one way only
        origin, chosen = place // vocabulary, place % vocabulary
        ends = chosen == search.eos_id
        for row, rank in (ends[:, :beams] & (best[:, :beams] > -torch.inf)).nonzero().tolist():
            whole = history[row, int(origin[row, rank])].tolist()
            found[alive[row]].add(Hypothesis(whole, search.normalised(float(best[row, rank]), length)))
        onwards = ends.to(torch.uint8).argsort(dim=1, stable=True)[:, :beams]
        totals = best.masked_fill(ends, -torch.inf).gather(1, onwards)
        origin, chosen = origin.gather(1, onwards), chosen.gather(1, onwards)
        history = torch.cat((history.gather(1, origin[..., None].expand(-1, -1, length - 1)), chosen[..., None]), 2)
        going = _going_on(found, alive, totals, beams, length, search)
        if length == search.max_length:
            _cut(found, alive, going, totals, history, search)
            break
        if not going:
            break
        rows = (torch.tensor(going, device=device)[:, None] * beams + origin[going]).flatten()
        alive = [alive[row] for row in going]
        totals, history, tokens = totals[going], history[going], chosen[going].flatten()
    return [each.best for each in found]


def _going_on(
    found: list[_Found], alive: list[int], totals: Tensor, beams: int, length: int, search: Search
) -> list[int]:
    """Return which sources are not done."""
    # A total can only fall; the bound of its divisor depends on the sign of the penalty.
    furthest = search.max_length if search.length_penalty > 0 else min(length + 1, search.max_length)
    going = []
    for row, source in enumerate(alive):
        reachable = search.normalised(float(totals[row].max()), furthest)
        if found[source].finished < beams and reachable > found[source].best.score:
            going.append(row)
    return going


def _cut(
    found: list[_Found], alive: list[int], rows: list[int], totals: Tensor, history: Tensor, search: Search
) -> None:
    for row in rows:
        for beam, total in enumerate(totals[row].tolist()):
            score = search.normalised(total, search.max_length)
            if score > found[alive[row]].best.score:
                found[alive[row]].best = Hypothesis(history[row, beam].tolist(), score)
