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

    Each group has its share of the learning rate as `lr_share` (`layer_decay`). The fused form makes one pass over
    memory a step; its results do not depend on the number of threads.
    """
    if settings.lr is None:
        raise ArgumentError("lr is None: only a task has a rule for it; give a number.")
    groups: dict[tuple[bool, int], list[nn.Parameter]] = {}
    above = layers_above(model) if settings.layer_decay < 1 else {}
    for name, weight in model.named_parameters():
        if weight.requires_grad:
            groups.setdefault((weight.ndim < 2, above.get(name, 0)), []).append(weight)
    if not groups:
        raise ArgumentError("The model has no weights that learn; set requires_grad on some.")
    return torch.optim.AdamW(
        [
            {
                "params": weights,
                "weight_decay": 0.0 if vectors else settings.weight_decay,
                "lr_share": settings.layer_decay**depth,
            }
            for (vectors, depth), weights in sorted(groups.items(), key=lambda one: one[0])
        ],
        lr=settings.lr,
        betas=(settings.beta1, settings.beta2),
        eps=settings.eps,
        fused=True,
    )


def layers_above(model: nn.Module) -> dict[str, int]:
    """Return for each weight, by name, how far below the output it lies: 0 for the head, 1 for the last layer, ...

    Layers are the members of the outermost `ModuleList`s; of encoder and decoder each counts by itself. Embeddings lie
    one below the lowest layer: what stands before the first stack, and what is called so.

    >>> model = nn.ModuleDict({"embed": nn.Embedding(3, 2), "layers": nn.ModuleList([nn.Linear(2, 2)] * 0)})
    >>> model["layers"].extend([nn.Linear(2, 2), nn.Linear(2, 2)]), model.update({"head": nn.Linear(2, 1)})
    (...)
    >>> list(layers_above(model).values())
    [3, 2, 2, 1, 1, 0, 0]
    """
    stacks = {name: len(module) for name, module in model.named_modules() if isinstance(module, nn.ModuleList)}
    outer = {name: size for name, size in stacks.items() if not any(name.startswith(f"{other}.") for other in stacks)}
    deepest, found, begun = max(outer.values(), default=0), {}, False
    for name, _ in model.named_parameters():
        stack = next((one for one in outer if name.startswith(f"{one}.")), None)
        if stack is not None:
            begun = True
            found[name] = outer[stack] - int(name[len(stack) + 1 :].split(".")[0])
        else:
            found[name] = deepest + 1 if not begun or "embed" in name else 0
    return found


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
