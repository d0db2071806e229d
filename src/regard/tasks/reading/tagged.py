"""Sentences with a tag for each word: CoNLL columns, folders of parallel lines, tables."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from ...corpora import TaggedWords
from ...errors import DataError
from ._files import Notes, Read, first_accepting, text_lines
from ._hub import hub_rows, why_no_hub
from ._schemes import begun_inside, is_tag, opens_plainly, to_iob2, why_not_scheme, why_not_tag
from ._tables import Columns, Row, rows, value, why_no_table
from .sources import Source, as_paths

__all__ = ["TaggedOptions", "read_tagged", "to_iob2"]


@dataclass(frozen=True)
class TaggedOptions:
    """How tagged sentences are found in a file."""

    word_column: int = 0
    """Column of the words in CoNLL files, from 0; negative counts from the end."""
    tag_column: int = -1
    """Column of the tags in CoNLL files."""
    words: str = "tokens"
    """Name of the words in tables: a list, or a text with spaces."""
    tags: str = "tags"
    """Name of the tags in tables."""
    scheme: Literal["auto", "iob1", "iob2", "bioes"] = "auto"
    """How tags mark where an entity begins; auto reads all three, and a tag `I-` with nothing to go on with begins one.
    Asked for by name, a scheme's rules are checked."""
    skip_bad_rows: bool = False
    """Leave out sentences that break a rule, and say how many."""


def read_tagged(source: Source, options: TaggedOptions | None = None) -> Read[list[TaggedWords]]:
    """Read sentences whose words have tags; every scheme becomes IOB2.

    Sources: a CoNLL file (a word a line with its columns, an empty line after each sentence, comments
    `# ...`, `-DOCSTART-` left out); a folder with `seq.in` and `seq.out` (a sentence a line); JSONL,
    JSON or Parquet with lists of words and tags. `.gz` is read as it is.

    Raises:
        DataError: with the file, the line and the rule.

    >>> import pathlib, tempfile
    >>> file = pathlib.Path(tempfile.mkdtemp()) / "a.conll"
    >>> _ = file.write_text("Ada B-PER\\nwrote O\\n")
    >>> read_tagged(file).examples[0].tags
    ('B-PER', 'O')
    """
    paths, options = as_paths(source), options or TaggedOptions()
    notes = Notes(options.skip_bad_rows)
    run: Any = first_accepting("tagged words", paths, READERS)
    found: list[TaggedWords] = []
    openings = _Openings()
    for raw in run(paths, options, notes):
        wrong = _why_bad_sentence(raw, options)
        if wrong is not None:
            notes.bad(raw.path, *wrong)
            continue
        found.append(TaggedWords(tuple(raw.words), to_iob2(raw.tags, options.scheme)))
        if options.scheme == "auto":
            openings.see(raw, found[-1].tags)
    if not found:
        raise notes.nothing(paths[0], "holds no sentence. Give a file with a word and a tag a line.")
    return Read(found, tuple(notes.left_out), openings.remarks())


class Raw(NamedTuple):
    """A sentence as it stands in a file."""

    path: Path
    lines: Sequence[int]
    """The line of each word, or one line for all of them."""
    words: Sequence[str]
    tags: Sequence[str]

    def line(self, word: int) -> int:
        """Return the line of a word."""
        return self.lines[min(word, len(self.lines) - 1)]


def _why_bad_sentence(raw: Raw, options: TaggedOptions) -> tuple[int, str] | None:
    """Return the line and the rule that a sentence breaks, or None."""
    words, tags = raw.words, raw.tags
    if len(words) != len(tags):
        return raw.line(0), f"there are {len(words)} words and {len(tags)} tags; each word has one."
    if not words:
        return raw.line(0), "there is no word."
    for place, (word, tag) in enumerate(zip(words, tags, strict=True)):
        rule = why_not_tag(tag)
        if rule is not None:
            return raw.line(place), rule
        if not word.strip():
            return raw.line(place), "a word is empty."
    broken = why_not_scheme(tags, options.scheme)
    return None if broken is None else (raw.line(broken[0]), broken[1])


@dataclass
class _Openings:
    """How entities begin: with `I-`, in data that elsewhere opens them with `B-`, it may be a mistake."""

    inside: int = 0
    first: str = ""
    plain: bool = False

    def see(self, raw: Raw, tags: tuple[str, ...]) -> None:
        """Count in a sentence, with its tags as they were read."""
        places = begun_inside(raw.tags, tags)
        if places and not self.inside:
            self.first = f"{raw.path}, line {raw.line(places[0])}: {raw.tags[places[0]]!r} goes on with no entity"
        self.inside += len(places)
        self.plain = self.plain or opens_plainly(raw.tags)

    def remarks(self) -> tuple[str, ...]:
        """Return one sentence, or none: a file in which all begin with `I-` is IOB1."""
        if not (self.inside and self.plain):
            return ()
        behind = "" if self.inside == 1 else f", nor do {self.inside - 1} other tags"
        return (f"{self.first} of its label{behind}; read as the beginning of one, as B- would be.",)


def _why_no_conll(source: tuple[Path, ...]) -> str | None:
    if len(source) != 1:
        return f"it is one file, {len(source)} were given"
    if not source[0].is_file():
        return f"{source[0]} is no file"
    return None


def _conll(source: tuple[Path, ...], options: TaggedOptions, notes: Notes) -> Iterator[Raw]:
    path = source[0]
    words: list[str] = []
    tags: list[str] = []
    lines: list[int] = []
    width, bad, last = 0, False, 0
    for number, line in _and_end(text_lines(path, notes)):
        # A line that was left out as undecodable takes its sentence with it.
        bad, last = bad or number not in (last + 1, END), number
        columns = _columns(line)
        if not line.strip(" \t"):
            if words and not bad:
                yield Raw(path, lines, words, tags)
            lines, words, tags, bad = [], [], [], False
            continue
        if columns[0] == "-DOCSTART-" or _is_comment(line, columns, width):
            continue
        width = width or len(columns)
        rule = _why_bad(columns, width, options)
        if rule is not None:
            if not bad:
                notes.bad(path, number, rule)
            bad = True
            continue
        lines.append(number)
        words.append(columns[options.word_column].strip())
        tags.append(columns[options.tag_column].strip())


END = -1


def _and_end(lines: Iterator[tuple[int, str]]) -> Iterator[tuple[int, str]]:
    yield from lines
    yield END, ""


def _columns(line: str) -> list[str]:
    # Only tab and space separate: other white space may stand inside a word.
    return line.split("\t") if "\t" in line else [column for column in line.split(" ") if column]


def _why_bad(columns: list[str], width: int, options: TaggedOptions) -> str | None:
    if len(columns) < 2:
        return "there is 1 column; a word and its tag are the least."
    if len(columns) != width:
        return f"there are {len(columns)} columns, {width} in the first line."
    for name, place in (("word", options.word_column), ("tag", options.tag_column)):
        if not -width <= place < width:
            return f"there is no {name} column {place}; there are {width}, counted from 0."
        if not columns[place].strip():
            return f"the {name} is empty."
    return None


def _is_comment(line: str, columns: list[str], width: int) -> bool:
    """Return whether a line is a comment, `# id 7`, and not the word `#` with its columns and a tag at the end."""
    is_row = len(columns) == (width or max(len(columns), 2)) and is_tag(columns[-1].strip())
    return line.startswith("#") and not is_row


def _why_no_folder(source: tuple[Path, ...]) -> str | None:
    if len(source) == 2 and all(path.is_file() for path in source):
        return None
    if len(source) != 1 or not source[0].is_dir():
        return "it is a folder with seq.in and seq.out, or two files of as many lines"
    missing = [name for name in ("seq.in", "seq.out") if not (source[0] / name).is_file()]
    return f"the folder lacks {' and '.join(missing)}" if missing else None


def _parallel(source: tuple[Path, ...], options: TaggedOptions, notes: Notes) -> Iterator[Raw]:
    first, second = source if len(source) == 2 else (source[0] / "seq.in", source[0] / "seq.out")
    words, tags = (dict(text_lines(path, notes)) for path in (first, second))
    counts = [max((number for number, line in lines.items() if line.strip()), default=0) for lines in (words, tags)]
    if counts[0] != counts[1]:
        raise DataError(f"{first} has {counts[0]} lines and {second} {counts[1]}; line by line they belong together.")
    for number in range(1, counts[0] + 1):
        if number not in words or number not in tags:
            continue
        if words[number].strip() or tags[number].strip():
            yield Raw(first, [number], _columns(words[number].strip()), _columns(tags[number].strip()))


def _table(source: tuple[Path, ...], options: TaggedOptions, notes: Notes) -> Iterator[Raw]:
    return _lists(rows(source[0], (options.words, options.tags), Columns(), notes), options, notes)


def _hub(source: tuple[Path, ...], options: TaggedOptions, notes: Notes) -> Iterator[Raw]:
    return _lists(hub_rows(source), options, notes)


def _lists(table: Iterable[Row], options: TaggedOptions, notes: Notes) -> Iterator[Raw]:
    for row in table:
        words = value(row, options.words, notes)
        tags = None if words is None else value(row, options.tags, notes)
        if words is None or tags is None:
            continue
        both = [x.split() if isinstance(x, str) else x for x in (words, tags)]
        if not all(isinstance(x, list) and all(isinstance(one, str) for one in x) for x in both):
            notes.bad(row[0], row[1], f"{options.words!r} and {options.tags!r} must be lists of texts.")
            continue
        yield Raw(row[0], [row[1]], both[0], both[1])


READERS = (
    ("table (JSONL, JSON, CSV, TSV, Parquet)", why_no_table, _table),
    ("parallel lines", _why_no_folder, _parallel),
    ("CoNLL columns", _why_no_conll, _conll),
    ("data set of the hub", why_no_hub, _hub),
)
