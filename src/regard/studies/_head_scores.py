"""What a head does, as numbers taken from its weights, and what kind of head that makes it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from ._study import mean

__all__ = ["KINDS", "head_scores", "kind_of", "rank_correlation"]

KINDS = ("previous", "self", "first", "duplicate", "induction")
"""Scores that name a kind of head, each the mean share of a row, 0 to 1."""
ENOUGH = 0.3
"""From which score on a head is called by it."""


def head_scores(weights: Tensor, tokens: Tensor, lengths: Tensor, known: Tensor | None = None) -> dict[str, Tensor]:
    """Return what each head does, `(H,)` each, from causal weights `(B, H, L, L)` and their tokens `(B, L)`.

    `lengths` `(B,)` says how many tokens are real; `known` `(B, L)` which of them may count as the same as another
    (None: all). Rows from the second on are looked at:

    - `previous`, `self`, `first`: the weight of the token before, of the row's own, of the very first (a sink).
    - `duplicate`: of all earlier tokens that are the same; mean over rows that have one.
    - `induction`: of all tokens that came right after an earlier one that was the same; over rows that have one.
    - `entropy`: as a share of that of uniform weights. `largest`: the largest weight. `distance`: tokens back, mean.

    Source: Clark et al. 2019, arXiv:1906.04341; Olsson et al. 2022, arXiv:2209.11895, for induction.
    """
    length = tokens.shape[1]
    place = torch.arange(length)
    rows = (place[None] < lengths[:, None]) & (place > 0)  # (B, L)
    same = (tokens[:, :, None] == tokens[:, None]) & (place[:, None] > place)  # (B, L, L): query, earlier key
    if known is not None:
        same = same & known[:, :, None] & known[:, None]
    after = torch.nn.functional.pad(same[:, :, :-1], (1, 0)) & (place[:, None] > place)
    back = (place[:, None] - place).clamp(min=0).to(weights.dtype)
    entropy = -torch.special.xlogy(weights, weights).sum(-1) / (place + 1).clamp(min=2).log()
    diagonal = weights.diagonal(dim1=-2, dim2=-1)
    before = torch.nn.functional.pad(weights.diagonal(-1, dim1=-2, dim2=-1), (1, 0))
    return {
        "previous": _mean(before, rows),
        "self": _mean(diagonal, rows),
        "first": _mean(weights[..., 0], rows),
        "duplicate": _mean((weights * same[:, None]).sum(-1), rows & same.any(-1)),
        "induction": _mean((weights * after[:, None]).sum(-1), rows & after.any(-1)),
        "entropy": _mean(entropy, rows),
        "largest": _mean(weights.amax(-1), rows),
        "distance": _mean((weights * back).sum(-1), rows),
    }


def _mean(values: Tensor, rows: Tensor) -> Tensor:
    """Return the mean over rows, `(B, H, L)` and `(B, L)` to `(H,)`; 0 where no row counts."""
    kept = rows[:, None]
    return torch.where(kept, values, 0.0).sum((0, 2)) / kept.sum().clamp(min=1)


def kind_of(scores: Mapping[str, float]) -> str:
    """Name a head by its largest score of `KINDS`, where that is 0.3 or more; else "spread" or "mixed".

    Spread is a head whose entropy is 0.8 of that of uniform weights, or more.

    >>> kind_of({"previous": 0.9, "self": 0.1, "first": 0, "duplicate": 0, "induction": 0, "entropy": 0.1})
    'previous'
    """
    best = max(KINDS, key=lambda name: scores[name])
    if scores[best] >= ENOUGH:
        return best
    return "spread" if scores["entropy"] >= 0.8 else "mixed"


def rank_correlation(first: Sequence[float], second: Sequence[float]) -> float | None:
    """Return Spearman's rank correlation, ties at their mean rank; None where one side does not vary.

    >>> rank_correlation([1, 2, 3, 4], [10, 20, 30, 25])
    0.8
    """
    ranks = [_ranks(first), _ranks(second)]
    middle = [mean(one) for one in ranks]
    centred = [[rank - centre for rank in one] for one, centre in zip(ranks, middle, strict=True)]
    spread = [sum(value * value for value in one) for one in centred]
    if min(spread) == 0:
        return None
    product: float = sum(a * b for a, b in zip(*centred, strict=True))
    length: float = math.sqrt(spread[0] * spread[1])
    return round(product / length, 12)


def _ranks(values: Sequence[float]) -> list[float]:
    return [
        sum(other < value for other in values) + (sum(other == value for other in values) - 1) / 2 for value in values
    ]
