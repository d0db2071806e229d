"""A task small enough to be trained in a tenth of a second, and the program that trains it in a process of its own."""

from __future__ import annotations

import argparse
import hashlib
import os
import resource
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from regard import masks
from regard.layers import Encoder, EncoderLayer, Rotary
from regard.training import Batches, Budget, Checkpoints, Event, Machine, Optimizer, Stepped, TrainingSettings, train

SYMBOLS = 12


class Reader(nn.Module):
    """Tokens (B, L) to scores (B, L, SYMBOLS), by attention."""

    def __init__(self, dropout: float) -> None:
        super().__init__()
        self.embedding = nn.Embedding(SYMBOLS, 16)
        self.encoder = Encoder(EncoderLayer(16, 2, ffn_dim=32, dropout=dropout, position=Rotary()), num_layers=2)
        self.scores = nn.Linear(16, SYMBOLS)
        self.scores.weight = self.embedding.weight  # tied, as in many language models

    def forward(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """Score the symbols at each place."""
        found: Tensor = self.scores(self.encoder(self.embedding(tokens), mask=masks.padding(lengths)))
        return found


class Copying:
    """Each symbol's answer is the symbol before it."""

    def __init__(self, examples: int = 96, spoil: Callable[[Tensor], Tensor] = lambda loss: loss) -> None:
        random = np.random.default_rng(7)
        self.rows = [random.integers(1, SYMBOLS, size) for size in random.integers(2, 12, examples)]
        self.lengths = [len(row) for row in self.rows]
        self.spoil = spoil
        self.evaluations = 0

    def batch(self, indices: NDArray[np.int64], random: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Return padded rows, and their lengths."""
        lengths = torch.tensor([self.lengths[i] for i in indices])
        tokens = torch.zeros(len(indices), int(lengths.max()), dtype=torch.int64)
        for line, index in zip(tokens, indices, strict=True):
            line[: self.lengths[index]] = torch.from_numpy(self.rows[index])
        return tokens, lengths

    def loss(self, model: nn.Module, batch: Any) -> tuple[Tensor, Tensor]:
        """Return the cross-entropy of the places that are no padding."""
        tokens, lengths = batch
        real = torch.arange(tokens.shape[1])[None] < lengths[:, None]
        answers = F.pad(tokens, (1, 0))[:, :-1]
        losses = F.cross_entropy(model(tokens, lengths).flatten(0, 1), answers.flatten(), reduction="none")
        return self.spoil((losses * real.flatten()).sum()), real.sum()

    def evaluate(self, model: nn.Module) -> Mapping[str, float]:
        """Return the mean loss of the second places of some rows."""
        self.evaluations += 1
        with torch.no_grad():
            tokens, lengths = self.batch(np.arange(20), np.random.default_rng())
            scores = model(tokens, lengths)
        return {"loss": float(F.cross_entropy(scores[:, 1], tokens[:, 0]))}


class Worsening(Copying):
    """The same task; each evaluation is worse than the one before."""

    def evaluate(self, model: nn.Module) -> Mapping[str, float]:
        """Return the number of this evaluation."""
        self.evaluations += 1
        return {"loss": float(self.evaluations)}


class Failing(Copying):
    """The same task, with a failing evaluation."""

    def evaluate(self, model: nn.Module) -> Mapping[str, float]:
        """Raise, as a task with a fault would."""
        raise ValueError("this evaluation fails")


def settings(*, epochs: float = 3, at_once: int = 200, shard: bool = False, save_every: int = 5) -> TrainingSettings:
    """Return settings for about seven steps an epoch."""
    return TrainingSettings(
        optimizer=Optimizer(lr=5e-3),
        batches=Batches(tokens_per_step=96, tokens_at_once=at_once),
        budget=Budget(epochs=epochs),
        checkpoints=Checkpoints(save_every=save_every),
        machine=Machine(device="cpu", shard=shard),
    )


def reader(dropout: float = 0.0) -> Reader:
    """Return the model with the weights that every run begins with."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return Reader(dropout)


def digest(model: nn.Module) -> str:
    """Return a digest of every bit of the weights."""
    total = hashlib.sha256()
    for tensor in model.state_dict().values():
        total.update(tensor.contiguous().numpy().tobytes())
    return total.hexdigest()


def main() -> None:
    """Train, and print a digest of the weights (the first process), or save them."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--shard", action="store_true")
    parser.add_argument("--dropout", type=float, default=0.0)
    parser.add_argument("--epochs", type=float, default=3)
    parser.add_argument("--slow", type=float, default=0.0, help="seconds that each step sleeps")
    parser.add_argument("--at-once", type=int, default=200)
    parser.add_argument("--per-step", type=int, default=96)
    parser.add_argument("--twice", action="store_true", help="train another model before")
    parser.add_argument("--fail", choices=("evaluation", "listener"), help="what fails in the first process")
    parser.add_argument("--full-at", type=int, help="bytes of a file at which the second process's disk is full")
    parser.add_argument("--weights", type=Path, help="where to save the weights")
    given = parser.parse_args()
    torch.set_num_threads(1)
    model, told = reader(given.dropout), settings(epochs=given.epochs, at_once=given.at_once, shard=given.shard)
    batches = Batches(tokens_per_step=given.per_step, tokens_at_once=given.at_once)
    told = replace(told, batches=batches, checkpoints=Checkpoints(save_every=2))
    task = Failing() if given.fail == "evaluation" else Copying()

    def listen(event: Event) -> None:
        time.sleep(given.slow)
        if given.fail == "listener" and isinstance(event, Stepped):
            raise ValueError("this listener fails")

    if given.twice:
        train(reader(), Copying(), replace(told, budget=Budget(steps=1, epochs=None)))
    if given.full_at is not None and os.environ.get("RANK") == "1":
        resource.setrlimit(resource.RLIMIT_FSIZE, (given.full_at, -1))
    try:
        result = train(model, task, told, folder=given.folder, listeners=[listen])
    except Exception as error:
        print(f"{type(error).__name__}: {error}", flush=True)
        time.sleep(0.5)  # so that the others can report their errors before torchrun ends them
        raise
    if result.writes:
        print(result.stopped_by, result.step, digest(model), flush=True)
        if given.weights:
            torch.save(model.state_dict(), given.weights)


if __name__ == "__main__":
    main()
