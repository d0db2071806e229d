"""The settings that all tasks share that start from a pretrained model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from ..._values import check_shares, check_sizes
from ...errors import ArgumentError
from ...training import Batches, Budget, Evaluation, Machine, Optimizer, TrainingSettings
from .._task import TaskSettings


def recipe(
    *, epochs: float, tokens_per_step: int, at_once: int = 4096, patience: int | None = None
) -> Callable[[], TrainingSettings]:
    """Return a factory of training settings for fine-tuning."""
    return lambda: TrainingSettings(
        optimizer=Optimizer(lr=None, warmup=0.1, weight_decay=0.01, layer_decay=0.9, beta2=0.999),
        batches=Batches(tokens_per_step=tokens_per_step, tokens_at_once=at_once),
        budget=Budget(epochs=epochs),
        evaluation=Evaluation(patience=patience),
        machine=Machine(precision="auto"),
    )


@dataclass(frozen=True, kw_only=True)
class FineTuning(TaskSettings):
    """How to start from a pretrained model, and which of its weights learn."""

    model: str
    """The pretrained model: a folder of a Hugging Face checkpoint, a name on its hub, or a run of `regard train`."""
    train_layers: int | None = None
    """Only the last layers learn, this many of each stack, and what follows them: a last norm, the head; 0: that alone;
    None: all weights."""
    lora: int = 0
    """Rank of low-rank updates (LoRA, package peft) that learn in place of the layers' weights; 0: none. They are
    merged into the weights when training ends."""
    freeze_embeddings: bool = False
    """Whether the embeddings of tokens or patches stay as they are: cheaper steps where the vocabulary is large."""
    max_length: int = 512
    """Longest sequence of tokens that the model reads at once, special ones included; at most what it was built for."""
    training: TrainingSettings = field(default_factory=recipe(epochs=4, tokens_per_step=1024))
    """How to train."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_sizes(self, "max_length")
        check_sizes(self, "train_layers", "lora", low=0)
        check_shares(self)
        if not self.model:
            raise ArgumentError("model is empty; give a folder, or a name on the Hugging Face hub.")
        if self.lora and self.train_layers is not None:
            raise ArgumentError(
                f"lora is {self.lora} and train_layers {self.train_layers}: LoRA changes all layers; give one of them."
            )
