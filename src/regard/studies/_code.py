"""Real examples for small models: the names in Python code as ids, and the accuracy of a cheap baseline."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from .. import corpora
from ..corpora import TaggedWords

PADDING, UNKNOWN = 0, 1
IGNORED = -100


@dataclass(frozen=True)
class Windows:
    """Windows of code: ids of words, and the kinds of the names among them."""

    words: tuple[Tensor, ...]
    """int64 `(L,)` of each window."""
    kinds: tuple[Tensor, ...]
    """int64 `(L,)`; -100 for words that are not names, which training and evaluation skip."""

    def padded(self, indices: Sequence[int] | NDArray[np.int64]) -> tuple[Tensor, Tensor, Tensor]:
        """Return words `(B, L)`, lengths `(B,)` and kinds `(B, L)` of some windows."""
        words = [self.words[index] for index in indices]
        lengths = torch.tensor([len(each) for each in words])
        kinds = [self.kinds[index] for index in indices]
        pad = nn.utils.rnn.pad_sequence
        return pad(words, batch_first=True), lengths, pad(kinds, batch_first=True, padding_value=IGNORED)

    @property
    def lengths(self) -> list[int]:
        """Number of words of each."""
        return [len(each) for each in self.words]


@dataclass(frozen=True)
class CodeNames:
    """The names in the standard library's source, and their kinds."""

    train: Windows
    test: Windows
    """Windows of packages that have no file in `train`."""
    vocabulary: tuple[str, ...]
    """Words by their id: those that occur at least twice in training; 0 is padding, 1 any other word."""
    kinds: tuple[str, ...]
    """Kinds by their id."""
    baseline: float
    """Test accuracy of giving each word its most frequent kind in training (a new word: the most frequent of all)."""
    description: str
    """Description of the source."""


def code_names(files: int, length: int) -> CodeNames:
    """Return this many files to train on and a quarter of that to test on, in windows of at most `length` words.

    Words that occur once in training become unknown, so that the model has to use the context of a name.
    """
    split = corpora.code_entities(limit=files, words=length)
    counts = Counter(word for example in split.train for word in example.words)
    vocabulary = ("", "?", *sorted(word for word, count in counts.items() if count > 1))
    ids = {word: place for place, word in enumerate(vocabulary)}
    kinds = tuple(sorted({tag[2:] for example in split.train for tag in example.tags if tag != "O"}))
    train, test = (_windows(part, ids, kinds) for part in (split.train, split.test))
    return CodeNames(train, test, vocabulary, kinds, _baseline(train, test), split.description)


def _windows(examples: Sequence[TaggedWords], ids: dict[str, int], kinds: tuple[str, ...]) -> Windows:
    words = tuple(torch.tensor([ids.get(word, UNKNOWN) for word in example.words]) for example in examples)
    numbers = {kind: place for place, kind in enumerate(kinds)}
    tags = tuple(torch.tensor([numbers.get(tag[2:], IGNORED) for tag in example.tags]) for example in examples)
    return Windows(words, tags)


def _baseline(train: Windows, test: Windows) -> float:
    seen: defaultdict[int, Counter[int]] = defaultdict(Counter)
    for words, kinds in zip(train.words, train.kinds, strict=True):
        for word, kind in zip(words.tolist(), kinds.tolist(), strict=True):
            if kind != IGNORED:
                seen[word][kind] += 1
    everywhere = sum(seen.values(), Counter()).most_common(1)[0][0]
    right = total = 0
    for words, kinds in zip(test.words, test.kinds, strict=True):
        for word, kind in zip(words.tolist(), kinds.tolist(), strict=True):
            if kind != IGNORED:
                guess = seen[word].most_common(1)[0][0] if seen[word] else everywhere
                right, total = right + (guess == kind), total + 1
    return right / total


def names_loss(model: nn.Module, batch: tuple[Tensor, Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """Return the sum of the losses and the number of names."""
    words, lengths, kinds = batch
    logits = model(words, lengths)
    return nn.functional.cross_entropy(logits.flatten(0, 1), kinds.flatten(), reduction="sum", ignore_index=IGNORED), (
        kinds != IGNORED
    ).sum()


@torch.no_grad()
def names_judge(model: nn.Module, data: Windows, size: int = 64) -> dict[str, float]:
    """Return the mean loss over names, and the accuracy of their kinds."""
    order = sorted(range(len(data.words)), key=lambda index: len(data.words[index]))
    loss, right, total = 0.0, 0, 0
    for start in range(0, len(order), size):
        words, lengths, kinds = data.padded(order[start : start + size])
        logits = model(words, lengths)
        kept = kinds != IGNORED
        loss += float(nn.functional.cross_entropy(logits[kept], kinds[kept], reduction="sum"))
        right, total = right + int((logits.argmax(-1) == kinds)[kept].sum()), total + int(kept.sum())
    return {"loss": loss / total, "accuracy": right / total}


@torch.no_grad()
def attends(model: nn.Module, data: CodeNames, windows: int = 64) -> tuple[float, float]:
    """Return two means over layers, heads and words of some test windows, which describe how a model attends.

    They are the entropy of a row, relative to uniform weights, and the largest weight. The model takes `(words,
    lengths, need_weights=True)`.
    """
    was = model.training
    words, lengths, _ = data.test.padded(
        [index for index, length in enumerate(data.test.lengths) if length > 1][:windows]
    )
    _, found = model.eval()(words, lengths, need_weights=True)
    model.train(was)
    real = (torch.arange(words.shape[1])[None] < lengths[:, None])[:, None]  # (B, 1, L)
    most = lengths.log()[:, None, None]
    shares = [(weights.entropy() / most).masked_select(real).mean() for weights in found.values()]
    largest = [weights.peak().values.masked_select(real).mean() for weights in found.values()]
    return float(torch.stack(shares).mean()), float(torch.stack(largest).mean())
