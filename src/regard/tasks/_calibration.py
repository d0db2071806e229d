"""Temperature scaling: probabilities that say how often an answer is right, fitted on development data.

Source: Guo et al. 2017, "On calibration of modern neural networks", arXiv:1706.04599.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

# Temperatures that are tried, evenly spaced in their logarithm.
GRID = torch.logspace(-1, 1, 31, dtype=torch.float64)


def best_temperature(loss: Callable[[float], float]) -> float:
    """Return the temperature with the least loss, in nats summed over the development examples.

    A log-normal prior around 1 (one nat at a factor of e) keeps a handful of examples that are all right from making
    the model certain of everything.
    """
    return _best(loss)[1]


def _best(loss: Callable[[float], float]) -> tuple[float, float]:
    """Return the least loss and its temperature."""
    losses = [loss(float(one)) + float(one.log() ** 2) for one in GRID]
    least = min(losses)
    return least, round(float(GRID[losses.index(least)]), 3)


def label_temperature(logits: Tensor, targets: Tensor, *, several: bool) -> float:
    """Return the best temperature of logits (N, labels) for targets (N, labels) of 0 and 1.

    With `several` each label is a probability by itself (sigmoid), otherwise the labels exclude each other (softmax),
    and examples without a known label are left out.
    """
    logits, targets = logits.double(), targets.double()
    if several:
        return best_temperature(
            lambda t: float(torch.nn.functional.binary_cross_entropy_with_logits(logits / t, targets, reduction="sum"))
        )
    return best_temperature(lambda t: -float(((logits / t).log_softmax(-1) * targets).sum()))


def right_temperature(chances: Callable[[float], Tensor], right: Tensor) -> tuple[float, float]:
    """Return how well `chances(temperature)`, (N,), foretell at best which answers are `right`, (N,), and at which.

    How well is a loss, in nats.
    """

    def loss(temperature: float) -> float:
        found = chances(temperature).double().clamp(1e-6, 1 - 1e-6)
        return -float(torch.where(right, found.log(), (1 - found).log()).sum())

    return _best(loss)


def cooled(probabilities: Tensor, temperature: float, several: bool) -> Tensor:
    """Return probabilities (N, labels) at another temperature; float64 inside, so that 0 and 1 stay finite."""
    if temperature == 1.0:
        return probabilities
    clear = probabilities.double().clamp(1e-12, 1 - 1e-12)
    if several:
        return (clear.logit() / temperature).sigmoid().float()
    return (clear.log() / temperature).softmax(-1).float()
