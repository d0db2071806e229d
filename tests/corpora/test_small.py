"""Digits, dates and opinions: disjoint parts, reproducible, with labels true by construction."""

import re
import sys
from typing import Any

import numpy as np
import pytest

from regard.corpora import Images, dates, digits, opinions
from regard.corpora.dates import LANGUAGES, _formats
from regard.corpora.opinions import BAD, CLAUSES, FRAMES, GOOD, _templates
from regard.errors import ArgumentError, MissingExtraError


def test_digits_are_the_data_set() -> None:
    """All 1,797 images are there, none in two parts, with grey from 0 to 255 and ten labels in each part."""
    split = digits()
    parts = [split.train, split.dev, split.test]
    assert [len(part) for part in parts] == [1257, 270, 270]
    images = [image.tobytes() for part in parts for image in part.pixels]
    assert len(set(images)) == len(images)
    for part in parts:
        assert part.pixels.min() == 0
        assert part.pixels.max() == 255
        assert set(part.labels) == set("0123456789")


def test_fewer_digits() -> None:
    """`size` shortens train alone."""
    small, whole = digits(size=10), digits()
    assert len(small.train) == 10
    assert isinstance(small.test, Images)
    np.testing.assert_array_equal(small.test.pixels, whole.test.pixels)


def test_dates_are_apart_and_tell_one_day() -> None:
    """No day occurs twice, no text is ambiguous, and the same seed gives the same pairs."""
    split = dates(size=3000)
    pairs = [*split.train, *split.dev, *split.test]
    assert [len(part) for part in (split.train, split.dev, split.test)] == [3000, 300, 300]
    assert len({pair.target for pair in pairs}) == len(pairs) == len({pair.source for pair in pairs})
    assert dates(size=3000) == split != dates(size=3000, seed=1)


def test_dates_hold_their_year_and_day() -> None:
    """Each target is an ISO date whose year and day, without zeros, stand in the source."""
    for pair in dates(size=500).train:
        year, _, day = re.fullmatch(r"(\d{4})-(\d\d)-(\d\d)", pair.target).groups()  # type: ignore[union-attr]
        numbers = {int(number) for number in re.findall(r"\d+", pair.source)}
        assert {int(year), int(day)} <= numbers


def test_every_language_names_its_months() -> None:
    """In every format the month is unambiguous."""
    for language in LANGUAGES:
        for form in _formats(language):
            assert "MMM" in form or "月" in form


def test_british_dates() -> None:
    """The day of the example in the documentation is written as it says."""
    texts = {pair.source for pair in dates(size=50_000, languages=["en_GB"]).train if pair.target == "2026-11-20"}
    assert texts <= {
        "Friday, 20 November 2026",
        "Friday 20 November 2026",
        "20 November 2026",
        "20 Nov 2026",
        "Fri, 20 Nov 2026",
    }


def test_opinions_are_apart() -> None:
    """No sentence stands twice, no template in two parts, and both labels are about as frequent."""
    split = opinions(size=2000)
    texts = [example.text for part in (split.train, split.dev, split.test) for example in part]
    assert len(set(texts)) == len(texts) == 2400
    share = np.mean([example.labels == ("positive",) for example in split.train])
    assert 0.45 < share < 0.55
    parts = [set(part) for part in _templates(np.random.default_rng(0))]
    assert not (parts[0] & parts[1] | parts[0] & parts[2] | parts[1] & parts[2])
    assert {frame for frame, _ in parts[0]} == set(FRAMES)
    assert {clause for _, clauses in parts[0] for clause in clauses} == set(CLAUSES)


def test_opinions_are_labelled_by_their_deciding_clause() -> None:
    """An independent rule on the words of a sentence finds the label that the grammar gave."""
    turns = (" not ", " never found ", "nobody", "anything but", "stopped being")
    for example in opinions(size=500).train:
        text = f" {example.text} "
        if text.startswith((" although", " even if")) or " , but " in text or " , and yet " in text:
            clause = re.split(r" , (?:but |and yet )?", text)[1]
        else:
            clause = re.split(r" , (?:although|even if|and besides) | and ", text.replace(" in short ,", ""))[0]
        good = any(f" {word} " in f"{clause} " for word in GOOD)
        assert good != any(f" {word} " in f"{clause} " for word in BAD)
        positive = good != any(turn in f" {clause} " for turn in turns)
        assert example.labels == ("positive" if positive else "negative",), example.text


@pytest.mark.parametrize(
    ("call", "word"),
    [
        (lambda: digits(size=0), "size is 0"),
        (lambda: dates(size=5), "size is 5"),
        (lambda: dates(languages=[]), "empty"),
        (lambda: dates(languages=["xx"]), "'xx'"),
        (lambda: opinions(size=60_000), "size is 60000"),
    ],
)
def test_impossible_arguments_are_refused(call: Any, word: str) -> None:
    """Impossible arguments are errors that say what was given."""
    with pytest.raises(ArgumentError, match=word):
        call()


@pytest.mark.parametrize(("call", "package"), [(digits, "sklearn.datasets"), (dates, "babel.dates")])
def test_missing_package_names_the_install(call: Any, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without its package a corpus says which line installs it."""
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError, match=r'pip install "\.\[train\]"'):
        call()
