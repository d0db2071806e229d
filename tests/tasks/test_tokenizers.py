"""Tokenizers: round trip, stable ids, alignment of tags with words."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regard.errors import ArgumentError
from regard.tasks.tokenizers import BOS, EOS, PAD, UNKNOWN, Tokenizer, train_tokenizer

TEXTS = ["the cat sat on the mat", "the dog saw the cat", "Übung macht den Meister", "a\tb\nc  d"]
KINDS = ("bpe", "words", "characters", "bytes")
EXACT = {kind: train_tokenizer(kind, TEXTS, vocab_size=400) for kind in ("bpe", "bytes")}


@pytest.mark.parametrize("kind", ["bpe", "bytes"])
@settings(deadline=None)
@given(st.text())
def test_every_text_comes_back(kind: str, text: str) -> None:
    """Bytes and byte pairs lose nothing, whatever the text."""
    tokenizer = EXACT[kind]
    assert tokenizer.decode(tokenizer.encode(text)) == text


@pytest.mark.parametrize("kind", KINDS)
def test_numbers(kind: str) -> None:
    """The special numbers are the same everywhere and never come from text; the vocabulary has its size."""
    tokenizer = train_tokenizer(kind, TEXTS, vocab_size=300)
    assert (PAD, UNKNOWN, BOS, EOS) == (0, 1, 2, 3)
    numbers = [number for text in TEXTS for number in tokenizer.encode(text)]
    assert min(numbers) > EOS
    assert max(numbers) < tokenizer.vocab_size <= 300
    assert tokenizer.encode_batch(TEXTS) == [tokenizer.encode(text) for text in TEXTS]
    assert tokenizer.decode([BOS, *tokenizer.encode("the cat"), EOS, PAD]) == "the cat"


@pytest.mark.parametrize("kind", KINDS)
def test_there_and_back(kind: str) -> None:
    """A tokenizer survives JSON, and the same texts give the same tokenizer."""
    tokenizer = train_tokenizer(kind, TEXTS, vocab_size=300, lowercase=True)
    again = Tokenizer.from_dict(json.loads(json.dumps(tokenizer.to_dict())))
    assert [again.encode(text) for text in TEXTS] == [tokenizer.encode(text) for text in TEXTS]
    assert train_tokenizer(kind, TEXTS, vocab_size=300, lowercase=True).definition == tokenizer.definition
    assert tokenizer.encode("THE CAT") == tokenizer.encode("the cat")


def test_unknown_and_rare() -> None:
    """A word or letter that is absent or rare in training is unknown; the most frequent are kept."""
    words = train_tokenizer("words", TEXTS, min_count=2)
    assert words.encode("the zebra cat") == [words.encode("the")[0], UNKNOWN, words.encode("cat")[0]]
    assert UNKNOWN in words.encode("mat")
    assert train_tokenizer("characters", TEXTS).encode("é") == [UNKNOWN]
    assert train_tokenizer("words", TEXTS, vocab_size=5).encode("the dog") == [4, UNKNOWN]


def test_places_and_alignment() -> None:
    """Tokens know their place in the text, and every word its first piece."""
    tokenizer = EXACT["bpe"]
    text = "the Meister sat"
    assert "".join(text[start:stop] for start, stop in tokenizer.pieces(text)) == text
    numbers, first = tokenizer.align(["the", "Meister", "sat"])
    assert numbers == tokenizer.encode(text)
    assert len(first) == 3
    assert first[0] == 0
    assert first == sorted(first)
    assert train_tokenizer("words", TEXTS).align(["the", " "])[0][1] == UNKNOWN


def test_mistakes() -> None:
    """An unknown kind names the nearest; a broken definition is an error."""
    with pytest.raises(ArgumentError, match="Did you mean 'words'"):
        train_tokenizer("word", TEXTS)
    with pytest.raises(ArgumentError, match="cannot be read"):
        Tokenizer.from_dict({"kind": "bpe", "definition": {"model": 3}})


def test_long_texts_of_characters() -> None:
    """Looked up as the package would: unknown characters, those beyond all known ones, names of special tokens."""
    tokenizer = train_tokenizer("characters", ["ab\u0301c\n😀" * 3], vocab_size=9)
    for text in ("", "ab c\r\n", "\u0301\ufeff\x00", "😀\U0010ffff", "a<end>b", "z" * 50):
        assert tokenizer.encode_row(text).tolist() == tokenizer.encode(text)
