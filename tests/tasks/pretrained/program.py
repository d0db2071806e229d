"""A program that fine-tunes a small encoder on texts, in a process of its own, and prints a digest of the weights."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import torch

from regard.tasks import Sentiment
from regard.training import Batches, Budget, Checkpoints, Event, Machine, Optimizer, TrainingSettings

from ...training.small import digest
from ..small import LABELLED


def main() -> None:
    """Train; the first process prints what ended it, the steps and a digest, or saves the weights."""
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--lora", type=int, default=0)
    parser.add_argument("--train-layers", type=int)
    parser.add_argument("--shard", action="store_true")
    parser.add_argument("--slow", type=float, default=0.0)
    parser.add_argument("--weights", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    training = TrainingSettings(
        optimizer=Optimizer(lr=1e-3, layer_decay=0.8),
        batches=Batches(tokens_per_step=256, tokens_at_once=128),
        budget=Budget(epochs=None, steps=12),
        checkpoints=Checkpoints(save_every=2),
        machine=Machine(device="cpu", shard=given.shard),
    )
    settings = Sentiment.FineTuning(
        model=given.model, lora=given.lora, train_layers=given.train_layers, training=training
    )  # type: ignore[call-arg]

    def listen(event: Event) -> None:
        time.sleep(given.slow)

    task = Sentiment(settings).fit(LABELLED[:80], LABELLED[80:100], folder=given.folder, listeners=[listen])
    if task.training_.writes:
        print(task.training_.stopped_by, task.training_.step, digest(task.model_), flush=True)
        if given.weights:
            torch.save(task.model_.state_dict(), given.weights)


if __name__ == "__main__":
    main()
