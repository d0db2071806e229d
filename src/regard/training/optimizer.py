"""AdamW over a model's weights, and what happens to the gradients before its step."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from ..errors import ArgumentError
from .settings import Optimizer


def make_optimizer(model: nn.Module, settings: Optimizer) -> torch.optim.AdamW:
    """Build AdamW for the trainable weights; weight decay applies to matrices, not to vectors.

    The fused form makes one pass over memory a step; its results do not depend on the number of threads.
    """
    learning = [weight for weight in model.parameters() if weight.requires_grad]
    if not learning:
        raise ArgumentError("The model has no weights that learn; set requires_grad on some.")
    matrices = [weight for weight in learning if weight.ndim >= 2]
    vectors = [weight for weight in learning if weight.ndim < 2]
    groups = [
        {"params": matrices, "weight_decay": settings.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(
        [group for group in groups if group["params"]],
        lr=settings.lr,
        betas=(settings.beta1, settings.beta2),
        eps=settings.eps,
        fused=True,
    )


def average_and_clip(weights: Iterable[Tensor], factor: float, clip: float) -> float:
    """Multiply all gradients by `factor`, then clip their norm to `clip` (0: no clipping).

    Returns the norm after the factor and before the clipping.
    """
    gradients = [weight.grad for weight in weights if weight.grad is not None]
    total = torch.nn.utils.get_total_norm(gradients)
    if isinstance(total, DTensor):
        total = total.full_tensor()
    norm = float(total) * factor
    if clip and norm > clip:
        factor *= clip / norm
    for gradient in gradients:
        gradient.mul_(factor)
    return norm
