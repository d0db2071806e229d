"""Windows of long texts, and words found again among tokens by character offsets."""

from __future__ import annotations

import random
from typing import Any

import pytest
import transformers

from regard.tasks.pretrained._windows import longest, place_words, windows_of

from .checkpoints import bytes_pieces, sentence_pieces, word_pieces

WORDS = "Straße naïve don't 😂 e\u0301t\u00e9 日本 x café 3.14 #tag @user … word".split()
TEXTS = [" ".join(WORDS), "some plain words of a text"]
KINDS = {"word pieces": word_pieces, "bytes": bytes_pieces, "sentence pieces": sentence_pieces}


class Slow:
    """A tokenizer in Python, which knows no places: three letters a token."""

    is_fast = False
    unk_token_id = 1

    def encode(self, text: str, add_special_tokens: bool = True) -> list[int]:
        """Return an id for each three letters."""
        return [10 + len(text[i : i + 3]) for i in range(0, len(text), 3)]

    def build_inputs_with_special_tokens(self, ids: list[int]) -> list[int]:
        """Put a token before and one behind."""
        return [2, *ids, 3]


@pytest.mark.parametrize("kind", [*KINDS, "slow"])
@pytest.mark.parametrize("most", [8, 13, 400])
def test_every_word_is_decided_once(kind: str, most: int) -> None:
    """In windows of any size each word has one place, at its own first token; far from the edges where it can be."""
    tokenizer: Any = Slow() if kind == "slow" else KINDS[kind](TEXTS)
    chance = random.Random(0)
    rows = [[chance.choice(WORDS) for _ in range(size)] for size in (1, 5, 60)]
    joined = [" ".join(words) for words in rows]
    windows = windows_of(tokenizer, joined, most)
    placed = place_words(windows, rows, joined)
    assert all(len(window.tokens) <= most for window in windows)
    decided = [(window.text, word) for window, words in zip(windows, placed, strict=True) for word in words.values()]
    assert sorted(decided) == [(text, word) for text, words in enumerate(rows) for word in range(len(words))]
    if most == 400:
        assert len(windows) == len(rows)
        return
    for window, words in zip(windows, placed, strict=True):
        for place, word in words.items():
            start = sum(len(one) + 1 for one in rows[window.text][:word])
            piece = joined[window.text][slice(*window.spans[place])]
            assert joined[window.text].find(piece.strip(), window.spans[place][0]) == start
            assert kind != "word pieces" or window.distance(place) >= most // 4 - 2


def test_an_empty_text_is_a_window() -> None:
    """A text without any character, and a list without texts."""
    for kind in KINDS.values():
        tokenizer = kind(TEXTS)
        (window,) = windows_of(tokenizer, [""], 16)
        assert window.tokens
        assert windows_of(tokenizer, [], 16) == []
    assert windows_of(Slow(), [""], 16)[0].tokens == (2, 3)


def test_words_without_tokens() -> None:
    """A word that the tokenizer drops (control characters) is nowhere; its neighbours keep their places."""
    words = ["plain", "\u200b\u0007", "words"]
    joined = [" ".join(words)]
    placed = place_words(windows_of(word_pieces(TEXTS), joined, 32), [words], joined)
    assert sorted(placed[0].values()) == [0, 2]


def test_the_longest_sequence() -> None:
    """The least of what is wanted, what the tokenizer says and what the model has positions for."""
    tokenizer = word_pieces(TEXTS)  # 64
    assert longest(tokenizer, transformers.BertConfig(max_position_embeddings=40), 512) == 40
    assert longest(tokenizer, transformers.BertConfig(), 32) == 32
    assert longest(tokenizer, transformers.BertConfig(), 512) == 64
    assert longest(tokenizer, transformers.RobertaConfig(max_position_embeddings=34, pad_token_id=1), 512) == 32
    assert longest(tokenizer, transformers.T5Config(), 512) == 64
