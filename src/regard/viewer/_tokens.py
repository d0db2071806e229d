"""One sequence of tokens, prepared for pictures: texts, words, labels, the grid of an image."""

from __future__ import annotations

import itertools
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._values import LARGEST, described, instance, listed, whole
from ..errors import ArgumentError, ArgumentTypeError, ShapeError
from ..recordings import Grid
from ._token_marks import unmarked

GOES_ON = 1 << 14
"""Added to the class of a token in the page, where it goes on with the run of the token before."""

Tokens = Sequence[str | bytes]
Labels = Sequence[str | None]

_OUTSIDE = ("", "O", None)
_PREFIXES = ("B-", "I-", "E-", "S-", "L-", "U-")
# Joiners combine their neighbours, in emoji of several persons and in Persian and Hindi words.
_JOINERS = "\N{ZERO WIDTH JOINER}\N{ZERO WIDTH NON-JOINER}"
_VISIBLE = {"\n": "↵", "\r": "␍", "\t": "⇥", " ": "␣"}


@dataclass(frozen=True, eq=False)
class Labelling:
    """Labels of the tokens, such as the entities that they belong to."""

    name: str
    classes: tuple[str, ...]
    ids: NDArray[np.int16]
    """Class of each token, -1 for none."""
    begins: NDArray[np.bool_]
    """True where a new run begins, also between equal classes."""

    def runs(self) -> list[tuple[int, int, int]]:
        """Return (first token, one past the last, class) of each labelled run."""
        pairs = itertools.pairwise([*np.flatnonzero(self.begins).tolist(), len(self.ids)])
        return [(a, b, int(self.ids[a])) for a, b in pairs if self.ids[a] >= 0]


@dataclass(frozen=True, eq=False)
class Axis:
    """A sequence of tokens along one side of a matrix."""

    name: str
    size: int
    tokens: tuple[bytes, ...] | None = None
    words: NDArray[np.int32] | None = None
    """Index of the word that each token belongs to, -1 for none."""
    labels: tuple[Labelling, ...] = ()
    grid: Grid | None = None

    def texts(self) -> list[str]:
        """Return the tokens as text, with invalid UTF-8 replaced; without tokens, the positions."""
        if self.tokens is None:
            return [str(place) for place in range(self.size)]
        return [token.decode("utf-8", "replace") for token in self.tokens]


def axis(
    name: str,
    size: int,
    tokens: Tokens | None = None,
    labels: Labels | Mapping[str, Labels] | None = None,
    words: Sequence[int | None] | None = None,
    grid: Grid | None = None,
) -> Axis:
    """Validate and normalise what was given for one side of a matrix; raises `ShapeError`."""
    side = "key_" if name == "keys" else ""
    given, parts = (None, None) if tokens is None else unmarked(_one_each(f"{side}tokens", tokens, size))
    held = None if given is None else tuple(_bytes(side, one) for one in given)
    named = {} if labels is None else labels if isinstance(labels, Mapping) else {"labels": labels}
    named = {str(key): _one_each(f"{side}labels {key!r}", every, size) for key, every in named.items()}
    if grid is not None:
        instance(f"{side}grid", grid, Grid, "a regard.viewer.Grid").check(size)
    of_words = parts if words is None else [_word(word) for word in _one_each("words", words, size)]
    numbers = None if of_words is None else np.array(of_words, np.int32)
    return Axis(name, size, held, numbers, tuple(_labelling(key, every) for key, every in named.items()), grid)


def shown(text: str, most: int = 24) -> str:
    """Return a printable form of a token: visible blanks and control characters, shortened if long.

    A single space before it is left out: many tokenizers begin words with one.
    """
    if len(text) > 1 and text[0] == " " and text[1] != " ":
        text = text[1:]
    inner = text if text and text == text.strip(" ") else text.replace(" ", "␣")
    joined = inner.strip(_JOINERS) != ""
    drawn = "".join(
        _VISIBLE[c] if c in _VISIBLE and c != " " else c if joined and c in _JOINERS else _printable(c) for c in inner
    )
    return drawn if len(drawn) <= most else drawn[: most - 1] + "…"


def _printable(character: str) -> str:
    # Control, format (direction marks), surrogate, private, unassigned characters: not visible.
    return (
        "\N{REPLACEMENT CHARACTER}" if unicodedata.category(character) in ("Cc", "Cf", "Cs", "Co", "Cn") else character
    )


def _one_each(name: str, given: Any, size: int) -> list[Any]:
    every = listed(name, given)
    if len(every) != size:
        raise ShapeError(
            f"{name} has {len(every)} entries, the matrix has {size}; give one for each token, special tokens included."
        )
    return every


def _word(given: Any) -> int:
    return -1 if given is None else whole("words", given, -1, LARGEST)


def _bytes(side: str, token: str | bytes) -> bytes:
    if isinstance(token, bytes):
        return token
    if not isinstance(token, str):
        raise ArgumentTypeError(
            f"{side}tokens holds {described(token)}; tokens are text or bytes. Decode ids with your tokenizer first."
        )
    return token.encode("utf-8", "replace")


def _labelling(name: str, given: Labels) -> Labelling:
    marked = [label for label in given if label not in _OUTSIDE]
    tagged = bool(marked) and all(str(label).startswith(_PREFIXES) for label in marked)
    plain = [None if label in _OUTSIDE else str(label)[2:] if tagged else str(label) for label in given]
    classes = tuple(dict.fromkeys(label for label in plain if label is not None))
    if len(classes) > GOES_ON:
        raise ArgumentError(f"labels {name!r} have {len(classes)} classes; at most {GOES_ON} can be shown.")
    number = {label: place for place, label in enumerate(classes)}
    ids = np.array([-1 if label is None else number[label] for label in plain], np.int16)
    begins = np.ones(len(ids), np.bool_)
    begins[1:] = ids[1:] != ids[:-1]
    if tagged:
        begins |= np.array([str(label).startswith(("B-", "S-", "U-")) for label in given], np.bool_)
    return Labelling(name, classes, ids, begins)
