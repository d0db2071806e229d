"""Marks with which tokenizers write spaces, bytes and parts of words: read back into the text that they stand for."""

from __future__ import annotations

import re
from collections.abc import Sequence

_SPACE, _LINE = "Ġ", "Ċ"
_PIECE, _PART = "▁", "##"
_BYTE = re.compile("<0x([0-9A-F]{2})>")


def _byte_letters() -> dict[str, int]:
    """Return the letter of each byte in byte-level BPE: itself where it can be printed, else one from U+0100 on.

    Source: GPT-2's `bytes_to_unicode`, Radford et al. 2019.
    """
    printed = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printed]
    return {chr(byte): byte for byte in printed} | {chr(0x100 + place): byte for place, byte in enumerate(others)}


_LETTERS = _byte_letters()


def unmarked(tokens: Sequence[str | bytes]) -> tuple[list[str | bytes], list[int] | None]:
    """Return the tokens without marks, and for marks of parts of words the word that each token belongs to.

    Byte-level BPE (`Ġthe`, `Ċ`), SentencePiece (`▁the`, `<0x0A>`) and WordPiece (`##ing`). A sequence is read as that
    of the first of them whose mark begins one of its tokens; what does not fit it, and bytes, stay as they are.
    """
    texts = [token for token in tokens if isinstance(token, str)]
    if any(text.startswith((_SPACE, _LINE)) for text in texts):
        return [_of_bytes(token) if isinstance(token, str) else token for token in tokens], None
    if any(text.startswith(_PIECE) for text in texts):
        return [_of_pieces(token) if isinstance(token, str) else token for token in tokens], None
    parts = [isinstance(token, str) and _is_part(token) for token in tokens]
    if not any(parts[1:]):
        return list(tokens), None
    words, word = [], -1
    for part in parts:
        word += not part or word < 0
        words.append(word)
    return [token[len(_PART) :] if part else token for token, part in zip(tokens, parts, strict=True)], words


def _is_part(token: str) -> bool:
    return token.startswith(_PART) and token.strip("#") != ""


def _of_bytes(token: str) -> str | bytes:
    if not all(letter in _LETTERS for letter in token):
        return token
    return bytes(_LETTERS[letter] for letter in token)


def _of_pieces(token: str) -> str | bytes:
    byte = _BYTE.fullmatch(token)
    return bytes([int(byte[1], 16)]) if byte else token.replace(_PIECE, " ")
