"""A language model and its n-gram model: what is saved is the one, the other, or their interpolation."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from regard.tasks import LanguageModeling, load
from regard.tasks._choice import SHARES, Choice
from regard.tasks.baselines import WittenBell, ngrams

from .small import CASES

CASE = CASES["language_modeling"]


@pytest.fixture(scope="module")
def task() -> LanguageModeling:
    """Return a small model that has hardly learnt, so that there is something to choose."""
    settings = CASE.settings(temperature=0.0)
    budget = dataclasses.replace(settings.training.budget, steps=15)
    training = dataclasses.replace(settings.training, budget=budget)
    return LanguageModeling(dataclasses.replace(settings, training=training)).fit(CASE.train, CASE.test)


def test_chances_are_those_of_the_losses() -> None:
    """The distribution after each history sums to 1, and holds what `losses` says of the token that came."""
    row = np.random.default_rng(0).integers(0, 6, 200)
    model = WittenBell.fit(row[:120], vocab_size=7, order=4)
    losses = model.losses(row)
    for place in range(120, 200):
        chances = model.chances(row[:place].tolist())
        assert chances.sum() == pytest.approx(1)
        assert -np.log(chances[row[place]]) == pytest.approx(losses[place - 1])
    assert model.chances([]).sum() == pytest.approx(1)


def test_very_many_ngrams_are_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """The longest orders are left out; the model stays a distribution."""
    monkeypatch.setattr(ngrams, "MOST", 40)
    model = WittenBell.fit(np.random.default_rng(0).integers(0, 6, 200), vocab_size=6, order=4)
    assert "2-gram" in model.name or "1-gram" in model.name
    assert model.chances([1, 2, 3]).sum() == pytest.approx(1)


def test_the_choice_is_never_behind_the_ngrams(task: LanguageModeling) -> None:
    """Five weights are compared on the development text."""
    assert set(task.choice_.trials) == set(SHARES)
    kept = task.choice_.trials[task.choice_.share]["nats_per_token"]
    assert kept <= task.choice_.trials[0.0]["nats_per_token"]
    assert task.evaluate(CASE.test).figures["nats_per_token"] == pytest.approx(kept)
    assert task.evaluate(CASE.test).baseline["nats_per_token"] == task.choice_.trials[0.0]["nats_per_token"]


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_what_is_saved_answers(share: float, task: LanguageModeling, tmp_path: Path) -> None:
    """Figures and continuations follow the weight, before and after saving."""
    task.choice_ = Choice(share, task.choice_.trials)
    row = task._row(CASE.test)
    ours, theirs = task._losses(task.model_, row, 0), task.baseline_.losses(row)  # type: ignore[union-attr]
    expected = -np.log(share * np.exp(-ours) + (1 - share) * np.exp(-theirs)).mean()
    found = task.evaluate(list(CASE.test))
    assert found.figures["nats_per_token"] == pytest.approx(expected)
    told = task.predict(["red gre", ""])
    history = task.tokenizer_.encode("red gre")
    logits = task.model_(torch.tensor([history]))[0, -1]
    chances = share * logits.softmax(-1).detach().numpy() + (1 - share) * task.baseline_.chances(history)  # type: ignore[union-attr]
    assert told[0].startswith("red gre" + task.tokenizer_.decode([int(chances.argmax())]))
    task.save(tmp_path)
    again = load(tmp_path)
    assert again.predict(["red gre", ""]) == told
    assert again.evaluate(list(CASE.test)).figures == found.figures


def test_ngrams_alone(tmp_path: Path) -> None:
    """With --only baseline no transformer is trained, and texts are continued all the same."""
    alone = LanguageModeling(CASE.settings(only="baseline")).fit(CASE.train, CASE.test)
    alone.save(tmp_path)
    assert not (tmp_path / "model").exists()
    again = load(tmp_path)
    assert again.predict(CASE.inputs) == alone.predict(CASE.inputs)
    assert "what is saved" in str(again.evaluate(CASE.test))
