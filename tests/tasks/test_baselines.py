"""Baselines do what their names say, and give the known figures on real data where it is at hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from regard.corpora import Images, LabelledText, TaggedWords, TextPair
from regard.tasks.baselines import (
    FirstWords,
    MostFrequentTag,
    NearestSource,
    PictureKernelRidge,
    TfidfLogisticRegression,
    WittenBell,
    classes,
)
from regard.tasks.metrics import entity_scores
from regard.tasks.reading import read_tagged
from regard.tasks.tokenizers import train_tokenizer

TAGS = ("O", "B-x")
DATA = Path(__file__).parents[3] / "shared" / "data"
real_data = pytest.mark.skipif(not DATA.is_dir(), reason="the data sets are not beside the repository")


def test_most_frequent_tag() -> None:
    """A word has its commonest tag, a new one that of its lower case, or the commonest of all."""
    examples = [TaggedWords(("a", "a", "a", "b"), ("B-x", "B-x", "O", "O")), TaggedWords(("c", "c"), ("O", "O"))]
    assert MostFrequentTag.fit(examples, TAGS).predict([("a", "b", "new", "A")]) == [("B-x", "O", "O", "B-x")]


def test_texts_with_one_label_and_several() -> None:
    """Words determine the label; with several labels each is decided by itself, and at least one is given."""
    one = [
        LabelledText(f"{word} day {i}", (label,)) for i in range(20) for word, label in (("good", "+"), ("bad", "-"))
    ]
    assert TfidfLogisticRegression.fit(one).predict(["a good day", "bad"]) == [("+",), ("-",)]
    several = [*one, *(LabelledText(f"good and loud {i}", ("+", "!")) for i in range(20))]
    found = TfidfLogisticRegression.fit(several).predict(["loud and good", "bad", "nothing known"])
    assert set(found[0]) == {"+", "!"}
    assert found[1] == ("-",)
    assert len(found[2]) >= 1


def test_pixels() -> None:
    """Pictures that differ in brightness are told apart."""
    pixels = np.zeros((40, 4, 4, 1), np.uint8)
    pixels[::2] += 200
    images = Images(pixels, tuple("light" if i % 2 == 0 else "dark" for i in range(40)))
    assert PictureKernelRidge.fit(images).predict(pixels[:2]) == ["light", "dark"]


def test_a_part_of_the_pictures_has_every_label(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where only a part is fitted to, a label that its steps pass over is learnt all the same."""
    monkeypatch.setattr(classes, "LANDMARKS", 8)
    monkeypatch.setattr(classes, "COMPARED", 8)
    pixels = np.zeros((40, 4, 4, 1), np.uint8)
    pixels[3] += 200
    images = Images(pixels, tuple("light" if i == 3 else "dark" for i in range(40)))
    assert PictureKernelRidge.fit(images, balanced=True).predict(pixels[2:4]) == ["dark", "light"]


def test_first_words_and_nearest_source() -> None:
    """The first words are a fifth more than a target has; the nearest source's target is taken whole."""
    pairs = [TextPair("one two three four five six seven", "a b c d e"), TextPair("red green blue", "r g b x y")]
    assert FirstWords.fit(pairs).predict(["1 2 3 4 5 6 7 8"]) == ["1 2 3 4 5 6"]
    assert NearestSource.fit(pairs).predict(["green and red", "seven"]) == ["r g b x y", "a b c d e"]


def test_witten_bell_is_a_distribution() -> None:
    """After any history the probabilities of all tokens sum to 1; the formula agrees with a direct computation."""
    row = np.array([0, 1, 2, 1, 2, 2, 0, 1, 1, 2, 0])
    model = WittenBell.fit(row, vocab_size=4, order=3)
    for history in ([0, 1], [2, 2], [3, 3]):
        chances = [
            np.exp(-(model.nats(np.array([*history, token])) - model.nats(np.array(history)))) for token in range(4)
        ]
        assert sum(chances) == pytest.approx(1)
    bigram = WittenBell.fit(np.array([0, 1, 0, 1, 0]), vocab_size=2, order=2)
    unigram = (2 + 2 * 0.5) / (5 + 2)  # of token 1
    assert bigram.nats(np.array([0, 1])) == pytest.approx(-np.log((2 + 1 * unigram) / (2 + 1)))


@real_data
def test_tinyshakespeare() -> None:
    """The five-gram reaches its published 1.669 nats a character."""
    text = (DATA / "lm/tinyshakespeare/input.txt").read_text(encoding="utf-8")
    cut = int(0.9 * len(text))
    tokenizer = train_tokenizer("characters", [text[:cut]])
    train, test = (np.array(tokenizer.encode(part)) for part in (text[:cut], text[cut:]))
    nats = WittenBell.fit(train, vocab_size=tokenizer.vocab_size).nats(test)
    assert nats / (len(test) - 1) == pytest.approx(1.669, abs=0.001)


@real_data
def test_named_entities() -> None:
    """Most frequent tag gives 49.8 F1 on SNIPS and 9.0 on WNUT-17."""
    for data, test, expected in (
        ("snips_slots/train", "snips_slots/test", 0.498),
        ("wnut17/train.conll", "wnut17/test.conll", 0.090),
    ):
        known = read_tagged(DATA / "ner" / data).examples
        baseline = MostFrequentTag.fit(known, sorted({tag for one in known for tag in one.tags}))
        examples = read_tagged(DATA / "ner" / test).examples
        found = baseline.predict([one.words for one in examples])
        assert entity_scores([one.tags for one in examples], found).f1 == pytest.approx(expected, abs=0.004)
