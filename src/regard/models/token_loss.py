"""The loss of predicted tokens, straight from the states of a model: the scores of a vocabulary are never stored.

`cross_entropy(linear(states, weight), targets)` writes the scores of every token for every place, and passes over them
eight times: with 8,000 tokens a third to a half of a training step of a small model. Here a few rows of scores at a
time become loss and gradients while they are in the cache.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from .._tracing import plain
from .._values import number
from ..errors import ShapeError
from ..layers import linear

# Scores that are computed at once: 4 MiB of float32, which a cache of level 3 holds.
_AT_ONCE = 2**20


def token_loss(
    states: Tensor,
    weight: Tensor,
    targets: Tensor,
    *,
    label_smoothing: float = 0.0,
    copied: tuple[Tensor, Tensor] | None = None,
) -> Tensor:
    """Return the cross-entropy of `targets` under the scores `states · weightᵀ`, in nats, summed.

    Shapes: states `(N, embed_dim)`, weight `(V, embed_dim)`, targets int64 `(N,)`, to a scalar in float32.

    Args:
        label_smoothing: share of the target's probability that is spread over all tokens, 0 to 1.
        copied: the gate's logits and the probability of each target if it is copied, both `(N,)`, of
            `Copying.chances`: a target's probability is then the mixture; only the softmax is smoothed.

    Raises `ShapeError`, `ArgumentError`. Cost: time O(N · V · embed_dim), where gradients are wanted three products of
    that size, all in this call; memory O((N + V) · embed_dim). Gradients have no gradients of their own on the CPU.

    Source: Szegedy et al. 2016, arXiv:1512.00567, section 7, for the smoothing.

    >>> states, weight, targets = torch.randn(5, 4), torch.randn(9, 4), torch.randint(9, (5,))
    >>> plain = F.cross_entropy(states @ weight.T, targets, label_smoothing=0.1, reduction="sum")
    >>> bool(torch.isclose(token_loss(states, weight, targets, label_smoothing=0.1), plain))
    True
    """
    smoothing = number("label_smoothing", label_smoothing, 0, 1)
    if states.ndim != 2 or weight.ndim != 2 or states.shape[1] != weight.shape[1] or targets.shape != states.shape[:1]:
        raise ShapeError(
            f"states has shape {tuple(states.shape)}, weight {tuple(weight.shape)} and targets {tuple(targets.shape)}; "
            "the rule is (N, embed_dim), (V, embed_dim) and (N,)."
        )
    if not plain() or states.device.type != "cpu":
        return _at_once(states, weight, targets, smoothing, copied)
    half = torch.is_autocast_enabled("cpu")
    gate, chance = (None, None) if copied is None else copied
    loss: Tensor = _TokenLoss.apply(states, weight, targets, smoothing, half, gate, chance)  # type: ignore[no-untyped-call]
    return loss


def _at_once(
    states: Tensor, weight: Tensor, targets: Tensor, smoothing: float, copied: tuple[Tensor, Tensor] | None
) -> Tensor:
    """Return the loss by operators that every tool knows."""
    scores = linear(states, weight).float()
    if copied is None:
        return F.cross_entropy(scores, targets, label_smoothing=smoothing, reduction="sum")
    shares = scores.log_softmax(-1)
    told, _ = _mixed(shares.gather(1, targets[:, None])[:, 0], *copied)
    return -((1 - smoothing) * told + smoothing * shares.mean(-1)).sum()


def _mixed(written: Tensor, gate: Tensor, chance: Tensor) -> tuple[Tensor, Tensor]:
    """Return the log-probabilities of targets that are written or copied, and of their being written."""
    tiny = torch.finfo(torch.float32).tiny
    by_hand = F.logsigmoid(gate) + written
    mixed = torch.logaddexp(by_hand, F.logsigmoid(-gate) + chance.clamp(min=tiny).log())
    return mixed, by_hand - mixed


class _TokenLoss(torch.autograd.Function):
    """Loss and gradients, a few rows at a time."""

    @staticmethod
    def forward(
        ctx: Any,
        states: Tensor,
        weight: Tensor,
        targets: Tensor,
        smoothing: float,
        half: bool,
        gate: Tensor | None,
        chance: Tensor | None,
    ) -> Tensor:
        wanted = ctx.needs_input_grad[:2]
        dtype = torch.get_autocast_dtype("cpu") if half else weight.dtype
        given, factor = states.to(dtype), weight.to(dtype)
        kinds = len(weight)
        by_state = torch.empty_like(given) if wanted[0] else None
        by_weight = torch.zeros(weight.shape, dtype=weight.dtype) if wanted[1] else None
        by_gate, by_chance = (None if one is None else torch.empty_like(one) for one in (gate, chance))
        losses = torch.empty(len(states))
        with torch.autocast("cpu", enabled=False):
            for start in range(0, len(states), max(1, _AT_ONCE // kinds)):
                some = slice(start, start + max(1, _AT_ONCE // kinds))
                scores, true = torch.mm(given[some], factor.t()).float(), targets[some, None]
                total = scores.logsumexp(-1, keepdim=True)
                told = scores.gather(1, true) - total
                own = told.new_ones(told.shape)  # how far the softmax answers for the target
                if gate is not None and chance is not None and by_gate is not None and by_chance is not None:
                    mixed, written = _mixed(told[:, 0], gate[some], chance[some])
                    told, own = mixed[:, None], written.exp()[:, None]
                    opened, left = gate[some].sigmoid(), 1 - own[:, 0]
                    by_gate[some] = (smoothing - 1) * (own[:, 0] - opened)
                    by_chance[some] = (smoothing - 1) * left / chance[some].clamp(min=torch.finfo(torch.float32).tiny)
                losses[some] = ((smoothing - 1) * told + smoothing * total)[:, 0]
                if smoothing:
                    losses[some] -= smoothing * scores.mean(-1)
                if not any(wanted):
                    continue
                own = (1 - smoothing) * own
                scores.sub_(total).exp_().mul_(own + smoothing).sub_(smoothing / kinds)
                scores.scatter_add_(1, true, -own)
                change = scores.to(dtype)
                if by_state is not None:
                    torch.mm(change, factor, out=by_state[some])
                if by_weight is not None:
                    by_weight += torch.mm(change.t(), given[some])
        ctx.save_for_backward(by_state, by_weight, by_gate, by_chance)
        ctx.dtype = states.dtype
        return losses.sum()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        state, weight, gate, chance = (None if one is None else one * grad for one in ctx.saved_tensors)
        return None if state is None else state.to(ctx.dtype), weight, None, None, None, gate, chance
