"""Tokenizers' marks become the text that they stand for, and other text stays as it is."""

from __future__ import annotations

import pytest
import torch

import regard
from regard.viewer._token_marks import unmarked
from regard.viewer._tokens import axis, shown


def text(tokens: list[str | bytes]) -> list[str]:
    """Return the cleaned tokens as text."""
    return [one.decode("utf-8", "replace") if isinstance(one, bytes) else one for one in unmarked(tokens)[0]]


@pytest.mark.parametrize(
    ("tokens", "clean"),
    [
        (["The", "Ġcat", "Ċ", "ĠĠĠreturn", "<|endoftext|>"], ["The", " cat", "\n", "   return", "<|endoftext|>"]),
        (["ĠÃ©t", "Ã©"], [" ét", "é"]),
        (["<s>", "▁The", "▁cat", "s", "<0x0A>", "▁"], ["<s>", " The", " cat", "s", "\n", " "]),
        (["[CLS]", "walk", "##ing", "##s", "home", "[SEP]"], ["[CLS]", "walk", "ing", "s", "home", "[SEP]"]),
        (["##", "Heading", "###", "x"], ["##", "Heading", "###", "x"]),
        (["Ġa", "日"], [" a", "日"]),
        (["plain", "text"], ["plain", "text"]),
        ([b"\xc4\xa0x", "y"], ["Ġx", "y"]),
        ([], []),
    ],
)
def test_marks_are_read(tokens: list[str | bytes], clean: list[str]) -> None:
    """Byte-level BPE, SentencePiece, WordPiece; headings, letters outside of the alphabet and bytes are left alone."""
    assert text(tokens) == clean


def test_byte_level_tokens_join_to_the_text() -> None:
    """Parts of a character are its bytes: together they are the character again."""
    made = unmarked(["ĠðŁĺ", "Ģ"])[0]
    assert b"".join(one if isinstance(one, bytes) else one.encode() for one in made).decode() == " 😀"


def test_parts_of_words_belong_to_their_word() -> None:
    """WordPiece tells words; words that were given come before those."""
    made = axis("tokens", 4, ["[CLS]", "walk", "##ing", "home"])
    assert made.words is not None
    assert made.words.tolist() == [0, 1, 1, 2]
    given = axis("tokens", 4, ["[CLS]", "walk", "##ing", "home"], words=[None, 0, 0, 1])
    assert given.words is not None
    assert given.words.tolist() == [-1, 0, 0, 1]
    assert made.texts() == ["[CLS]", "walk", "ing", "home"]


def test_labels_on_paper_have_no_marks() -> None:
    """A space that begins a word is not written out along a side; one that is all there is, is."""
    weights = regard.attention(*[torch.randn(1, 1, 3, 4)] * 3, need_weights=True)[1]
    made = regard.view(weights, ["Ġthe", "Ġ", "x y"]).source.shown.axes[0]
    assert [shown(one) for one in made.texts()] == ["the", "␣", "x y"]
