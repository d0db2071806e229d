"""How sure a word must be to stand outside of all entities: chosen on development data, for the best F1.

The most probable tags are not those with the best F1. Where a model finds a tenth of the names, as with names that no
training sentence holds, a guess that is right one time in four raises F1, and yet "outside" is more probable. So the
score of O is lowered at every word by an amount that development data chooses, for the transformer, the baseline and
each mix by itself. Of calibrated probabilities the best threshold is half of the best F1, so where F1 is high already
next to nothing is left to choose, and little is tried.

Source: Lipton, Elkan and Narayanaswamy 2014, "Optimal thresholding of classifiers to maximize F1 measure",
arXiv:1402.1892.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ._choice import MACRO

# Amounts are tried in steps of this, in nats, up to the highest: 3 is a chance of one in twenty.
STEP, HIGHEST = 0.25, 3.0
# How much further than calibrated probabilities would need is looked: networks are too sure of themselves.
FURTHER = 2.0

Figures = Mapping[str, float]


@dataclass(frozen=True)
class SettledTags:
    """What the development examples settled for one share of the transformer."""

    temperature: float = 1.0
    """The temperature of the confidence of entities."""
    outside: float = 0.0
    """How much the score of O is lowered."""
    plain: float = 0.0
    """The main figure on the development examples if O is not lowered."""
    best: float = 0.0
    """The main figure with it lowered."""
    shift: float = 0.0
    """How much it is lowered where the confidence of entities is computed."""

    def said(self, headline: str) -> str:
        """Say what is lowered and why; empty if nothing is."""
        if self.outside == 0:
            return ""
        return (
            f"A tag of an entity is given where O is up to {math.exp(self.outside):.2g} times as likely: development "
            f"{headline} {self.best:.4g}, {self.plain:.4g} without."
        )


def tried(f1: float) -> list[float]:
    """Return the amounts that come into question where `f1` is reached without any, rising from 0.

    >>> tried(0.95), tried(0.8)
    ([0.0, 0.25], [0.0, 0.25, 0.5, 0.75, 1.0])
    """
    most = HIGHEST if f1 <= 0 else min(HIGHEST, FURTHER * math.log(2 / f1 - 1))
    return [STEP * step for step in range(math.ceil(most / STEP - 1e-9) + 1)]


def best_outside(
    figures: Callable[[float], Figures], plain: Figures, headline: str, entities: int
) -> tuple[float, Figures, Figures]:
    """Return the amount with the best mean of the main figure and macro F1, the figures without and with it.

    Args:
        figures: the figures on the development examples by the amount.
        plain: those with the amount 0.
        headline: the name of the main figure.
        entities: how many entities the development examples have. A gain below half of the root of 1 / entities is
            chance: nothing is lowered.
    """
    found, grid = {0.0: plain}, tried(_mean(plain, headline))
    for amount in grid[1:]:
        found[amount] = figures(amount)
    scores = [_mean(found[amount], headline) for amount in grid]
    around = [scores[0], *scores, scores[-1]]
    smooth = [(around[i] + 2 * around[i + 1] + around[i + 2]) / 4 for i in range(len(grid))]
    best = max(range(len(grid)), key=lambda place: (round(smooth[place], 9), -place))
    if scores[best] - scores[0] < 0.5 / math.sqrt(max(1, entities)):
        best = 0
    return grid[best], plain, found[grid[best]]


def _mean(figures: Figures, headline: str) -> float:
    return (figures[headline] + figures.get(MACRO, figures[headline])) / 2
