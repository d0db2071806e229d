"""Cutting text into words as the sentences of the training data were cut.

Files of tagged words seldom keep the text that their words come from. What can be learnt from words alone: at which
places between two characters they are never cut (all places inside words), and at which they are (where two words
follow each other that are written together: `wrote .`, `do n't`). A place is described by the kinds of the characters
around it; places that training never shows are cut between signs, letters aside.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, Self

from .reading import is_han

Span = tuple[int, int]

OPENING = frozenset("([{<«‹“‘„‚¿¡$£€#@")
CLOSING = frozenset(")]}>»›”,.;:!?%…。，、！？；：’")
QUOTES = frozenset("\"'`")
APOSTROPHES = frozenset("'’")
# Signs that stand between words with blanks and without: their neighbours are weak evidence.
BETWEEN, WEAK = frozenset("-–—/&+=*~|\\_"), 0.1
ENDS = frozenset((".", "!", "?", "...", "…", "。", "！", "？", "।"))
LINK = re.compile(r"(https?://|www\.)\S*[\w/=]", re.IGNORECASE)
LINKS = "links"
# Sentences on which the agreement is measured, words kept as exceptions, and pieces of which one may consist.
MEASURED, MOST_WORDS, MOST_PIECES = 2000, 20_000, 12


class Cutting:
    """Cuts text into words, by places that are cut or not and words that are kept whole.

    >>> cutting = Cutting.learnt([["They", "do", "n't", "like", "it", "."]] * 3)
    >>> text = "I don't know."
    >>> [text[start:end] for start, end in cutting.spans(text)]
    ['I', 'do', "n't", 'know', '.']
    """

    def __init__(
        self,
        places: Mapping[str, bool],
        whole: Sequence[str] = (),
        agreement: float | None = None,
        longest: int | None = None,
    ) -> None:
        self._places = dict(places)
        self._whole = frozenset(whole)
        self.longest = longest
        """Words of the longest training sentence."""
        self.agreement = agreement
        """Share of the training sentences that are cut as they were, if their words are joined by blanks."""

    @classmethod
    def learnt(cls, sentences: Sequence[Sequence[str]]) -> Self:
        """Learn from sentences; cost linear in their characters."""
        counts: dict[str, list[float]] = {}
        for words in sentences:
            together = [(chunk, cuts, 1.0) for chunk, cuts in _written(words)]
            for chunk, cuts, weight in [*together, *((word, {}, 0.5) for word in words)]:
                for place in range(1, len(chunk)):
                    for key in _keys(chunk, place):
                        counts.setdefault(key, [0.0, 0.0])[place in cuts] += cuts.get(place, weight)
        found: dict[str, bool] = {}
        for key in sorted(counts, key=lambda key: (len(key.split(" ")), key)):
            joined, cut = counts[key]
            if (cut > joined) != _decided(found, key):
                found[key] = cut > joined
        known = Counter(word for words in sentences for word in words if " " not in word)
        if any(LINK.fullmatch(word) for word in known):
            found[LINKS] = False
        plain = cls(found)
        whole = {word: count for word, count in known.items() if len(plain._pieces(word)) > 1}
        for words in sentences:
            for chunk, cuts in _written(words):
                edges = [0, *cuts, len(chunk)]
                for at, start in enumerate(edges):
                    for end in edges[at + 2 : at + MOST_PIECES]:
                        if chunk[start:end] in whole:
                            whole[chunk[start:end]] -= 1
        kept = sorted((word for word, count in whole.items() if count > 0), key=lambda word: (-known[word], word))
        made = cls(found, kept[:MOST_WORDS])
        some = sentences[:: max(1, len(sentences) // MEASURED)]
        made.longest = max(map(len, sentences), default=None)
        made.agreement = sum(made.cut(" ".join(words)) == list(words) for words in some) / max(1, len(some))
        return made

    def spans(self, text: str) -> list[Span]:
        """Return the first character of each word of a text, and the one after its last."""
        found: list[Span] = []
        start = None
        for at, sign in enumerate(text + " "):
            if sign.isspace():
                if start is not None:
                    found += self._chunk(text[start:at], start)
                start = None
            elif start is None:
                start = at
        return found

    def cut(self, text: str) -> list[str]:
        """Return the words of a text."""
        return [text[start:end] for start, end in self.spans(text)]

    def sentences(self, text: str) -> list[list[Span]]:
        """Return the words of a text; one with more than the longest training sentence is divided.

        Sentences end at a line end, and behind a sign that ends one.
        """
        found: list[list[Span]] = [[]]
        words = self.spans(text)
        if self.longest is None or len(words) <= self.longest:
            return [words]
        for start, end in words:
            before = found[-1][-1] if found[-1] else None
            if before is not None and ("\n" in text[before[1] : start] or text[slice(*before)] in ENDS):
                found.append([])
            found[-1].append((start, end))
        return found

    def __str__(self) -> str:
        """How text is cut, in a sentence."""
        if self.agreement is None:
            return "text is cut into words at blanks and signs"
        return (
            f"text is cut into words as the training data was ({self.agreement:.0%} of its sentences come out as cut)"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, fit for JSON."""
        return {
            "places": self._places,
            "whole": sorted(self._whole),
            "agreement": self.agreement,
            "longest": self.longest,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any] | None) -> Self:
        """Build from what `to_dict` returned; without values, cut at blanks and signs."""
        if values is None:
            return cls({})
        return cls(values["places"], values["whole"], values["agreement"], values.get("longest"))

    def _chunk(self, chunk: str, at: int) -> Iterator[Span]:
        """Yield the words of a text without blanks: its pieces, of which some make a known word again."""
        pieces = self._pieces(chunk)
        place = 0
        while place < len(pieces):
            most = min(len(pieces), place + MOST_PIECES)
            start = pieces[place][0]
            last = next((end for end in range(most, place + 1, -1) if chunk[start : pieces[end - 1][1]] in self._whole),
                        place + 1)  # fmt: skip
            yield at + start, at + pieces[last - 1][1]
            place = last

    def _pieces(self, chunk: str) -> list[Span]:
        link = LINK.search(chunk) if LINKS in self._places else None
        inside = range(link.start() + 1, link.end()) if link is not None else ()
        edges = [place for place in range(1, len(chunk)) if place not in inside and self._cuts(chunk, place)]
        return list(zip([0, *edges], [*edges, len(chunk)], strict=True))

    def _cuts(self, chunk: str, place: int) -> bool:
        key = _keys(chunk, place)[-1]
        return self._places[key] if key in self._places else _decided(self._places, key)


def _decided(places: Mapping[str, bool], key: str) -> bool:
    """Return whether a place is cut, by what is known of less of its surroundings."""
    parts = key.split(" ")
    while len(parts) > 2:
        parts = parts[1:] if len(parts) == 4 else parts[:-1]
        shorter = " ".join(parts)
        if shorter in places:
            return places[shorter]
    return not set(parts[:2]) <= {"a", "0", "_"}


def _keys(chunk: str, place: int) -> tuple[str, str, str]:
    """Return descriptions of a place between two characters, from few to more of its surroundings."""
    left, right = _kind(chunk[place - 1]), _kind(chunk[place])
    before = _kind(chunk[place - 2]) if place > 1 else "^"
    after = _kind(chunk[place + 1]) if place + 1 < len(chunk) else "$"
    if after in APOSTROPHES:  # what follows tells "do|n't" from "Joh|n's", and "Ada|'s" from "don|'t"
        after += chunk[place + 2 : place + 3].lower()
    elif right in APOSTROPHES and after == "a":
        after = chunk[place + 1].lower()
    return f"{left} {right}", f"{left} {right} {after}", f"{before} {left} {right} {after}"


@lru_cache(maxsize=4096)
def _kind(sign: str) -> str:
    """Return the kind of a character: letter (with marks), digit, Chinese or Japanese; any other is its own kind."""
    if is_han(sign):
        return "H"
    kind = unicodedata.category(sign)[0]
    return {"L": "a", "M": "a", "N": "0"}.get(kind, sign)


def _written(words: Sequence[str]) -> Iterator[tuple[str, dict[int, float]]]:
    """Yield the words that are probably written together, as one text, and the weight of each place between them."""
    cuts: dict[int, float] = {}
    chunk, quoted = "", False
    behind = 0.0  # how sure it is that the next word follows without a blank
    for word in words:
        weight = behind
        behind = 0.0
        if all(sign in QUOTES for sign in word):
            weight, behind = (1.0, 0.0) if quoted else (weight, 1.0)
            quoted = not quoted
        elif set(word) <= OPENING:
            behind = 1.0
        elif word[0] in CLOSING or (word[0] in APOSTROPHES and len(word) > 1) or word.lower() in ("n't", "n’t"):
            weight = 1.0
        elif set(word) <= BETWEEN:
            weight, behind = max(weight, WEAK), WEAK
        elif len(word) > 1 and word[-1] in APOSTROPHES:
            behind = 1.0
        elif chunk and is_han(word[0]) and is_han(chunk[-1]):
            weight = 1.0
        if chunk and not weight:
            yield chunk, cuts
            chunk, cuts = "", {}
        if chunk:
            cuts[len(chunk)] = weight
        chunk += word
    if chunk:
        yield chunk, cuts
