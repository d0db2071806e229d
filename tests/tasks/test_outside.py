"""How far O is lowered: what development data prefers, nothing where that is chance, kept with the run."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from regard.corpora import TaggedWords
from regard.tasks import NamedEntities, NamedEntitySettings
from regard.tasks._chains import Chains
from regard.tasks._outside import HIGHEST, SettledTags, best_outside, tried
from regard.tasks.baselines import FeatureChain

from .small import CASES


def figures(amount: float, best: float = 1.0) -> dict[str, float]:
    """Return figures with a hill at one amount."""
    f1 = 0.4 - 0.05 * abs(amount - best)
    return {"f1": f1, "macro_f1": f1}


def test_the_hill_is_found() -> None:
    """The amount with the best figures is taken, with the figures there."""
    amount, plain, best = best_outside(figures, figures(0.0), "f1", 900)
    assert amount == 1.0
    assert plain == figures(0.0)
    assert best == figures(1.0)


def test_a_gain_that_may_be_chance_is_none() -> None:
    """With few entities the same hill says nothing; a lonely peak beside valleys says nothing either."""
    assert best_outside(figures, figures(0.0), "f1", 50)[0] == 0

    def peak(amount: float) -> dict[str, float]:
        return {"f1": 0.5 if amount == 1.5 else 0.4 - 0.2 * (amount > 0)}

    assert best_outside(peak, peak(0.0), "f1", 900)[0] == 0


def test_little_is_tried_where_little_can_be_gained() -> None:
    """The best threshold of probabilities is half of the best F1; where nothing is found yet all are tried."""
    assert len(tried(0.97)) < len(tried(0.5)) < len(tried(0.1))
    assert max(tried(0.0)) == HIGHEST


def test_lowered_chains() -> None:
    """One tag loses at every word, and the chains that it was asked of stay as they were."""
    scores = torch.tensor([[[1.0, 0.0], [1.0, 0.5]]])
    none = torch.zeros(2)
    chains = Chains(scores, torch.tensor([2]), none, torch.zeros(2, 2), none)
    assert chains.best() == [[0, 0]]
    assert chains.lowered(0, 0.75).best() == [[0, 1]]
    assert chains.best() == [[0, 0]]


def names(share: float) -> list[TaggedWords]:
    """Return 400 equal sentences in which a word is a name as often as that."""
    draw = np.random.default_rng(0)
    tags = ["B-name" if draw.random() < share else "O" for _ in range(400)]
    return [TaggedWords(("we", "saw", "rose", "at", "noon"), ("O", "O", tag, "O", "O")) for tag in tags]


def fitted(monkeypatch: pytest.MonkeyPatch, share: float, dev: float, folder: Path | None = None) -> NamedEntities:
    """Return a task whose cheap model says for that word what it is worth where names are so frequent."""
    odds = float(np.log(share / (1 - share)))
    weights = torch.tensor([[6.0, 0.0], [-6.0, odds], [0.0, 0.0]])
    cheap = FeatureChain(("O", "B-name"), ("always", "word rose"), weights, torch.zeros(2, 2))
    monkeypatch.setattr(NamedEntities, "_fit_baseline", lambda task, examples: cheap)
    return NamedEntities(NamedEntitySettings(only="baseline")).fit(names(share), names(dev), folder=folder)


def test_rare_names_are_found_and_saved(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A word is a name in a fifth of its places: O is more probable, and F1 wants the names."""
    task, dev = fitted(monkeypatch, 0.2, 0.2, tmp_path / "run"), names(0.2)
    settled = task.settled_[0.0]
    assert settled.outside >= 0.5
    assert settled.plain < 0.2
    assert settled.best > 0.28
    assert "development f1" in task.settled_said()
    again = NamedEntities.load(tmp_path / "run")
    assert again.settled_ == task.settled_
    inputs = [one.words for one in dev]
    assert [one.tags for one in again.predict(inputs)] == [one.tags for one in task.predict(inputs)]
    assert again.evaluate(dev).figures["f1"] == pytest.approx(settled.best)
    confidence = np.mean([one.confidence for answer in again.predict(inputs) for one in answer.entities])
    assert 0.1 < confidence < 0.3  # the names that were given are right as often as that


def test_what_does_not_answer_is_shown_at_its_best() -> None:
    """With the transformer alone kept, the baseline beside it has its O lowered all the same."""
    case = CASES["ner"]
    task = NamedEntities(case.settings(only="model")).fit(case.train[:60], case.train[60:80])
    assert set(task.settled_) == {0.0, 1.0}
    assert task.choice_.share == 1


def test_confidence_where_training_knew_too_little(monkeypatch: pytest.MonkeyPatch) -> None:
    """Most names of training were not tagged: chances of the scores as they are would be far too small."""
    task, dev = fitted(monkeypatch, 0.15, 0.9), names(0.9)
    answers = task.predict([one.words for one in dev])
    confidences = [one.confidence for answer in answers for one in answer.entities]
    assert len(confidences) == 400
    assert np.mean(confidences) > 0.7  # 0.9 are right
    assert task.settled_[0.0].shift > 0


def test_old_runs_have_temperatures_alone(tmp_path: Path) -> None:
    """A run of version 0.1 is read: nothing is lowered."""
    tagged = CASES["ner"].train
    task = NamedEntities(NamedEntitySettings(only="baseline")).fit(tagged[:60], tagged[60:80], folder=tmp_path)
    path = tmp_path / "task.json"
    stored = json.loads(path.read_text(encoding="utf-8"))
    del stored["state"]["settled"]
    stored["state"]["heat"] = [[0.0, 1.5]]
    path.write_text(json.dumps(stored), encoding="utf-8")
    again = NamedEntities.load(tmp_path)
    assert again.settled_ == {0.0: SettledTags(1.5)}
    assert task.predict(["dr red went"])
