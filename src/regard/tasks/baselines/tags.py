"""Baselines for tags: every word's most frequent tag; a chain over features of words."""

from __future__ import annotations

import re
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor
from torch.nn import functional as F

from ...corpora import TaggedWords
from .._chains import Chains
from ._saving import Baseline

# CRFsuite takes 30 steps over the data, or as many as fit into these seconds, by its time for a word and for a pair of
# tags at a word (Zen 4, 2026-11-30). Of more words than this, about 1 GB of features, a part is read.
STEPS, SECONDS, A_WORD, A_PAIR, WORDS = 30, 25.0, 3.5e-6, 2.2e-9, 400_000
# Weights below this are left out.
LEAST = 1e-3
# The score of a word's most frequent tag, in nats above the others.
SURE = 3.0


class MostFrequentTag(Baseline):
    """Gives each word the tag that it had most often in training.

    An unknown word is looked up in lower case, and otherwise gets the most frequent tag of all.
    """

    name = "most frequent tag of each word"

    def __init__(self, order: Sequence[str], tags: dict[str, str], folded: dict[str, str], otherwise: str) -> None:
        self._order, self._tags, self._folded, self._otherwise = tuple(order), tags, folded, otherwise

    @classmethod
    def fit(cls, examples: Sequence[TaggedWords], tags: Sequence[str]) -> Self:
        """Count the tags of every word; of equally frequent tags the one seen first is taken.

        `tags` is the order of the scores of `chains`.
        """
        counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
        folded: defaultdict[str, Counter[str]] = defaultdict(Counter)
        total: Counter[str] = Counter()
        for example in examples:
            total.update(example.tags)
            for word, tag in zip(example.words, example.tags, strict=True):
                counts[word][tag] += 1
                folded[word.lower()][tag] += 1
        exact, lower = ({word: _commonest(found) for word, found in table.items()} for table in (counts, folded))
        return cls(tags, exact, lower, _commonest(total))

    def predict(self, sentences: Sequence[Sequence[str]]) -> list[tuple[str, ...]]:
        """Return the tags of each sentence."""
        return [tuple(self._tag(word) for word in words) for words in sentences]

    def chains(self, sentences: Sequence[Sequence[str]]) -> Chains:
        """Return scores of the tags of sentences that have words: one for each word's tag, 0 for all others."""
        number = {tag: place for place, tag in enumerate(self._order)}
        lengths = torch.tensor([len(words) for words in sentences])
        scores = torch.zeros(len(sentences), int(lengths.max()), len(self._order))
        for line, tags in zip(scores, self.predict(sentences), strict=True):
            line[range(len(tags)), [number[tag] for tag in tags]] = SURE
        never = torch.zeros(len(self._order))
        return Chains(scores, lengths, never, torch.zeros(len(never), len(never)), never)

    def _tag(self, word: str) -> str:
        return self._tags.get(word) or self._folded.get(word.lower(), self._otherwise)

    def state(self) -> dict[str, Any]:
        return {"order": self._order, "tags": self._tags, "folded": self._folded, "otherwise": self._otherwise}

    @classmethod
    def restored(cls, state: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Self:
        return cls(state["order"], state["tags"], state["folded"], state["otherwise"])


class FeatureChain(Baseline):
    """A conditional random field over features of words: the word, its beginnings and ends, its shape, its neighbours.

    Fitted by CRFsuite. Its weights are then read out, so that answers need PyTorch alone.
    """

    name = "CRF over features of words"

    def __init__(self, tags: Sequence[str], features: Sequence[str], weights: Tensor, between: Tensor) -> None:
        self._tags, self._features = tuple(tags), tuple(features)
        self._weights, self._between = weights, between  # (features + 1, T), the last all 0; (T, T)
        self._place = {feature: place for place, feature in enumerate(self._features)}

    @classmethod
    def fit(cls, examples: Sequence[TaggedWords], tags: Sequence[str]) -> Self:
        """Learn from tagged sentences; `tags` is the order of the scores of `chains`.

        Raises:
            ImportError: python-crfsuite is not installed.
        """
        import pycrfsuite

        examples = examples[:: -(-sum(len(example.words) for example in examples) // WORDS)]
        words = sum(len(example.words) for example in examples)
        steps = round(SECONDS / (words * (A_WORD + A_PAIR * len(tags) ** 2)))
        trainer = pycrfsuite.Trainer(algorithm="l2sgd", verbose=False)
        trainer.set_params({"c2": 0.1, "max_iterations": max(8, min(STEPS, steps))})
        for example in examples:
            trainer.append([list(_features(example.words, place)) for place in range(len(example.words))], example.tags)
        with tempfile.TemporaryDirectory() as folder:
            file = str(Path(folder) / "chain")
            trainer.train(file)
            with pycrfsuite.Tagger().open(file) as tagger:
                learnt = tagger.info()
        number = {tag: place for place, tag in enumerate(tags)}
        kept = {key: weight for key, weight in learnt.state_features.items() if abs(weight) >= LEAST}
        features = sorted({feature for feature, _ in kept})
        place = {feature: row for row, feature in enumerate(features)}
        weights, between = torch.zeros(len(features) + 1, len(tags)), torch.zeros(len(tags), len(tags))
        for (feature, tag), weight in kept.items():
            weights[place[feature], number[tag]] = weight
        for (tag, after), weight in learnt.transitions.items():
            between[number[tag], number[after]] = weight
        return cls(tags, features, weights, between)

    def chains(self, sentences: Sequence[Sequence[str]]) -> Chains:
        """Return the scores of the tags of sentences that have words."""
        none = len(self._features)
        rows = [
            torch.tensor([self._place.get(one, none) for place in range(len(words)) for one in _features(words, place)])
            for words in sentences
        ]
        lengths = torch.tensor([len(words) for words in sentences])
        scores = torch.zeros(len(sentences), int(lengths.max()), len(self._tags))
        for line, row, words in zip(scores, rows, sentences, strict=True):
            counts = torch.tensor([sum(1 for _ in _features(words, place)) for place in range(len(words))])
            line[: len(words)] = F.embedding_bag(row, self._weights, counts.cumsum(0) - counts, mode="sum")
        never = torch.zeros(len(self._tags))
        return Chains(scores, lengths, never, self._between, never)

    def predict(self, sentences: Sequence[Sequence[str]]) -> list[tuple[str, ...]]:
        """Return the tags of each sentence."""
        return [
            tuple(self._tags[tag] for tag in self.chains([words]).best()[0]) if words else () for words in sentences
        ]

    def state(self) -> dict[str, Any]:
        return {"tags": self._tags, "features": self._features}

    def tensors(self) -> dict[str, Tensor]:
        kept = self._weights.nonzero(as_tuple=True)
        return {"places": torch.stack(kept), "weights": self._weights[kept], "between": self._between}

    @classmethod
    def restored(cls, state: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Self:
        weights = torch.zeros(len(state["features"]) + 1, len(state["tags"]))
        weights[tuple(tensors["places"])] = tensors["weights"]
        return cls(state["tags"], state["features"], weights, tensors["between"])


def _features(words: Sequence[str], place: int) -> Iterator[str]:
    """Yield the features of a word in its sentence."""
    word, lower = words[place], words[place].lower()
    shape, before, after = (
        _shape(words[there]) if 0 <= there < len(words) else "none" for there in (place, place - 1, place + 1)
    )
    yield "always"
    yield f"word {lower}"
    yield f"shape {shape}"
    yield f"shapes {before} {shape}"
    yield f"shapes {shape} {after} after"
    yield f"shapes {before} {shape} {after} around"
    yield f"length {min(12, len(word))}"
    for size in range(1, min(4, len(word)) + 1):
        yield f"begins {lower[:size]}"
        yield f"ends {lower[-size:]}"
    for kind, holds in (("title", word.istitle()), ("upper", word.isupper()), ("digits", word.isdigit())):
        if holds:
            yield kind
    for away in (-2, -1, 1, 2):
        if not 0 <= place + away < len(words):
            yield f"{away} none"
            continue
        other = words[place + away]
        yield f"{away} word {other.lower()}"
        yield f"{away} shape {_shape(other)}"
        if abs(away) == 1:
            yield f"{away} ends {other.lower()[-3:]}"
    if place:
        yield f"pair {words[place - 1].lower()} {lower}"
    if place + 1 < len(words):
        yield f"pair {lower} {words[place + 1].lower()} after"


def _shape(word: str) -> str:
    """Return a word with X for capitals, x for other letters, 0 for digits, repetitions shortened.

    >>> _shape("McDonald's-2016")
    "XxXx'x-0"
    """
    kinds = ("X" if one.isupper() else "x" if one.isalpha() else "0" if one.isdigit() else one for one in word[:32])
    return re.sub(r"(.)\1+", r"\1", "".join(kinds), flags=re.DOTALL)


def _commonest(counts: Counter[str]) -> str:
    return counts.most_common(1)[0][0]
