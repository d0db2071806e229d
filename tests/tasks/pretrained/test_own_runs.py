"""A task goes on from a run of its own kind: the same vocabulary and sizes, the weights where training begins."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch

from regard.corpora import LabelledText
from regard.errors import ArgumentError
from regard.tasks import Sentiment, load
from regard.training import Budget, Evaluated

from ..small import CASES, LABELLED
from .test_round_trip import training


@pytest.mark.parametrize("name", CASES)
def test_it_goes_on(tmp_path: Path, name: str) -> None:
    """The first evaluation, after one tiny step, is that of the old run; what comes out is a run of the same kind."""
    case = CASES[name]
    short = dataclasses.replace(case.settings().training, budget=Budget(epochs=None, steps=min(case.steps, 60)))
    settings = dataclasses.replace(case.settings(training=short), only="model")
    old = case.task(settings).fit(case.train, case.test, folder=tmp_path / "old")
    heard: list[Any] = []
    settings = case.task.FineTuning(model=str(tmp_path / "old"), training=training(1, lr=1e-9, per_step=2048))
    task = case.task(settings)
    assert type(task) is case.task
    task.fit(case.train[:200] if name != "image_classification" else case.train, case.test, listeners=[heard.append])
    first = next(event for event in heard if isinstance(event, Evaluated))
    wanted = old.evaluate(case.test).figures
    if name != "several":  # whose thresholds are chosen at the end
        assert first.figures[task.headline] == pytest.approx(wanted[task.headline], rel=1e-3, abs=1e-3)
    task.save(tmp_path / "new")
    assert load(tmp_path / "new").predict(case.inputs) == task.predict(case.inputs)


def test_other_labels(tmp_path: Path) -> None:
    """With other labels the head begins afresh, and the rest is the old run's; only the last layers may learn."""
    case = CASES["sentiment"]
    old = Sentiment(case.settings(evidence=False)).fit(LABELLED[:100], LABELLED[100:120], folder=tmp_path / "old")
    renamed = [LabelledText(one.text, tuple(f"very {label}" for label in one.labels)) for one in LABELLED]
    settings: Any = Sentiment.FineTuning(model=str(tmp_path / "old"), train_layers=0, training=training(2, lr=1e-2))
    task = Sentiment(settings).fit(renamed[:100], renamed[100:120])
    before, after = old.model_.state_dict(), task.model_.state_dict()
    changed = {name for name in after if not torch.equal(after[name], before[name])}
    assert changed == {name for name in after if name.startswith(("head.", "encoder.norm."))}
    with pytest.raises(ArgumentError, match="lora is 4"):
        Sentiment(dataclasses.replace(settings, lora=4, train_layers=None))
