"""Settings that follow from the data and the budget: decided, said, kept for a run that goes on."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from regard.corpora import Images, TextPair
from regard.errors import ArgumentError
from regard.tasks import (
    ImageClassification,
    ImageClassificationSettings,
    Translation,
    TranslationSettings,
    _recipe,
    load,
)
from regard.tasks._lexicon import learn_lexicon
from regard.tasks._recipe import decided, epochs_for
from regard.training import Budget, Decided, TrainingSettings, train

from .small import IMAGES, PAIRS


def with_minutes(settings: Any, minutes: float | None, **more: Any) -> Any:
    """Return settings with a limit of time."""
    budget = Budget(epochs="auto", minutes=minutes)
    return dataclasses.replace(settings, training=dataclasses.replace(settings.training, budget=budget), **more)


def pairs(count: int, words: int) -> list[TextPair]:
    """Return pairs of this many words a side."""
    return [TextPair("word " * words, "Wort " * words)] * count


def of(settings: Any, examples: Any) -> Any:
    """Return the settings as the task decides them."""
    task = {TranslationSettings: Translation, ImageClassificationSettings: ImageClassification}[type(settings)]
    return decided(settings, task(settings)._advice(examples))[0]


def test_more_text_gets_a_larger_model_and_vocabulary() -> None:
    """By text, not by the number of pairs; what the user gave stays."""
    few, many = (of(TranslationSettings(), pairs(count, 10)) for count in (5_000, 120_000))
    assert (few.embed_dim, few.vocab_size) < (many.embed_dim, many.vocab_size)
    assert few.training.batches.tokens_per_step < many.training.batches.tokens_per_step
    sizes = [of(TranslationSettings(), pairs(count, 10)).vocab_size for count in (1_000, 5_000, 15_000, 10**6)]
    assert sizes == [1000, 2000, 3000, 8000]  # of 0.1, 0.5, 1.5 and 100 MB
    assert few.training.budget.epochs > many.training.budget.epochs
    long = of(TranslationSettings(), pairs(5_000, 100))
    assert long.embed_dim > few.embed_dim
    given = of(TranslationSettings(embed_dim=40, num_layers=7, vocab_size=123), pairs(5_000, 10))
    assert (given.embed_dim, given.num_layers, given.vocab_size) == (40, 7, 123)


def test_few_minutes_get_a_smaller_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the minutes hold follows from the speed of the machine."""
    monkeypatch.setattr(_recipe, "_speed", lambda: 4e10)
    examples = Images(np.zeros((60_000, 28, 28, 1), np.uint8), ("a",) * 60_000)
    hour, five = (of(with_minutes(ImageClassificationSettings(), minutes), examples) for minutes in (600, 5))
    assert hour.embed_dim > five.embed_dim
    assert of(ImageClassificationSettings(), examples).embed_dim == hour.embed_dim
    monkeypatch.setenv("WORLD_SIZE", "2")  # processes could measure different speeds
    assert of(with_minutes(ImageClassificationSettings(), 5), examples).embed_dim == hour.embed_dim


@pytest.mark.parametrize(("side", "patches"), [(8, 16), (28, 49), (64, 64), (224, 49)])
def test_a_picture_has_about_fifty_patches(side: int, patches: int) -> None:
    """Patches follow from the size of pictures."""
    found = of(ImageClassificationSettings(), Images(np.zeros((3, side, side, 3), np.uint8), ("a",) * 3))
    assert (-(-side // found.patch_size)) ** 2 == patches
    assert found.shift == max(1, round(side / 14))


def test_fewer_examples_get_more_epochs() -> None:
    """By the square root, within limits."""
    assert [epochs_for(count, 20, 50_000, 200) for count in (100, 12_500, 50_000, 10**9)] == [200, 40, 20, 3]


def test_a_run_says_and_keeps_what_was_decided(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The reasons are told once training begins; a run that goes on keeps its model, on a slower machine too."""
    told: list[Any] = []
    settings = with_minutes(ImageClassificationSettings(patch_size=2), 1.0)
    settings = dataclasses.replace(
        settings, training=dataclasses.replace(settings.training, budget=Budget(epochs="auto", minutes=1, steps=2))
    )
    task = ImageClassification(settings).fit(IMAGES, IMAGES, folder=tmp_path, listeners=[told.append])
    (said,) = [event.lines for event in told if isinstance(event, Decided)]
    assert any(line.startswith("--embed-dim 64 --num-layers 2: 200 pictures, and the minutes hold") for line in said)
    assert not any("patch-size" in line for line in said)
    assert load(tmp_path).settings == task.settings
    assert task.settings.training.budget.epochs == 200
    monkeypatch.setattr(_recipe, "epochs_for", lambda *given: 7)
    monkeypatch.setattr("regard.tasks.image_classification.SIZES", (((32, 1), 0),))
    again = ImageClassification(settings).fit(IMAGES, IMAGES, folder=tmp_path)
    assert again.settings == task.settings
    assert ImageClassification(settings).fit(IMAGES, IMAGES).settings.embed_dim == 32


DAMAGED = ["", "[", "3", "[3]", '[{"values": {}}]', '[{"values": {}, "reason": 3}]', '[{"values": 3, "reason": ""}]',
           '[{"values": {"width": 3}, "reason": ""}]', "\xff"]  # fmt: skip


@pytest.mark.parametrize("content", DAMAGED)
def test_a_damaged_recipe_is_said(tmp_path: Path, content: str) -> None:
    """With its place and what to do, and it stays as it is."""
    (tmp_path / "checkpoints" / "1").mkdir(parents=True)
    path = tmp_path / _recipe.FILE
    path.write_bytes(content.encode("latin-1"))
    with pytest.raises(ArgumentError, match=r"recipe\.json cannot be read: .* remove it and give them as options"):
        ImageClassification(ImageClassificationSettings()).fit(IMAGES, IMAGES, folder=tmp_path)
    assert path.read_bytes() == content.encode("latin-1")


def test_without_a_task_there_is_no_rule() -> None:
    """The loop alone asks for numbers."""

    class Nothing:
        lengths = (1,)

    batches = dataclasses.replace(TrainingSettings().batches, tokens_per_step=None)
    rules = {"epochs is 'auto'": {"budget": Budget(epochs="auto")}, "tokens_per_step is None": {"batches": batches}}
    for match, part in rules.items():
        with pytest.raises(ArgumentError, match=match):
            train(nn.Linear(1, 1), Nothing(), TrainingSettings(**part))  # type: ignore[arg-type]


def test_the_lexicon_finds_what_stands_for_what() -> None:
    """Of made pairs, each colour's letter; a token without pairs has no translations."""
    words = sorted({word for one in PAIRS for word in one.source.split()})
    number = {word: 4 + place for place, word in enumerate(words)}
    sources = [[number[word] for word in one.source.split()] for one in PAIRS[:200]]
    targets = [[10 + number[word] for word in one.source.split()][::-1] for one in PAIRS[:200]]
    lexicon = learn_lexicon(sources, targets, 30)
    ids, shares = lexicon
    assert [int(ids[number[word], 0]) for word in words] == [10 + number[word] for word in words]
    assert bool((shares[list(number.values()), 0] > 0.8).all())
    assert float(shares[3].sum()) == 0
    source, target = torch.tensor([sources[0]]), torch.tensor([targets[0]])
    found = lexicon.alignment(source, target)[0]
    assert bool((found.argmax(-1) == torch.arange(len(sources[0])).flip(0)).all())
    torch.testing.assert_close(found.sum(-1), torch.ones(len(sources[0])))
    assert float(lexicon.alignment(source, torch.tensor([[29]])).sum()) == 0  # a token that stands for nothing here
