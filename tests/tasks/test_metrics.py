"""Figures of merit are equal to those of the packages that the field uses."""

from __future__ import annotations

import math
import random
import warnings

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

TAGS = st.sampled_from(["O", "B-x", "I-x", "B-y", "I-y", "E-x", "S-y"])
IOB2 = st.sampled_from(["O", "B-x", "I-x", "B-y", "I-y"])
PAIRS = st.lists(st.lists(st.tuples(TAGS, TAGS), min_size=1, max_size=9), min_size=1, max_size=5)
IOB2_PAIRS = st.lists(st.lists(st.tuples(IOB2, IOB2), min_size=1, max_size=9), min_size=1, max_size=5)
WORDS = st.lists(st.sampled_from("the cats running ran quickly houses house on of running's".split()), max_size=12)


def divided(pairs: list[list[tuple[str, str]]]) -> tuple[list[list[str]], list[list[str]]]:
    """Return true and found tags."""
    return [[one for one, _ in line] for line in pairs], [[other for _, other in line] for line in pairs]


@settings(deadline=None)
@given(PAIRS)
def test_entities_are_those_of_seqeval(pairs: list[list[tuple[str, str]]]) -> None:
    """Entities, precision, recall and F1 agree with seqeval's default mode, whatever the tags."""
    from seqeval.metrics import f1_score, precision_score, recall_score
    from seqeval.metrics.sequence_labeling import get_entities

    true, found = divided(pairs)
    for tags in true:
        assert entities(tags) == [(label, start, stop + 1) for label, start, stop in get_entities(tags)]
    ours = entity_scores(true, found)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert ours.precision == pytest.approx(precision_score(true, found, zero_division=0))
        assert ours.recall == pytest.approx(recall_score(true, found, zero_division=0))
        assert ours.f1 == pytest.approx(f1_score(true, found, zero_division=0))
        if ours.labels:
            assert ours.macro_f1 == pytest.approx(f1_score(true, found, average="macro", zero_division=0))


@settings(deadline=None)
@given(IOB2_PAIRS)
def test_strict_entities_are_those_of_seqeval(pairs: list[list[tuple[str, str]]]) -> None:
    """The strict mode agrees with seqeval's under IOB2."""
    from seqeval.metrics import f1_score
    from seqeval.scheme import IOB2 as SCHEME

    true, found = divided(pairs)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = f1_score(true, found, mode="strict", scheme=SCHEME, zero_division=0)
    assert entity_scores(true, found, strict=True).f1 == pytest.approx(expected)


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


@pytest.mark.parametrize("stem", [False, True])
@settings(deadline=None)
@given(st.lists(st.tuples(WORDS, WORDS), min_size=1, max_size=4))
def test_rouge(stem: bool, pairs: list[tuple[list[str], list[str]]]) -> None:
    """ROUGE-1, 2 and L agree with the package rouge-score, with stems and without."""
    from rouge_score.rouge_scorer import RougeScorer

    true, found = ([" ".join(side[i]) for side in pairs] for i in (0, 1))
    scorer = RougeScorer(["rouge1", "rouge2", "rougeL"], use_stemmer=stem)
    scores = [scorer.score(one, other) for one, other in zip(true, found, strict=True)]
    expected = [np.mean([score[name].fmeasure for score in scores]) for name in ("rouge1", "rouge2", "rougeL")]
    assert list(rouge_scores(true, found, stem=stem).figures().values()) == pytest.approx(expected)


def test_rouge_of_real_text() -> None:
    """Punctuation, case, digits and letters beyond English are counted as the package counts them."""
    from rouge_score.rouge_scorer import RougeScorer

    chance = random.Random(0)
    pieces = ["The", "model's", "F1", "(0.93)", "état", "—", "state-of-the-art", "Ünder", "x²", "\n", "results,", "we"]
    for _ in range(50):
        true, found = (" ".join(chance.choices(pieces, k=chance.randint(0, 20))) for _ in range(2))
        expected = RougeScorer(["rougeL"], use_stemmer=False).score(true, found)["rougeL"].fmeasure
        assert rouge_scores([true], [found]).rouge_l == pytest.approx(expected)


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
    """Nats a token, perplexity and bits a byte are one number said three ways."""
    scores = likelihood_scores(math.log(2) * 300, tokens=100, size=150)
    assert scores.nats_per_token == pytest.approx(3 * math.log(2))
    assert scores.perplexity == pytest.approx(8)
    assert scores.bits_per_byte == pytest.approx(2)
    with pytest.raises(ArgumentError, match="0 tokens"):
        likelihood_scores(0.0, 0, 10)
