"""Examples set aside: equal ones together, and at least one if possible."""

import random

import numpy as np
import pytest

from regard.corpora import Document, Images, LabelledText, TextPair
from regard.errors import ArgumentError
from regard.tasks import ImageClassification, LanguageModeling, LanguageModelingSettings, Sentiment, Translation
from regard.tasks._batches import set_aside, which_aside
from regard.tasks._overlap import groups

from .small import CASES


@pytest.mark.parametrize("repeats", [1, 60])
@pytest.mark.parametrize("different", [2, 3, 5, 9])
def test_few_different_examples(different: int, repeats: int) -> None:
    """However few different examples there are, both sides have some, and none is on both."""
    examples = [LabelledText(f"text {number}", ("x",)) for number in range(different)] * repeats
    kept, aside = set_aside(examples, [one.text.encode() for one in examples], 0.1, "dev")
    assert kept
    assert aside
    assert not set(kept) & set(aside)
    assert len(kept) + len(aside) == len(examples)


def test_many_stay_where_they_are() -> None:
    """Of many examples the share is set aside, and more data moves none of the old."""
    contents = [str(number).encode() for number in range(3000)]
    some = which_aside(contents[:2000], 0.1, "dev")
    assert 150 < sum(some) < 250
    assert which_aside(contents, 0.1, "dev")[:2000] == some
    assert which_aside(contents, 0.1, "test")[:2000] != some


def test_one_example_repeated() -> None:
    """Equal examples stay together, so that of one nothing can be set aside; the message says so."""
    with pytest.raises(ArgumentError, match=r"120 examples, 1 different, are too few to set 10% of them aside"):
        set_aside([LabelledText("a", ("x",))] * 120, [b"a"] * 120, 0.1, "dev")


def test_few_pictures() -> None:
    """Pictures follow the same rule."""
    images = Images(np.arange(3, dtype=np.uint8).repeat(16).reshape(3, 4, 4, 1), ("a", "b", "a"))
    kept, aside = ImageClassification().set_aside(images)
    assert (len(kept), len(aside)) == (2, 1)


TEXT = "".join(f"line {number} of the one file\n" for number in range(200))


def test_a_corpus_in_one_file_is_divided_by_place() -> None:
    """The end of the text is set aside, at a line end, and none of it is learnt from."""
    kept, aside = LanguageModeling().set_aside([Document("a", TEXT)])
    assert kept[0].text + aside[0].text == TEXT
    assert kept[0].text.endswith("\n")
    assert 0.09 * len(TEXT) < len(aside[0].text) < 0.16 * len(TEXT)
    (alone,), (end,) = LanguageModeling().set_aside([Document("a", "x" * 1000)])
    assert (len(alone.text), len(end.text)) == (900, 100)


def test_texts_that_come_again() -> None:
    """The part of a repeated text that is set aside occurs once there, and nowhere in training."""
    examples = [Document(str(number), TEXT if number % 2 else TEXT.upper()) for number in range(120)]
    kept, aside = LanguageModeling().set_aside(examples)
    assert len(aside) == 2
    assert len(kept) == 120
    assert not any(one.text.endswith(end.text) for one in kept for end in aside)
    many = [Document(str(number), f"document {number // 2}") for number in range(200)]
    kept, aside = LanguageModeling().set_aside(many)
    assert 2 <= len(aside) < 40
    assert not {one.text for one in kept} & {one.text for one in aside}


@pytest.mark.parametrize("tokenizer", ["characters", "words", "bpe", "bytes"])
@pytest.mark.parametrize("text", [TEXT, "to be or not to be, that is the question\n" * 3, "a b"])
def test_one_text_trains(tokenizer: str, text: str) -> None:
    """One file is enough, long or short, cut into whatever tokens."""
    settings = CASES["language_modeling"].settings(tokenizer=tokenizer, context=64)
    one_step = settings.training.budget.__class__(epochs=None, steps=1)
    training = settings.training.__class__(budget=one_step)
    task = LanguageModeling(LanguageModelingSettings(**{**vars(settings), "training": training}))
    task.fit([Document("a", text)])
    assert np.isfinite(task.evaluate(task.dev_).figures["nats_per_token"])


def test_a_text_too_short() -> None:
    """Of one word nothing can be set aside; the message speaks of the text, not of examples."""
    with pytest.raises(ArgumentError, match="The text is too short to set 10% of it aside"):
        LanguageModeling().set_aside([Document("a", "x")])


def test_texts_that_overlap_stay_together() -> None:
    """Phrases of one sentence, and texts with one input but other labels, are on the same side, and in one fold."""
    chance = random.Random(0)
    texts: list[list[str]] = []
    for number in range(60):
        words = [f"{chance.choice('abcdefgh')}{number}" for _ in range(9)]
        texts += [words, words[2:8], words[3:6], words[1:3]]
    examples = [LabelledText(" ".join(words), ("xy"[number % 2],)) for number, words in enumerate(texts)]
    kept, aside = Sentiment().set_aside(examples)
    assert 8 <= len(aside) <= 60
    assert not {one.text.split()[0][1:] for one in kept} & {one.text.split()[0][1:] for one in aside}
    numbers = {word: number for number, word in enumerate(sorted({word for words in texts for word in words}))}
    found = groups([[numbers[word] for word in words] for words in texts])
    assert found.tolist() == [number - number % 4 for number in range(len(texts))]
    pair = TextPair("a b", "x")
    two = [pair, TextPair("a b", "y")] * 30 + [TextPair(f"c {number}", "z") for number in range(60)]
    kept, aside = Translation().set_aside(two)
    assert not {one.source for one in kept} & {one.source for one in aside}
