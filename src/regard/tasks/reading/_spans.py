"""Texts with entities as character spans (doccano, Prodigy, Label Studio, spaCy), and splitting a text into words."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from ...errors import DataError

# A word of a text that nobody has cut: a run of letters and digits, or one other character. Chinese and Japanese are
# written without blanks, and their data sets have a tag for each character.
_HAN = r"\u3005-\u3007\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
WORD = re.compile(rf"[{_HAN}]|[^\W{_HAN}]+|[^\w\s]")

HAN = re.compile(f"[{_HAN}]")

SPAN_KEYS = ("spans", "entities", "labels", "label", "ents", "annotations", "ner")
TEXT = ("text", "content", "data", "sentence")
START, END = ("start", "start_offset", "begin", "start_char"), ("end", "end_offset", "stop", "end_char")
LABEL = ("label", "labels", "type", "tag", "entity", "entity_group")
LEFT_OUT = ("reject", "ignore")
# With fewer spans than this, mismatches prove nothing.
FEW = 4


class Span(NamedTuple):
    """Characters `start` to `end` (exclusive) and their label; `text` is the span's text, if the source repeats it."""

    start: int
    end: int
    label: str
    text: str | None = None


class Spans(NamedTuple):
    """A text, its entities, and its words if the source has split it."""

    text: str
    spans: list[Span]
    words: list[tuple[int, int]] | None
    form: str


class InvalidRow(Exception):
    """A row of spans is invalid; the message says why."""


def are_span_texts(rows: Sequence[Any]) -> bool:
    """Return whether records are texts with character spans: at least one has some, or all have an empty list."""
    plain = 0
    for row in rows:
        try:
            found = _found(row)
        except InvalidRow:
            return True
        if found is not None and found.spans:
            return True
        plain += found is None and not _is_label_studio(row)
    return bool(rows) and not plain


def why_not_characters(row: Any) -> str | None:
    """Return why the entities of a record cannot be read: they count words, not characters."""
    if not isinstance(row, Mapping) or isinstance(row.get("text"), str):
        return None
    cut = next((key for key, one in row.items() if isinstance(one, list) and one and isinstance(one[0], str)), None)
    spans = next((key for key, one in row.items() if isinstance(one, list) and one and all(map(_is_span, one))), None)
    if cut is None or spans is None:
        return None
    return (
        f"{spans!r} counts the words of {cut!r}, and nothing says whether the end is one of them. Give a tag for each "
        "word, or spans of characters."
    )


def spans_of(row: Any) -> Spans | str:
    """Return a record's text and entities, or the reason to leave it out.

    Raises:
        InvalidRow: the record is invalid.
    """
    if isinstance(row, Mapping) and row.get("answer") in LEFT_OUT:
        return f"the answer is {row['answer']!r}"
    found = _found(row)
    if found is None:
        if _is_label_studio(row):
            return "nobody has annotated it"
        raise InvalidRow("there is no text with a list of entities, as the other rows have.")
    return found


def _found(row: Any) -> Spans | None:
    if isinstance(row, list) and len(row) == 2 and isinstance(row[0], str) and isinstance(row[1], Mapping):
        row = {"text": row[0], **row[1]}  # spaCy
    if not isinstance(row, Mapping):
        return None
    if _is_label_studio(row):
        return _label_studio(row)
    called: str | None = next((row[key] for key in TEXT if isinstance(row.get(key), str)), None)
    # If the words are a list, entities count words.
    cut = any(isinstance(value, list) and value and isinstance(value[0], str) for value in row.values())
    text = called if called is not None else None if cut else _longest(row)
    keys = [key for key in row if key in SPAN_KEYS] + [key for key in row if key not in SPAN_KEYS]
    for key in keys:
        value = row[key]
        if text is None or not isinstance(value, list):
            continue
        if value and all(_is_span(one) for one in value):
            form = "Prodigy" if "answer" in row or "tokens" in row else "texts with spans"
            return Spans(text, [_span(one) for one in value], _tokens(row), form)
    # No entity: an empty list, or no list at all if the row says that somebody has annotated it.
    seen = row.get("answer") == "accept" or "annotator" in row or "annotation_id" in row
    if text is None or text is not called or not (seen or any(row.get(key) == [] for key in SPAN_KEYS)):
        return None
    return Spans(text, [], _tokens(row), "texts with spans")


def _longest(row: Mapping[str, Any]) -> str | None:
    return max((value for value in row.values() if isinstance(value, str)), key=len, default=None)


def _is_label_studio(row: Any) -> bool:
    return (
        isinstance(row, Mapping)
        and isinstance(row.get("data"), Mapping)
        and ("annotations" in row or "completions" in row)
    )


def _label_studio(row: Mapping[str, Any]) -> Spans | None:
    data: Mapping[str, Any] = row["data"]
    called = data.get("text")
    text = called if isinstance(called, str) else _longest(data)
    done = [one for one in row.get("annotations") or row.get("completions") or []
            if isinstance(one, Mapping) and not one.get("was_cancelled")]  # fmt: skip
    if text is None or not done:
        return None
    results = [one.get("value", {}) for one in done[0].get("result", []) if isinstance(one, Mapping)]
    return Spans(text, [_span(one) for one in results if _is_span(one)], None, "Label Studio")


def _is_span(one: Any) -> bool:
    if isinstance(one, Mapping):
        return any(key in one for key in START) and any(key in one for key in END) and any(key in one for key in LABEL)
    return (
        isinstance(one, list)
        and len(one) == 3
        and all(_whole(number) for number in one[:2])
        and isinstance(one[2], str)
    )


def _whole(number: Any) -> bool:
    return isinstance(number, int) and not isinstance(number, bool)


def _span(one: Any) -> Span:
    if isinstance(one, list):
        return Span(one[0], one[1], one[2])
    start, end, label = (next(one[key] for key in keys if key in one) for keys in (START, END, LABEL))
    if isinstance(label, list) and len(label) == 1:
        label = label[0]
    if not isinstance(label, str):
        raise InvalidRow(f"the label of a span is {label!r}; the rule is one text.")
    if not (_whole(start) and _whole(end)):
        raise InvalidRow(f"a span goes from {start!r} to {end!r}; the rule is two whole numbers.")
    text = one.get("text")
    return Span(start, end, label.strip(), text if isinstance(text, str) else None)


def _tokens(row: Mapping[str, Any]) -> list[tuple[int, int]] | None:
    tokens = row.get("tokens")
    if isinstance(tokens, list) and tokens and all(
        isinstance(one, Mapping) and _whole(one.get("start")) and _whole(one.get("end")) for one in tokens
    ):  # fmt: skip
        return [(one["start"], one["end"]) for one in tokens]
    return None


@dataclass
class SpanTexts:
    """Converts texts with spans to words with tags, and counts what is lost."""

    forms: Counter[str] = field(default_factory=Counter)
    spans: int = 0
    overlapping: int = 0
    cut: int = 0
    astray: int = 0
    """Spans that begin or end inside a word, or at a blank."""
    blanks: int = 0
    """Spans that begin or end at a blank."""
    wordless: int = 0
    other_units: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    first_cut: str = ""

    def words_and_tags(self, row: Spans) -> tuple[list[str], list[str]]:
        """Return the words of a text with IOB2 tags; words are split where a span begins or ends.

        Raises:
            InvalidRow: a span lies outside the text, is empty, or does not match its stated text.
        """
        self.forms[row.form] += 1
        spans = self._apart(_checked(row, self))
        words = [(start, end) for start, end in row.words or _places(row.text) if row.text[start:end].strip()]
        pieces = self._cut(row.text, words, spans)
        within = {edge for start, end in words for edge in range(start + 1, end)}
        for span in spans:
            named = row.text[span.start : span.end]
            self.blanks += named != named.strip()
            self.astray += span.start in within or span.end in within or named != named.strip()
        tags = ["O"] * len(pieces)
        for span in spans:
            inside = [place for place, (start, end) in enumerate(pieces) if span.start <= start and end <= span.end]
            self.wordless += not inside
            for place in inside:
                tags[place] = f"{'B' if place == inside[0] else 'I'}-{span.label}"
        return [row.text[start:end] for start, end in pieces], tags

    def _apart(self, spans: Sequence[Span]) -> list[Span]:
        """Return spans that do not overlap; of overlapping ones the longest is kept."""
        kept: list[Span] = []
        self.spans += len(spans)
        for span in sorted(set(spans), key=lambda one: (one.start - one.end, one.start)):
            if any(span.start < other.end and other.start < span.end for other in kept):
                self.overlapping += 1
            else:
                kept.append(span)
        return sorted(kept)

    def _cut(self, text: str, words: Sequence[tuple[int, int]], spans: Sequence[Span]) -> list[tuple[int, int]]:
        edges = sorted({edge for span in spans for edge in (span.start, span.end)})
        pieces = []
        for start, end in words:
            inner = [edge for edge in edges if start < edge < end]
            if inner:
                self.cut += 1
                self.first_cut = self.first_cut or text[start:end]
            bounds = [start, *inner, end]
            pieces += [(a, b) for a, b in pairwise(bounds) if text[a:b].strip()]
        return pieces

    def refuse_mismatched(self, path: Path) -> None:
        """Refuse a source if most of its spans do not match its words.

        Raises:
            DataError: most do not.
        """
        if self.spans >= FEW and 2 * self.astray > self.spans:
            raise DataError(
                f"{path}: {self.astray:,} of {self.spans:,} spans begin or end in a word (first {self.first_cut!r}) "
                "or at a blank. Offsets count characters (code points) from 0, the end exclusive; these seem to count "
                "something else, such as bytes. Write them anew. If it is meant so: --as-told."
            )

    def remarks(self) -> Iterator[str]:
        """Yield a sentence about each kind of loss."""
        for why, count in self.dropped.items():
            yield f"{count:,} {'text was' if count == 1 else 'texts were'} left out: {why}."
        if self.overlapping:
            yield f"{self.overlapping:,} of {self.spans:,} spans overlap a longer one, which was kept in their place."
        if self.cut:
            yield (
                f"{self.cut:,} words were cut because a span begins or ends inside them (first {self.first_cut!r}); "
                "`predict` will not cut them."
            )
        if self.blanks:
            yield f"{self.blanks:,} spans begin or end at a blank, which was taken off."
        if self.wordless:
            yield f"{self.wordless:,} spans hold no word and were left out."
        if self.other_units:
            yield (
                f"{self.other_units:,} spans count characters as JavaScript does (UTF-16); they were set right by the "
                "text that stands beside them."
            )


def is_han(sign: str) -> bool:
    """Return whether a character is Chinese or Japanese, which are written without blanks between words."""
    return HAN.match(sign) is not None


def _places(text: str) -> list[tuple[int, int]]:
    return [match.span() for match in WORD.finditer(text)]


def _checked(row: Spans, counted: SpanTexts) -> list[Span]:
    """Return spans checked against their text; offsets in UTF-16 units are corrected if the stated texts show it."""
    found = []
    for span in row.spans:
        if span.text is not None and row.text[span.start : span.end] != span.text:
            wide = row.text.encode("utf-16-le")[2 * span.start : 2 * span.end].decode("utf-16-le", "replace")
            if wide != span.text:
                stands = row.text[max(0, span.start) : max(0, span.end)]
                raise InvalidRow(
                    f"characters {span.start} to {span.end} are {stands!r}, and the span calls them {span.text!r}; the "
                    "end is exclusive, and characters are counted from 0."
                )
            start = len(row.text.encode("utf-16-le")[: 2 * span.start].decode("utf-16-le", "replace"))
            span = span._replace(start=start, end=start + len(span.text))
            counted.other_units += 1
        if not 0 <= span.start < span.end <= len(row.text):
            raise InvalidRow(f"a span goes from {span.start} to {span.end} in a text of {len(row.text)} characters.")
        if not span.label:
            raise InvalidRow(f"the span {span.start} to {span.end} has no label.")
        found.append(span._replace(text=None))
    return found
