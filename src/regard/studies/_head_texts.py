"""Data and model of the study of heads: code as token ids, and a language model of it."""

from __future__ import annotations

import itertools
import json
import math
import random as _random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from .. import corpora
from ..errors import DataError, needed
from ..models import LanguageModel, LanguageModelConfig
from ._fit import Examples, Training, fit
from ._study import Progress

NAMES = 48
"""Token ids that stand for rare words, assigned at random in each window."""


@dataclass(frozen=True)
class Texts:
    """Windows of text as token ids."""

    train: tuple[Tensor, ...]
    """int64 `(L,)`; empty if a model was given."""
    test: tuple[Tensor, ...]
    """Windows that the model was not trained on."""
    words: tuple[str, ...]
    """The text of each token id."""
    baseline: float | None
    """Nats per token of a bigram model on test; None without training text."""
    fresh: range
    """Token ids for random sequences, in which only copying helps."""
    description: str
    """Description of the source."""


def code_windows(files: int, length: int, seed: int) -> Texts:
    """Return the standard library's code in windows of at most `length` words.

    A word that occurs less than five times in training is replaced by one of 48 names, chosen anew in each window. It
    can be predicted only from its earlier mentions in the window, so a model gains by attending to them.
    """
    split = corpora.code_entities(limit=files, words=length)
    counts = Counter(word for example in split.train for word in example.words)
    common = sorted(word for word, count in counts.items() if count >= 5)
    words = ("", *(f"name {number}" for number in range(NAMES)), *common)
    ids = {word: place for place, word in enumerate(words)}
    random = _random.Random(seed)
    train, test = (
        tuple(_numbers(example.words, ids, random) for example in part if len(example.words) > 8)
        for part in (split.train, split.test)
    )
    return Texts(train, test, words, _bigram(train, test, len(words)), range(1, NAMES + 1), split.description)


def _numbers(words: Sequence[str], ids: dict[str, int], random: _random.Random) -> Tensor:
    rare = list(dict.fromkeys(word for word in words if word not in ids))
    free = random.sample(range(1, NAMES + 1), NAMES)
    names = {word: free[place % NAMES] for place, word in enumerate(rare)}
    return torch.tensor([names[word] if word in names else ids[word] for word in words])


def _bigram(train: Sequence[Tensor], test: Sequence[Tensor], size: int, weight: float = 5.0) -> float:
    """Return nats per token of a bigram model, smoothed by `weight` unigram counts, and these by one uniform count."""
    single = torch.cat(list(train)).bincount(minlength=size).double() + 1.0
    single /= single.sum()
    pairs, firsts = Counter[tuple[int, int]](), Counter[int]()
    for window in train:
        numbers = window.tolist()
        pairs.update(itertools.pairwise(numbers))
        firsts.update(numbers[:-1])
    total, count = 0.0, 0
    for window in test:
        numbers = window.tolist()
        for before, after in itertools.pairwise(numbers):
            share = (pairs[before, after] + weight * float(single[after])) / (firsts[before] + weight)
            total, count = total - math.log(share), count + 1
    return total / count


def padded(windows: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Return windows as tokens `(B, L)` and lengths `(B,)`."""
    return nn.utils.rnn.pad_sequence(list(windows), batch_first=True), torch.tensor([len(one) for one in windows])


def losses(model: nn.Module, tokens: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """Return the loss of every token except the first, `(B, L - 1)`, and which are real."""
    logits = model(tokens, lengths)[:, :-1]
    loss = nn.functional.cross_entropy(logits.transpose(1, 2), tokens[:, 1:], reduction="none")
    return loss, torch.arange(1, tokens.shape[1]) < lengths[:, None]


def _sum_loss(model: nn.Module, batch: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    loss, real = losses(model, *batch)
    return (loss * real).sum(), real.sum()


@torch.no_grad()
def loss_of(model: nn.Module, tokens: Tensor, lengths: Tensor, start: int = 1, size: int = 32) -> float:
    """Return the mean loss, nats, of the real tokens from position `start` on."""
    total, count = 0.0, 0
    for first in range(0, len(tokens), size):
        loss, real = losses(model, tokens[first : first + size], lengths[first : first + size])
        loss, real = loss[:, start - 1 :], real[:, start - 1 :]
        total, count = total + float((loss * real).sum()), count + int(real.sum())
    return total / count


def trained_model(
    texts: Texts, config: LanguageModelConfig, training: Training, seed: int, progress: Progress
) -> LanguageModel:
    """Train a language model on the windows."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LanguageModel(config)

    def batch(indices: NDArray[np.int64], random: np.random.Generator) -> tuple[Tensor, Tensor]:
        return padded([texts.train[index] for index in indices])

    examples = Examples(
        [len(one) for one in texts.train], batch, _sum_loss,
        lambda model: {"loss": loss_of(model, *padded(texts.test[:32]))},
    )  # fmt: skip
    fit(model, examples, training, seed, progress, "a language model of code")
    return model.eval()


def of_folder(folder: Path, length: int) -> tuple[LanguageModel, Texts]:
    """Return the model that `regard train language-modeling` wrote to a folder, and held-out code in its tokens.

    Raises `DataError`, `ModelFileError`, `MissingExtraError`.
    """
    try:
        description: dict[str, Any] = json.loads((folder / "task.json").read_text(encoding="utf-8"))
        definition = json.dumps(description["state"]["tokenizer"]["definition"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{folder} holds no trained language model with its tokenizer ({error!r}); give a folder that "
            "`regard train language-modeling --out FOLDER` wrote."
        ) from None
    with needed("The model's tokenizer needs tokenizers. Install it with", "train"):
        from tokenizers import Tokenizer
    model = LanguageModel.from_pretrained(folder / "model")
    cut = Tokenizer.from_str(definition)
    split = corpora.code_text(limit=60)
    numbers = [torch.tensor(cut.encode(one.text, add_special_tokens=False).ids) for one in split.test]
    windows = tuple(part for one in numbers for part in one.split(length) if len(part) == length)
    words = tuple(cut.id_to_token(place) or "" for place in range(cut.get_vocab_size()))
    return model.eval(), Texts(
        (), windows, words, None, range(4, len(words)), f"{split.description} Cut by the model's own tokenizer."
    )
