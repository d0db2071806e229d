"""The classes of examples, which corpora contain, readers return and tasks learn from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from ..errors import ArgumentError, DtypeError, ShapeError

Examples = TypeVar("Examples", covariant=True)


@dataclass(frozen=True, slots=True)
class TaggedWords:
    """A sentence whose words carry IOB2 tags: `B-type` opens an entity, `I-type` continues it, `O` is neither.

    >>> TaggedWords(("Ada", "Lovelace", "wrote"), ("B-person", "I-person", "O")).tags[1]
    'I-person'
    """

    words: tuple[str, ...]
    """The words, in order; at least one."""
    tags: tuple[str, ...]
    """One tag for each word."""

    def __post_init__(self) -> None:
        if len(self.words) != len(self.tags):
            raise ArgumentError(
                f"TaggedWords was given {len(self.words)} words and {len(self.tags)} tags. Give each word one tag."
            )


@dataclass(frozen=True, slots=True)
class LabelledText:
    """A text with its labels: usually one; several or none if classes are not exclusive."""

    text: str
    """The text as it was read."""
    labels: tuple[str, ...]
    """The labels, in the order of the source."""


@dataclass(frozen=True, slots=True)
class TextPair:
    """A source text and its target text: a translation, a summary, a date."""

    source: str
    """The source."""
    target: str
    """The target."""


@dataclass(frozen=True, slots=True)
class Document:
    """A text with a name."""

    name: str
    """Where the text comes from, such as a relative path."""
    text: str
    """The text as it was read."""


@dataclass(frozen=True, slots=True, eq=False)
class Images:
    """Images of one size in one array, and a label for each."""

    pixels: NDArray[np.uint8]
    """The pixels `(N, H, W, C)`, uint8, 0 to 255."""
    labels: tuple[str, ...]
    """One label for each image."""

    def __post_init__(self) -> None:
        if self.pixels.dtype != np.uint8:
            raise DtypeError(f"Images was given pixels of {self.pixels.dtype}. Give uint8, 0 to 255.")
        if self.pixels.ndim != 4 or len(self.pixels) != len(self.labels):
            raise ShapeError(
                f"Images was given pixels of shape {self.pixels.shape} and {len(self.labels)} labels. The rule is "
                "(N, H, W, C) and N labels."
            )

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.labels)


@dataclass(frozen=True, slots=True)
class Split(Generic[Examples]):
    """Examples for training, for model selection, and for the reported figures.

    `Examples` is a sequence of one form (`Sequence[TaggedWords]`), or `Images`.
    """

    train: Examples
    """Training examples."""
    dev: Examples
    """Development examples, which select checkpoint and settings."""
    test: Examples
    """Test examples, used once, for the reported figure."""
    description: str
    """What the examples are, how many, and how they were split."""
