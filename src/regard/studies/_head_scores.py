"""Scores of a head's behaviour, computed from its weights, and the kind of head that they imply."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from ._study import mean

KINDS = ("previous", "self", "first", "duplicate", "induction")
"""Scores that define a kind of head, each a mean share of the row's weight, 0 to 1."""
ENOUGH = 0.3
"""Least score from which a head is of that kind."""


def head_scores(weights: Tensor, tokens: Tensor, lengths: Tensor, known: Tensor | None = None) -> dict[str, Tensor]:
    """Return the scores of each head, `(H,)` each, from causal weights `(B, H, L, L)` and their tokens `(B, L)`.

    `lengths` `(B,)` says how many tokens are real; `known` `(B, L)` which of them may match an earlier one (None: all).
    Rows from the second on count:

    - `previous`, `self`, `first`: the weight of the previous token, of the token itself, of the first one (a sink).
    - `duplicate`: the weight of all earlier equal tokens; mean over rows that have one.
    - `induction`: the weight of all tokens directly after an earlier equal token; mean over rows that have one.
    - `entropy`: relative to uniform weights. `largest`: the largest weight. `distance`: mean number of tokens back.

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
    """Return the kind of a head: its largest score of `KINDS`, if that is 0.3 or more; else "spread" or "mixed".

    A head is spread if its entropy is at least 0.8 of that of uniform weights.

    >>> kind_of({"previous": 0.9, "self": 0.1, "first": 0, "duplicate": 0, "induction": 0, "entropy": 0.1})
    'previous'
    """
    best = max(KINDS, key=lambda name: scores[name])
    if scores[best] >= ENOUGH:
        return best
    return "spread" if scores["entropy"] >= 0.8 else "mixed"


def rank_correlation(first: Sequence[float], second: Sequence[float]) -> float | None:
    """Return Spearman's rank correlation, ties at their mean rank; None if one side is constant.

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
