"""Going on from a run of this package: its vocabulary and sizes stay, and its weights are where training begins."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..errors import ArgumentError
from ..training import layers_above

# Parts of a model that belong to its labels.
OF_LABELS = ("head.", "field.", "evidence.")
# A run that goes on begins at this share of the rate that it was trained with.
SLOWER = 0.3


def is_own_run(name: str, own: str = "model") -> bool:
    """Return whether a name is the folder of a run that was trained from nothing."""
    return (Path(name) / "task.json").is_file() and (Path(name) / own / "config.json").is_file()


def continued(before: Any, wanted: Any) -> Any:
    """Return the settings of a run with those of fine-tuning that apply to it."""
    if wanted.lora:
        raise ArgumentError(
            f"lora is {wanted.lora}, and {wanted.model} is no model of transformers, which it needs; leave it out."
        )
    training = wanted.training
    if training.optimizer.lr is None:
        rate = (before.training.optimizer.lr or 1e-3) * SLOWER
        training = dataclasses.replace(training, optimizer=dataclasses.replace(training.optimizer, lr=rate))
    return dataclasses.replace(before, training=training, dev_share=wanted.dev_share)


def take_over(model: nn.Module, before: nn.Module, *, same_labels: bool) -> None:
    """Copy the weights of a run into a new model; those that belong to other labels start afresh."""
    old = before.state_dict()
    with torch.no_grad():
        for name, weight in model.state_dict().items():
            fits = name in old and old[name].shape == weight.shape
            if fits and (same_labels or not name.startswith(OF_LABELS)):
                weight.copy_(old[name])


def choose_layers(model: nn.Module, train_layers: int | None, *, freeze_embeddings: bool) -> None:
    """Freeze all but the last layers of each stack, and the embeddings if that is wanted.

    Raises:
        ArgumentError: nothing would learn.
    """
    above = layers_above(model)
    deepest = max(above.values(), default=0)
    for name, weight in model.named_parameters():
        kept = train_layers is not None and above[name] > train_layers
        weight.requires_grad_(not kept and not (freeze_embeddings and above[name] == deepest))
    if not any(weight.requires_grad for weight in model.parameters()):
        raise ArgumentError("No weight of the model would learn: give train_layers of 1 or more.")
