"""Text as numbers: byte-pair encoding learnt from the training text, words, characters, or bytes.

The first four ids are the same in every tokenizer: padding, unknown, begin, end.
"""

from __future__ import annotations

import functools
import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..errors import ArgumentError, nearest, needed

__all__ = ["BOS", "EOS", "PAD", "SPECIAL", "UNKNOWN", "Kind", "Tokenizer", "train_tokenizer"]

PAD, UNKNOWN, BOS, EOS = range(4)
SPECIAL = ("<pad>", "<unknown>", "<begin>", "<end>")

Kind = Literal["bpe", "words", "characters", "bytes"]
KINDS = ("bpe", "words", "characters", "bytes")


@dataclass(frozen=True, eq=False)
class Tokenizer:
    """Turns text into numbers and back; made by `train_tokenizer` or `from_dict`.

    `bpe` and `bytes` decode to exactly the encoded text; `characters` too, except for characters that did not occur
    in training; `words` splits at white space and punctuation, and decodes to words with spaces between.
    """

    kind: Kind
    """How text is split: `bpe`, `words`, `characters` or `bytes`."""
    definition: str
    """The definition in the format of the package tokenizers, JSON."""
    _inner: Any = field(repr=False)

    @property
    def vocab_size(self) -> int:
        """Size of the vocabulary, the four special tokens included."""
        size: int = self._inner.get_vocab_size()
        return size

    def encode(self, text: str) -> list[int]:
        """Return the token ids of a text."""
        numbers: list[int] = self._inner.encode(text, add_special_tokens=False).ids
        return numbers

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the token ids of many texts; faster than one by one."""
        return [found.ids for found in self._inner.encode_batch(list(texts), add_special_tokens=False)]

    def encode_row(self, text: str) -> NDArray[np.int64]:
        """Return the token ids of a long text as an array; single characters are looked up, many times as fast."""
        if self.kind != "characters" or self._inner.normalizer is not None:
            return np.array(self.encode(text), np.int64)
        # The package reads the name of a special token as that token.
        parts = re.split(f"({'|'.join(SPECIAL)})", text)
        return np.concatenate([self._looked_up(part, number % 2 == 1) for number, part in enumerate(parts)])

    def _looked_up(self, text: str, special: bool) -> NDArray[np.int64]:
        if special:
            return np.array([SPECIAL.index(text)])
        points = np.frombuffer(text.encode("utf-32-le"), "<u4")
        found: NDArray[np.int64] = self._numbers[np.minimum(points, len(self._numbers) - 1)]
        return found

    @functools.cached_property
    def _numbers(self) -> NDArray[np.int64]:
        """The id of each character by its code point; the last one stands for all that are higher."""
        known = {ord(thing): number for thing, number in self._inner.get_vocab().items() if len(thing) == 1}
        numbers = np.full(max(known, default=0) + 2, UNKNOWN, np.int64)
        numbers[list(known)] = list(known.values())
        return numbers

    def decode(self, numbers: Sequence[int]) -> str:
        """Return the text of token ids; special tokens are left out."""
        text: str = self._inner.decode([int(number) for number in numbers], skip_special_tokens=True)
        return text

    def pieces(self, text: str) -> list[tuple[int, int]]:
        """Return the span of each token in the text: first character, and the one after the last."""
        places: list[tuple[int, int]] = self._inner.encode(text, add_special_tokens=False).offsets
        return places

    def align(self, words: Sequence[str]) -> tuple[list[int], list[int]]:
        """Return the token ids of a list of words, and the index of each word's first token.

        For tagging: the first token of a word carries its tag, the others none. A word without any
        token becomes one unknown token.
        """
        numbers: list[int] = []
        first: list[int] = []
        for number, word in enumerate(words):
            first.append(len(numbers))
            lead = " " if number and self.kind == "bpe" else ""
            numbers += self.encode(lead + word) or [UNKNOWN]
        return numbers, first

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, fit for JSON."""
        return {"kind": self.kind, "definition": json.loads(self.definition)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Tokenizer:
        """Build a tokenizer from what `to_dict` returned."""
        package = _package()
        definition = json.dumps(values["definition"], ensure_ascii=False)
        try:
            return cls(values["kind"], definition, package.Tokenizer.from_str(definition))
        except Exception as error:
            raise ArgumentError(f"The tokenizer's definition cannot be read: {error}.") from error


def train_tokenizer(
    kind: str, texts: Iterable[str], *, vocab_size: int = 8000, lowercase: bool = False, min_count: int = 1
) -> Tokenizer:
    """Train a tokenizer on texts; the same texts give the same tokenizer.

    Args:
        kind: `bpe`, `words`, `characters` or `bytes`.
        texts: What to learn from.
        vocab_size: Largest size of the vocabulary; the rarest tokens are left out and become unknown.
        lowercase: Whether case is ignored.
        min_count: Words and characters rarer than this are unknown; pairs rarer than this are not merged.

    >>> tokenizer = train_tokenizer("bpe", ["low lower lowest"] * 3)
    >>> tokenizer.decode(tokenizer.encode("lowest slow"))
    'lowest slow'
    """
    if kind not in KINDS:
        raise ArgumentError(f"There is no tokenizer {kind!r}; choose out of {', '.join(KINDS)}.{nearest(kind, KINDS)}")
    package = _package()
    inner = package.Tokenizer(_model(package, kind, texts, vocab_size, lowercase, min_count))
    if lowercase:
        inner.normalizer = package.normalizers.Lowercase()
    if kind == "words":
        inner.pre_tokenizer = package.pre_tokenizers.Whitespace()
    elif kind == "characters":
        inner.pre_tokenizer = package.pre_tokenizers.Split("", "isolated")
        inner.decoder = package.decoders.Fuse()
    else:
        inner.pre_tokenizer = package.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=kind == "bpe")
        inner.decoder = package.decoders.ByteLevel()
    if kind == "bpe":
        trainer = package.trainers.BpeTrainer(
            vocab_size=vocab_size,
            min_frequency=max(2, min_count),
            special_tokens=list(SPECIAL),
            initial_alphabet=sorted(package.pre_tokenizers.ByteLevel.alphabet()),
            show_progress=False,
        )
        inner.train_from_iterator(texts, trainer)
    else:
        inner.add_special_tokens(list(SPECIAL))
    return Tokenizer(kind, inner.to_str(), inner)  # type: ignore[arg-type]


def _model(package: Any, kind: str, texts: Iterable[str], vocab_size: int, lowercase: bool, min_count: int) -> Any:
    """Return the model of the package tokenizers; for words, characters and bytes a list, special tokens first."""
    if kind == "bpe":
        return package.models.BPE(unk_token=None)
    if kind == "bytes":
        things = sorted(package.pre_tokenizers.ByteLevel.alphabet())
        return package.models.BPE({thing: number for number, thing in enumerate([*SPECIAL, *things])}, [])
    cut = package.pre_tokenizers.Whitespace().pre_tokenize_str
    counts: Counter[str] = Counter()
    for text in texts:
        folded = text.lower() if lowercase else text
        counts.update(folded if kind == "characters" else (word for word, _ in cut(folded)))
    common = sorted(((-count, thing) for thing, count in counts.items() if count >= min_count))
    things = [thing for _, thing in common[: max(0, vocab_size - len(SPECIAL))]]
    vocabulary = {thing: number for number, thing in enumerate([*SPECIAL, *things])}
    return package.models.WordLevel(vocabulary, unk_token=SPECIAL[UNKNOWN])


def _package() -> Any:
    with needed("Tokenizers need the package tokenizers:", "train"):
        import tokenizers
    return tokenizers
