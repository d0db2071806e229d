"""The server of answers under load: a text classifier of ours beside one of transformers, in the same server.

Both are 2 layers, 128 wide, 4 heads, feed-forward 512, random but for one step of training, and share the tokenizer.
Theirs is what its user would write: tokenize, pad to the longest, forward, softmax. Clients run in a process of their
own; peers take turns. Latencies are wall-clock and depend on whatever else runs; CPU seconds are those of the server's
process.
"""

from __future__ import annotations

import importlib.util
import json
import math
import random
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from regard._server import OwnAddress, Served, address, bound
from regard.corpora import LabelledText
from regard.tasks import Sentiment, SentimentSettings
from regard.tasks.serving import application
from regard.training import Budget, TrainingSettings

from .clients import text
from .measure import Table

NAME = "serve-speed"
_WORDS = 60
_LABELS = ("bad", "fair", "good")

Predict = Callable[[list[Any]], Sequence[Any]]


@dataclass
class _Load:
    """What clients saw in all turns."""

    latencies: list[float] = field(default_factory=list)
    seconds: float = 0.0
    cpu: float = 0.0

    def percentile(self, share: float) -> float:
        """Return the latency that this share of the requests did not exceed (nearest rank), in milliseconds."""
        ordered = sorted(self.latencies)
        return 1e3 * ordered[math.ceil(share * len(ordered)) - 1]


def run(quick: bool) -> Table:
    """Return requests a second, latencies and CPU time, by the number of clients."""
    ours = _ours()
    peers: dict[str, Predict] = {"ours": ours.predict}
    if importlib.util.find_spec("transformers"):
        peers["transformers"] = _theirs(ours)
    table = Table(
        f"Server of a text classifier, 2 layers of 128, texts of about {_WORDS} words, one a request",
        ["clients", "model", "requests/s", "p50 ms", "p99 ms", "CPU ms a request"],
    )
    for clients in (1, 4) if quick else (1, 8, 32):
        requests, turns = (20, 1) if quick else (max(40, 400 // clients), 5)
        for name, load in _loads(peers, clients, requests, turns).items():
            count = len(load.latencies)
            found = {
                "requests_per_second": count / load.seconds, "p50_ms": load.percentile(0.5),
                "p99_ms": load.percentile(0.99), "cpu_ms_per_request": 1e3 * load.cpu / count,
            }  # fmt: skip
            table.rows.append([str(clients), name, *(f"{number:.1f}" for number in found.values())])
            table.records.append({"clients": clients, "model": name, "requests": count, **found})
    return table


def _loads(peers: dict[str, Predict], clients: int, requests: int, turns: int) -> dict[str, _Load]:
    """Let the peers take turns under the same load; the first turn of each warms up."""
    loads = {name: _Load() for name in peers}
    for turn in range(turns + 1):
        for name, predict in peers.items():
            listening = bound("127.0.0.1", 0)
            port = listening.getsockname()[1]
            app = application(predict, str, {}, OwnAddress("127.0.0.1", port))
            with Served(app, listening, address("127.0.0.1", port)).start():
                cpu = time.process_time()
                words = map(str, (port, clients, requests if turn else 3, _WORDS))
                asked = [sys.executable, "-m", "benchmarks.clients", *words]
                found = json.loads(subprocess.run(asked, stdout=subprocess.PIPE, check=True).stdout)
                cpu = time.process_time() - cpu
            if turn:
                loads[name].latencies += found["requests"]
                loads[name].seconds += found["seconds"]
                loads[name].cpu += cpu
    return loads


def _ours() -> Sentiment:
    """Return a classifier that took one step: its answers are of no use, and take as long as good ones."""
    chance = random.Random(0)
    examples = [LabelledText(text(chance, _WORDS), (_LABELS[number % 3],)) for number in range(300)]
    budget = TrainingSettings(budget=Budget(epochs=None, steps=1))
    task = Sentiment(SentimentSettings(only="model", training=budget))
    task.fit(examples, examples[:30])
    return task


def _theirs(ours: Sentiment) -> Predict:
    from tokenizers import Tokenizer
    from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

    settings = ours.settings
    inner = Tokenizer.from_str(ours.tokenizer_.definition)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, pad_token=inner.id_to_token(0))
    config = BertConfig(
        vocab_size=len(tokenizer), hidden_size=settings.embed_dim, num_hidden_layers=settings.num_layers,
        num_attention_heads=settings.num_heads, intermediate_size=4 * settings.embed_dim,
        max_position_embeddings=settings.max_length,
    )  # fmt: skip
    config.num_labels = len(_LABELS)
    model = BertForSequenceClassification(config).eval()

    @torch.inference_mode()
    def predict(texts: list[Any]) -> Sequence[Any]:
        batch = tokenizer(texts, padding=True, truncation=True, max_length=settings.max_length, return_tensors="pt")
        chances = model(batch["input_ids"], attention_mask=batch["attention_mask"]).logits.softmax(-1)
        return [dict(zip(_LABELS, row, strict=True)) for row in chances.tolist()]

    return predict
