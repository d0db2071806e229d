"""Tokens per second of training a token classifier: our loop and layers beside what a user would write in PyTorch.

3 layers, 128 wide, 4 heads of 32, feed-forward 512, dropout 0.1; sentences whose lengths spread as those of news do, up
to 160 tokens; steps of about 4,096 real tokens: batch, forward, loss, backward, clipping, AdamW. Ours is `train()`
whole. Two peers stand between, so that the shares of kernels and of bucketing can be told apart.
"""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from regard.models import TokenClassifier, TokenClassifierConfig
from regard.training import Batches, Budget, DataOrder, Event, Machine, Stepped, TrainingSettings, train

from .encoder_training import Theirs
from .measure import Table

NAME = "training-speed"
EXAMPLES, TOKENS, LONGEST, WORDS, LABELS = 8000, 4096, 160, 4000, 9
BASE = "nn.TransformerEncoder"

Step = Callable[[int], int]
"""Takes one step of this number and returns how many real tokens it learnt from."""


class Sentences:
    """Random words and labels, in sentences of lifelike lengths; what training asks of a task."""

    def __init__(self) -> None:
        random = np.random.default_rng(0)
        spread = random.lognormal(3.1, 0.6, EXAMPLES).round().astype(np.int64)  # median 22, mean 27
        self.lengths: Sequence[int] = [int(length) for length in spread.clip(3, LONGEST)]
        self.words = [torch.from_numpy(random.integers(1, WORDS, length)) for length in self.lengths]
        self.labels = [torch.from_numpy(random.integers(0, LABELS, length)) for length in self.lengths]

    def batch(self, indices: NDArray[np.int64], random: np.random.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Return padded words and labels, and the lengths."""
        lengths = torch.tensor([self.lengths[i] for i in indices])
        words = nn.utils.rnn.pad_sequence([self.words[i] for i in indices], batch_first=True)
        labels = nn.utils.rnn.pad_sequence([self.labels[i] for i in indices], batch_first=True, padding_value=-100)
        return words, labels, lengths

    def loss(self, model: nn.Module, batch: Any) -> tuple[Tensor, Tensor]:
        """Return the summed cross-entropy of the real tokens."""
        words, labels, lengths = batch
        logits = model(words, lengths)
        return F.cross_entropy(logits.float().flatten(0, 1), labels.flatten(), reduction="sum"), lengths.sum()

    def evaluate(self, model: nn.Module) -> Mapping[str, float]:
        """Return a figure that costs nothing: evaluation is not measured."""
        return {"loss": 0.0}


class Bert(nn.Module):
    """The same size in Hugging Face's transformers."""

    def __init__(self) -> None:
        super().__init__()
        from transformers import BertConfig, BertForTokenClassification

        config = BertConfig(
            vocab_size=WORDS, hidden_size=128, num_hidden_layers=3, num_attention_heads=4, intermediate_size=512,
            max_position_embeddings=LONGEST,
        )  # fmt: skip
        config.num_labels = LABELS
        self.model = BertForTokenClassification(config)

    def forward(self, words: Tensor, lengths: Tensor) -> Tensor:
        """Return the logits."""
        seen = torch.arange(words.shape[1]) < lengths[:, None]
        logits: Tensor = self.model(words, attention_mask=seen.long()).logits
        return logits


def plain(model: nn.Module, task: Sentences, windows: list[NDArray[np.int64]], narrow: bool) -> Step:
    """Return the step of a loop as a user would write it."""
    optimizer = torch.optim.AdamW(model.train().parameters(), lr=1e-3)
    random = np.random.default_rng(0)

    def step(number: int) -> int:
        batch = task.batch(windows[number % len(windows)], random)
        with torch.autocast("cpu", torch.bfloat16, enabled=narrow):
            loss, count = task.loss(model, batch)
        (loss / count).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        return int(count)

    return step


def at_random(lengths: Sequence[int]) -> list[NDArray[np.int64]]:
    """Return batches in random order, as a shuffling loader gives them, of about as many real tokens as ours."""
    each = round(TOKENS / (sum(lengths) / len(lengths)))
    order = np.random.default_rng(1).permutation(len(lengths))
    return [order[start : start + each] for start in range(0, len(order) - each, each)]


def ours(model: nn.Module, task: Sentences, narrow: bool, steps: int) -> tuple[float, int]:
    """Train by `train()`; return CPU seconds and tokens, without those of the first step."""
    moments: list[tuple[float, int]] = []

    def listen(event: Event) -> None:
        if isinstance(event, Stepped):
            moments.append((time.process_time(), event.tokens))

    train(model, task, TrainingSettings(
        batches=Batches(tokens_per_step=TOKENS, tokens_at_once=2 * TOKENS),
        budget=Budget(epochs=None, steps=steps + 1),
        machine=Machine(device="cpu", precision="bf16" if narrow else "fp32"),
    ), listeners=[listen])  # fmt: skip
    return moments[-1][0] - moments[0][0], sum(tokens for _, tokens in moments[1:])


def run(quick: bool) -> Table:
    """Return tokens per CPU second of the base, and every other peer's as a multiple of it."""
    task = Sentences()
    order = DataOrder(task.lengths, TOKENS, 0)
    bucketed, mixed = [order.examples(step) for step in range(order.steps_per_epoch)], at_random(task.lengths)
    table = Table("", ["precision", f"{BASE}, tokens/s"])
    for narrow in (False, True):
        classifier = TokenClassifier(TokenClassifierConfig(vocab_size=WORDS, num_labels=LABELS))
        peers = {
            BASE: plain(Theirs(), task, mixed, narrow),
            "it, bucketed": plain(Theirs(), task, bucketed, narrow),
            "our layers": plain(TokenClassifier(classifier.config), task, mixed, narrow),
        }
        if importlib.util.find_spec("transformers"):
            peers["transformers"] = plain(Bert(), task, mixed, narrow)
        speeds = _speeds(peers, classifier, task, narrow, turns=2 if quick else 6)
        _add(table, "bf16" if narrow else "fp32", speeds)
    padding = 1 - sum(task.lengths) / sum(max(task.lengths[i] for i in rows) * len(rows) for rows in bucketed)
    table.title = (
        "Training, tokens per CPU second: 3 layers, 128 wide, dropout 0.1; ours is bucketed by length "
        f"({padding:.0%} padding) and runs in train()"
    )
    return table


def _speeds(
    peers: dict[str, Step], model: nn.Module, task: Sentences, narrow: bool, turns: int, steps: int = 4
) -> dict[str, float]:
    """Let the peers take turns of some steps; the first turn warms up."""
    seconds, tokens = dict.fromkeys([*peers, "ours"], 0.0), dict.fromkeys([*peers, "ours"], 0)
    for turn in range(turns + 1):
        for name, step in peers.items():
            began = time.process_time()
            learnt = sum(step(turn * steps + number) for number in range(steps))
            if turn:
                seconds[name] += time.process_time() - began
                tokens[name] += learnt
        spent, learnt = ours(model, task, narrow, steps)
        if turn:
            seconds["ours"] += spent
            tokens["ours"] += learnt
    return {name: tokens[name] / seconds[name] for name in seconds}


def _add(table: Table, precision: str, speeds: dict[str, float]) -> None:
    others = [name for name in speeds if name != BASE]
    table.columns[2:] = others
    table.rows.append([precision, f"{speeds[BASE]:,.0f}", *(f"{speeds[name] / speeds[BASE]:.2f}" for name in others)])
    table.records.append({"precision": precision, "tokens_per_second": speeds})
