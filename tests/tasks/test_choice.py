"""What a run keeps: never what development data puts behind the baseline, and never in silence."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from regard.corpora import Images, LabelledText, TaggedWords
from regard.errors import ArgumentError
from regard.tasks import ImageClassification, NamedEntities, Sentiment, Task, load
from regard.tasks._choice import Choice, choose
from regard.tasks.baselines import (
    Baseline,
    FirstWords,
    MostFrequentTag,
    NearestSource,
    PictureKernelRidge,
    TfidfLogisticRegression,
    read,
    write,
)
from regard.training import Budget

from .small import CASES, IMAGES, LABELLED, PAIRS, SEVERAL, TAGGED

TAGS = ("O", "B-person", "B-place")


def trials(**figures: float) -> dict[float, dict[str, float]]:
    """Return the main figure at each share, by its letter."""
    shares = dict(zip("abcde", (0.0, 0.25, 0.5, 0.75, 1.0), strict=True))
    return {shares[name]: {"f1": value} for name, value in figures.items()}


@pytest.mark.parametrize(
    ("given", "share"),
    [
        ({"a": 0.5, "e": 0.4}, 0.0),
        ({"a": 0.4, "e": 0.5}, 1.0),
        ({"a": 0.5, "b": 0.6, "c": 0.7, "d": 0.6, "e": 0.4}, 0.5),
        ({"a": 0.5, "b": 0.5, "c": 0.5, "d": 0.5, "e": 0.5}, 1.0),  # nothing is better than the transformer
        ({"a": 0.0, "b": 0.0, "c": 0.0, "d": 0.0, "e": 0.0}, 0.0),  # nothing found at all
        ({"a": 0.6, "b": 0.5, "c": 0.5, "d": 0.71, "e": 0.3}, 0.0),  # a lonely peak is luck
    ],
)
def test_choosing(given: dict[str, float], share: float) -> None:
    """The best after smoothing is taken, and nothing that is behind the baseline."""
    found = choose(trials(**given), "f1", "max")
    assert found.share == share
    assert Choice.from_dict(json.loads(json.dumps(found.to_dict()))) == found


def test_macro_f1_counts_too() -> None:
    """What is ahead in the main figure and behind the baseline in macro F1 is not taken."""
    found = {0.0: {"f1": 0.5, "macro_f1": 0.4}, 1.0: {"f1": 0.7, "macro_f1": 0.3}}
    assert choose(found, "f1", "max").share == 0
    assert choose({0.0: {"nats": 1.0}, 1.0: {"nats": 2.0}}, "nats", "min").share == 0


def learnt() -> list[tuple[Baseline, Any]]:
    """Return a baseline of every kind, with inputs."""
    words = [one.words for one in TAGGED[:5]]
    texts = [one.text for one in LABELLED[:5]]
    found: list[tuple[Baseline, Any]] = [
        (MostFrequentTag.fit(TAGGED[:50], TAGS), words),
        (TfidfLogisticRegression.fit(LABELLED[:60]), texts),
        (TfidfLogisticRegression.fit(SEVERAL[:60]), texts),
        (PictureKernelRidge.fit(IMAGES), IMAGES.pixels[:5]),
        (FirstWords.fit(PAIRS), ["a b c d e f g h"]),
        (NearestSource.fit(PAIRS), [one.source for one in PAIRS[:5]]),
    ]
    return found


def test_baselines_are_saved_whole(tmp_path: Path) -> None:
    """Each baseline that is read back answers as before, to the bit, and no file of it is a pickle."""
    for number, (baseline, inputs) in enumerate(learnt()):
        folder = tmp_path / str(number)
        write(baseline, folder)
        again: Any = read(folder)
        assert type(again) is type(baseline)
        assert again.name == baseline.name
        assert again.predict(inputs) == baseline.predict(inputs)  # type: ignore[attr-defined]
        if hasattr(baseline, "probabilities"):
            assert torch.equal(again.probabilities(inputs), baseline.probabilities(inputs))
        assert {path.suffix for path in folder.iterdir()} <= {".json", ".safetensors"}
    assert read(tmp_path) is None
    (tmp_path / "0" / "baseline.json").write_text("{}", encoding="utf-8")
    with pytest.raises(ArgumentError, match="cannot be read"):
        read(tmp_path / "0")


def test_a_chain_of_features_is_saved_and_agrees_with_crfsuite(tmp_path: Path) -> None:
    """The weights read out of CRFsuite learn the rule, also for unknown words in known places."""
    pytest.importorskip("pycrfsuite", reason="needs python-crfsuite, of the extra train")
    from regard.tasks.baselines import FeatureChain

    baseline = FeatureChain.fit(TAGGED[:200], TAGS)
    words = [one.words for one in TAGGED[200:]] + [("dr", "grog", "went", "to", "ubu", "and", "saw", "red")]
    found = baseline.predict([*words, ()])
    assert found[:-2] == [one.tags for one in TAGGED[200:]]
    assert found[-2][1] == "B-person"
    assert found[-1] == ()
    write(baseline, tmp_path)
    again = read(tmp_path)
    assert isinstance(again, FeatureChain)
    assert torch.equal(again.chains(words).scores, baseline.chains(words).scores)


def untrained(name: str, **more: Any) -> Task[Any, Any]:
    """Return a task whose transformer had one step, and so is worse than its baseline."""
    case = CASES[name]
    settings = case.settings(**more)
    training = dataclasses.replace(settings.training, budget=Budget(epochs=None, steps=1))
    return case.task(dataclasses.replace(settings, training=training)).fit(case.train, case.test)


@pytest.mark.parametrize("name", ["ner", "sentiment", "several", "image_classification", "translation"])
def test_what_is_saved_is_never_behind_the_baseline(name: str, tmp_path: Path) -> None:
    """Where the transformer is worse, the baseline or a mix answers, before and after `load`, and says so."""
    case, task = CASES[name], untrained(name)
    assert task.choice_.share < 1
    found = task.evaluate(case.test)
    assert found.figures[found.headline] >= found.baseline[found.headline] > 0
    said = task.choice_.said(task.watched, found.baseline_name)
    assert "MIX" in said or "BASELINE" in said
    task.save(tmp_path)
    again = load(tmp_path)
    assert again.choice_ == task.choice_
    assert again.predict(case.inputs) == task.predict(case.inputs)
    assert again.evaluate(case.test) == found


def test_one_of_the_two_alone(tmp_path: Path) -> None:
    """--only model answers with the transformer however bad; --only baseline trains and saves no transformer."""
    case = CASES["sentiment"]
    model = untrained("sentiment", only="model")
    assert model.choice_.name == "model"
    found = model.evaluate(case.test)
    assert found.uses == "model"
    assert found.baseline[found.headline] > 0.9
    cheap = case.task(case.settings(only="baseline")).fit(case.train, case.test)
    assert cheap.choice_.name == "baseline"
    cheap.save(tmp_path)
    assert not (tmp_path / "model").exists()
    again = load(tmp_path)
    assert again.predict(case.inputs) == cheap.predict(case.inputs)
    assert "what is saved" in str(again.evaluate(case.test))
    with pytest.raises(ArgumentError, match="kept the baseline alone"):
        again.attention("the oslo was fine")


def test_the_report_of_labels() -> None:
    """Precision, recall and support of each label, what is taken for what, the surest errors, calibration."""
    task = CASES["sentiment"].task(CASES["sentiment"].settings()).fit(LABELLED[:250], LABELLED[250:])
    wrong = [LabelledText("the rome was fine", ("negative",)), LabelledText("the rome was new", ("mixed",))]
    report = task.evaluate([*LABELLED[250:], *wrong]).report
    rows = {row.label: row for row in report.labels}
    assert rows["negative"].recall == pytest.approx(25 / 26)
    assert rows["mixed"].predicted == 0
    assert ("negative", "positive", 1) in report.confusion
    assert report.mistakes[0].text == "the rome was fine"
    assert report.mistakes[0].confidence > 0.5
    assert sum(one.count for one in report.reliability) == 52
    text = "\n".join(report.lines())
    assert "labels that the model does not know, so that it is wrong each time: mixed (1)" in text
    assert "are in the training data too" in text
    with pytest.raises(ArgumentError, match="knows none of the labels of this data, one, two; it was trained on negat"):
        task.evaluate([LabelledText("a", ("one",)), LabelledText("b", ("two",))])


def test_the_report_of_entities() -> None:
    """A label that is never predicted is named; a wrong entity is shown with what is there."""
    task = CASES["ner"].task(CASES["ner"].settings()).fit(TAGGED[:250], TAGGED[250:])
    assert isinstance(task, NamedEntities)
    odd = TaggedWords(("dr", "ada", "went", "to", "oslo"), ("O", "B-place", "O", "O", "B-place"))
    report = task.evaluate([odd]).report
    assert report.mistakes[0].found == "person: ada"
    assert report.mistakes[0].true == "place: ada"
    task.remarks_ = ()
    report = task._report([odd], [dataclasses.replace(task.predict([odd.words])[0], tags=("O",) * 5, confidences=())])
    assert report.remarks == ("never predicted: place (2 true).",)


def test_a_mix_of_pairs_answers_by_likeness(tmp_path: Path) -> None:
    """The baseline answers for sources that are like one of training, the transformer for the others."""
    task = CASES["translation"].task(CASES["translation"].settings()).fit(PAIRS[:500], PAIRS[500:530])
    assert isinstance(task.baseline_, NearestSource)
    sources = [PAIRS[0].source, "black black white green green"]
    targets, likeness = task.baseline_.nearest(sources)
    assert likeness[0] == pytest.approx(1, abs=1e-5)
    task.choice_, task.bounds_ = Choice(0.5), {0.5: 0.999}
    task._answers = lambda model, inputs: [f"own {one}" for one in inputs]  # type: ignore[method-assign]
    mixed = task.predict(sources)
    assert mixed[0] == targets[0]
    assert likeness[1] >= 0.999 or mixed[1] == f"own {sources[1]}"
    task.save(tmp_path)
    assert load(tmp_path).bounds_ == {0.5: 0.999}  # type: ignore[attr-defined]


def test_long_texts_are_read_to_their_end() -> None:
    """What speaks for the label stands after max_length tokens in half of the texts: windows find it there."""
    filler = "so and then it went on and on in the town ".split() * 3
    texts = []
    for number, one in enumerate(LABELLED):
        words = [*one.text.split(), *filler] if number % 4 < 2 else [*filler, *one.text.split()]
        texts.append(LabelledText(" ".join(words), one.labels))
    case = CASES["sentiment"]
    task = case.task(case.settings(max_length=16, only="model", evidence=False)).fit(texts[:250], texts[250:])
    assert task.evaluate(texts[250:]).figures["accuracy"] > 0.9
    assert len(task.predict([texts[0].text, "", "fine"])) == 3


def test_remarks_on_data_and_training() -> None:
    """Labels seen once, labels named like parts: said with the run, and kept with it."""
    texts = [LabelledText(f"{one.text} " * 3, one.labels) for one in LABELLED[:100]]
    texts += [LabelledText("odd one", ("train",))]
    task = Sentiment(CASES["sentiment"].settings()).fit(texts, texts[:50])
    said = "\n".join(task.evaluate(texts).report.remarks)
    for part in ("seen only once in training", "named like parts of the data: train"):
        assert part in said, said
    pixels = np.repeat(IMAGES.pixels, 2, 0)
    labels = ("train", "test") * len(IMAGES)
    pictures = ImageClassification(CASES["image_classification"].settings(only="baseline"))
    assert "named like parts" in "\n".join(pictures.fit(Images(pixels, labels)).remarks_)
