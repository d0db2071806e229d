"""Metrics are equal to those of the standard packages."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regard.errors import ArgumentError
from regard.tasks.metrics import (
    classification_scores,
    entities,
    entity_scores,
    likelihood_scores,
    rouge_scores,
    strict_entities,
    translation_scores,
)

# What seqeval and rouge-score answered; tests/oracles/make says how.
ANSWERS = json.loads((Path(__file__).parents[1] / "oracles/answers.json").read_text("utf-8"))


def test_entities_are_those_of_seqeval() -> None:
    """Entities, precision, recall and F1 agree with seqeval's default mode, whatever the tags."""
    assert len(ANSWERS["entities"]) >= 250
    for case in ANSWERS["entities"]:
        for tags, expected in zip(case["true"], case["entities"], strict=True):
            assert entities(tags) == [(label, start, stop + 1) for label, start, stop in expected]
        ours = entity_scores(case["true"], case["found"])
        assert ours.precision == pytest.approx(case["precision"])
        assert ours.recall == pytest.approx(case["recall"])
        assert ours.f1 == pytest.approx(case["f1"])
        if ours.labels:
            assert ours.macro_f1 == pytest.approx(case["macro_f1"])


def test_strict_entities_are_those_of_seqeval() -> None:
    """The strict mode agrees with seqeval's under IOB2."""
    assert len({round(case["f1"], 6) for case in ANSWERS["strict"]}) > 50
    for case in ANSWERS["strict"]:
        assert entity_scores(case["true"], case["found"], strict=True).f1 == pytest.approx(case["f1"])


def test_strict_and_not() -> None:
    """An I- without its B- is an entity unless strict."""
    tags = ["O", "I-x", "I-x", "B-y"]
    assert entities(tags) == [("x", 1, 3), ("y", 3, 4)]
    assert strict_entities(tags) == [("y", 3, 4)]
    with pytest.raises(ArgumentError, match="differ in number"):
        entity_scores([["O"]], [["O", "O"]])


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("abc")), min_size=1, max_size=30))
def test_one_label(pairs: list[tuple[str, str]]) -> None:
    """Accuracy and macro F1 agree with scikit-learn."""
    from sklearn.metrics import accuracy_score, f1_score

    true, found = zip(*pairs, strict=True)
    ours = classification_scores([(one,) for one in true], [(one,) for one in found])
    assert ours.accuracy == pytest.approx(accuracy_score(true, found))
    assert ours.macro_f1 == pytest.approx(f1_score(true, found, average="macro"))


@settings(deadline=None)
@given(st.lists(st.tuples(st.sets(st.sampled_from("abc")), st.sets(st.sampled_from("abc"))), min_size=1, max_size=20))
def test_several_labels(pairs: list[tuple[set[str], set[str]]]) -> None:
    """With several labels a text, accuracy means all of them and macro F1 is scikit-learn's."""
    from sklearn.metrics import accuracy_score, f1_score
    from sklearn.preprocessing import MultiLabelBinarizer

    true, found = ([tuple(sorted(side[i])) for side in pairs] for i in (0, 1))
    there = sorted({label for side in (*true, *found) for label in side})
    ours = classification_scores(true, found)
    binarizer = MultiLabelBinarizer(classes=there)
    a, b = binarizer.fit_transform(true), binarizer.transform(found)
    assert ours.accuracy == pytest.approx(sum(x == y for x, y in zip(true, found, strict=True)) / len(true))
    if len(there) > 1:  # of one column scikit-learn makes two classes
        assert ours.accuracy == pytest.approx(accuracy_score(a, b))
        assert ours.macro_f1 == pytest.approx(f1_score(a, b, average="macro", zero_division=0))


@pytest.mark.parametrize("how", ["plain", "stemmed"])
def test_rouge(how: str) -> None:
    """ROUGE-1, 2 and L agree with the package rouge-score, with stems and without, on letters beyond English too."""
    stem = how == "stemmed"
    for case in ANSWERS["summaries"]:
        found = rouge_scores([case["true"]], [case["found"]], stem=stem).figures()
        assert list(found.values()) == pytest.approx(case[how])
    true, found = ([case[side] for case in ANSWERS["summaries"]] for side in ("true", "found"))
    means = np.mean([case[how] for case in ANSWERS["summaries"]], 0)
    assert list(rouge_scores(true, found, stem=stem).figures().values()) == pytest.approx(list(means))


def test_translation() -> None:
    """BLEU and chrF are sacrebleu's, with its signature."""
    import sacrebleu

    true, found = ["the cat sat on the mat", "hello there my friend"], ["the cat is on the mat", "hello my dear friend"]
    ours = translation_scores(true, found)
    assert ours.bleu == pytest.approx(sacrebleu.corpus_bleu(found, [true]).score)
    assert ours.chrf == pytest.approx(sacrebleu.corpus_chrf(found, [true]).score)
    assert "version:" in ours.signature
    with pytest.raises(ArgumentError, match="2 true texts and 1 found"):
        translation_scores(true, found[:1])


def test_likelihood() -> None:
    """Nats per token, perplexity and bits per byte are consistent."""
    scores = likelihood_scores(math.log(2) * 300, tokens=100, size=150)
    assert scores.nats_per_token == pytest.approx(3 * math.log(2))
    assert scores.perplexity == pytest.approx(8)
    assert scores.bits_per_byte == pytest.approx(2)
    with pytest.raises(ArgumentError, match="0 tokens"):
        likelihood_scores(0.0, 0, 10)
