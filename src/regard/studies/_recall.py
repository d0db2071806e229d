"""Associative recall: given pairs of a key and a value, then a key alone, predict its value."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from ..layers import MultiHeadAttention
from ._fit import Course, Examples, Training, fit
from ._linear_heads import FeatureMap, LinearHeads
from ._study import Progress

ASKED = 16


@dataclass(frozen=True)
class Recall:
    """Settings of the task."""

    pairs: tuple[int, ...] = (4, 8, 16, 32, 64, 128)
    """Numbers of pairs in a sequence; the keys of one sequence differ."""
    keys: int = 256
    """Number of different keys."""
    values: int = 32
    """Number of different values."""


class Asked(NamedTuple):
    """Sequences of pairs, with questions and answers."""

    keys: Tensor
    """int64 `(B, pairs)`."""
    values: Tensor
    """int64 `(B, pairs)`."""
    asked: Tensor
    """int64 `(B, 16)`: the questions, keys of the same sequence."""
    answers: Tensor
    """int64 `(B, 16)`: the answers, the values of these keys."""


def draw_batch(task: Recall, pairs: int, count: int, random: np.random.Generator) -> Asked:
    """Draw sequences of distinct keys with random values, and random questions."""
    order = torch.from_numpy(random.random((count, task.keys))).argsort(-1)[:, :pairs]
    values = torch.from_numpy(random.integers(task.values, size=(count, pairs)))
    place = torch.from_numpy(random.integers(pairs, size=(count, ASKED)))
    return Asked(order, values, order.gather(1, place), values.gather(1, place))


class RecallModel(nn.Module):
    """One head that attends from the asked keys to the pairs: a pair is one token, the sum of two vectors.

    So one layer is enough, and only the attention limits how many pairs can be distinguished.
    """

    def __init__(self, task: Recall, embed_dim: int, feature_map: FeatureMap | None) -> None:
        super().__init__()
        self.keys = nn.Embedding(task.keys, embed_dim)
        self.values = nn.Embedding(task.values, embed_dim)
        layer = MultiHeadAttention(embed_dim, 1)
        self.attention = layer if feature_map is None else LinearHeads.of(layer, feature_map)
        self.output = nn.Linear(embed_dim, task.values)

    def forward(self, keys: Tensor, values: Tensor, asked: Tensor) -> Tensor:
        """Return the logits of the values, `(B, asked, values)`."""
        pairs = self.keys(keys) + self.values(values)
        logits: Tensor = self.output(self.attention(self.keys(asked), pairs, pairs))
        return logits

    def heads(self, keys: Tensor, values: Tensor, asked: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the query, key and value of the head, `(B, 1, tokens, E)`."""
        pairs = self.keys(keys) + self.values(values)
        layer, width = self.attention.query_key_value, self.attention.head_dim
        query = layer(self.keys(asked))[..., :width]
        key, value = layer(pairs)[..., width:].chunk(2, -1)
        return query[:, None], key[:, None], value[:, None]


def train_recall(
    task: Recall, embed_dim: int, feature_map: FeatureMap | None, steps: int, seed: int, progress: Progress, text: str
) -> tuple[RecallModel, Course]:
    """Train a model on sequences of all numbers of pairs; evaluate it on 1,024 questions of each."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = RecallModel(task, embed_dim, feature_map)
    tests = [draw_batch(task, pairs, 64, np.random.default_rng(seed + 1)) for pairs in task.pairs]

    def batch(indices: Sequence[int] | np.ndarray, random: np.random.Generator) -> Asked:
        return draw_batch(task, int(random.choice(task.pairs)), len(indices), random)

    def evaluate(model: nn.Module) -> dict[str, float]:
        return {
            str(pairs): float((model(*test[:3]).argmax(-1) == test.answers).float().mean())
            for pairs, test in zip(task.pairs, tests, strict=True)
        }

    # Every sequence counts as 64 tokens, so that a step has 64 sequences.
    examples = Examples([64] * 4096, batch, _loss, evaluate)
    course = fit(model, examples, Training(steps, lr=5e-3, tokens=4096, weight_decay=0.0), seed, progress, text)
    return model.eval(), course


def _loss(model: nn.Module, batch: Asked) -> tuple[Tensor, Tensor]:
    logits = model(*batch[:3])
    loss = nn.functional.cross_entropy(logits.flatten(0, 1), batch.answers.flatten(), reduction="sum")
    return loss, torch.tensor(batch.answers.numel())
