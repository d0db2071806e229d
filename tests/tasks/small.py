"""A small case of every task: examples, settings that train in a second, an input."""

from __future__ import annotations

import dataclasses
import random
from dataclasses import dataclass
from typing import Any

import numpy as np

from regard.corpora import Document, Images, LabelledText, TaggedWords, TextPair
from regard.tasks import (
    ImageClassification,
    LanguageModeling,
    NamedEntities,
    Sentiment,
    Summarization,
    Task,
    Translation,
)
from regard.training import Batches, Budget, Optimizer, TrainingSettings

NAMES = "ada alan grace edsger donald barbara tony robin leslie frances".split()
PLACES = "london paris rome oslo lima cairo delhi quito accra dakar".split()
COLOURS = "red green blue white black".split()


@dataclass(frozen=True)
class Case:
    """A task that a model learns in a second, because a rule makes the answers."""

    task: type[Task[Any, Any]]
    train: Any
    test: Any
    inputs: Any
    better: float
    """The headline that training must reach."""
    changes: dict[str, Any] = dataclasses.field(default_factory=dict)
    steps: int = 120

    def settings(self, **more: Any) -> Any:
        """Return settings of a small model."""
        sizes = {"embed_dim": 32, "num_heads": 2, "num_layers": 1, "dropout": 0.0}
        training = TrainingSettings(
            optimizer=Optimizer(lr=5e-3),
            batches=Batches(tokens_per_step=512, tokens_at_once=2048),
            budget=Budget(epochs=None, steps=self.steps),
        )
        return self.task.Settings(**{**sizes, **self.changes, "training": training, **more})


def _tagged(count: int) -> list[TaggedWords]:
    chance = random.Random(0)
    found = []
    for _ in range(count):
        name, place = chance.choice(NAMES), chance.choice(PLACES)
        words = ["dr", name, "went", "to", place, "and", "saw", chance.choice(COLOURS)]
        tags = ["O", "B-person", "O", "O", "B-place", "O", "O", "O"]
        found.append(TaggedWords(tuple(words), tuple(tags)))
    return found


def _labelled(count: int, *, several: bool = False) -> list[LabelledText]:
    chance = random.Random(1)
    found = []
    for number in range(count):
        good = bool(number % 2)
        word = chance.choice(["good", "fine"] if good else ["bad", "poor"])
        labels = ["positive" if good else "negative"]
        text = f"the {chance.choice(PLACES)} was {word}"
        if several and chance.random() < 0.5:
            text, labels = text + " indeed", [*labels, "sure"]
        found.append(LabelledText(text, tuple(labels)))
    return found


def _pairs(count: int) -> list[TextPair]:
    chance = random.Random(2)
    found = []
    for _ in range(count):
        words = [chance.choice(COLOURS) for _ in range(chance.randint(1, 4))]
        found.append(TextPair(" ".join(words), " ".join(word[0] for word in words)))
    return found


def _images(count: int) -> Images:
    pixels = np.random.default_rng(0).integers(0, 80, (count, 8, 8, 1)).astype(np.uint8)
    labels = tuple("left" if number % 2 else "right" for number in range(count))
    for image, label in zip(pixels, labels, strict=True):
        image[:, slice(0, 4) if label == "left" else slice(4, 8)] += 150
    return Images(pixels, labels)


def _documents(count: int) -> list[Document]:
    chance = random.Random(3)
    return [Document(str(number), " ".join(chance.choice(COLOURS) for _ in range(60)) + ".") for number in range(count)]


TAGGED, LABELLED, PAIRS, IMAGES, DOCUMENTS = _tagged(300), _labelled(300), _pairs(600), _images(200), _documents(20)
SEVERAL = _labelled(300, several=True)

CASES = {
    "ner": Case(NamedEntities, TAGGED[:250], TAGGED[250:], ["dr ada went to oslo", ("dr", "zoe")], 0.95),
    "sentiment": Case(Sentiment, LABELLED[:250], LABELLED[250:], ["the oslo was fine", ""], 0.95),
    "several": Case(Sentiment, SEVERAL[:250], SEVERAL[250:], ["the oslo was bad indeed"], 0.95),
    "summarization": Case(
        Summarization, PAIRS[:500], PAIRS[500:530], ["red green"], 0.75, {"tokenizer": "characters", "beams": 2}, 300
    ),
    "translation": Case(
        Translation, PAIRS[:500], PAIRS[500:530], ["blue"], 50.0,
        {"tokenizer": "words", "beams": 1, "max_target": 12}, 300,
    ),
    "language_modeling": Case(
        LanguageModeling, DOCUMENTS[:16], DOCUMENTS[16:], ["red gre"], 1.2, {"context": 32, "max_new_tokens": 8}
    ),
    "image_classification": Case(
        ImageClassification, IMAGES, IMAGES, IMAGES.pixels[:3], 0.95, {"patch_size": 2, "shift": 0}, 60
    ),
}  # fmt: skip
