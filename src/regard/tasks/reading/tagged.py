"""Sentences with a tag for each word: CoNLL columns, tables, texts with spans, parallel lines."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

from ...corpora import TaggedWords
from ...errors import DataError
from ._columns import WORD_NAME, Columns
from ._features import named
from ._files import Notes, Read, first_accepting, plain_suffix, text_lines
from ._hub import hub_rows, why_no_hub
from ._records import Record, is_records, records
from ._roles import Roles, blocks_without_ranges, coded_column, find_roles, range_column
from ._schemes import begun_inside, holds_tags, opens_plainly, to_iob2, why_not_scheme
from ._separated import cells_text
from ._sheets import Block, Row, Sheet, lines_sheet, pieces, table_sheet
from ._spans import SPAN_KEYS, TEXT, InvalidRow, SpanTexts, are_span_texts, spans_of, why_not_characters
from ._tables import is_cells, rows
from .sources import Group, Source, read_each

# A file without an empty line is one sentence; with more words than this, that is a mistake.
LONGEST = 500
LANGUAGE = re.compile(r"[a-z]{2,3}(-[a-z-]+)?:")
# Among this many tags without letters, each occurs more than once.
ENOUGH = 20
# If this many sentences all have one word, it is not by chance.
SINGLE = 5


@dataclass(frozen=True)
class TaggedOptions:
    """How tagged sentences are found in a file."""

    word_column: int | str | None = None
    """Column of the words, by its name or its number from 0 (negative from the end). Unless given it is found by what
    the columns hold."""
    tag_column: int | str | None = None
    """Column of the tags, in the same way."""
    sentence_column: int | str | None = None
    """Column that says to which sentence a word belongs, if sentences are not separated by empty lines."""
    words: str | None = None
    """Name of the column of words, in tables: another way to write word_column."""
    tags: str | None = None
    """Name of the column of tags, in tables."""
    labels: str | None = None
    """Names of tags that are numbers, in the order of the numbers from 0, apart by commas: O,B-PER,I-PER. Or a file
    with one a line."""
    scheme: Literal["auto", "io", "iob1", "iob2", "bioes"] = "auto"
    """How tags mark where an entity begins; auto reads all schemes, and an `I-` that continues no entity begins one.
    If a scheme is named, its rules are checked; `io` has no letters: PER, LOC, O."""
    skip_bad_rows: bool = False
    """Leave out invalid sentences, and report how many."""
    as_told: bool = False
    """Read also what looks wrong: each sentence one word, all words one sentence, spans that do not match words."""


def read_tagged(source: Source, options: TaggedOptions | None = None) -> Read[list[TaggedWords]]:
    """Read sentences whose words have tags; every scheme becomes IOB2.

    Sources: columns, a word a line, with an empty line after each sentence or a column that numbers them (CoNLL in
    all its forms, CSV, TSV); tables with a sentence a row (JSONL, JSON, Parquet, CSV, TSV), as lists or texts with
    blanks; texts with spans of characters (doccano, Prodigy, Label Studio, spaCy); a folder with `seq.in` and
    `seq.out` (a sentence a line); several of these files, or their folder; a name of the hub. The format, and the
    columns of words and tags, are detected from the contents. `.gz` is decompressed.

    Raises:
        DataError: with file, line and rule; or with the options to choose from.

    >>> import pathlib, tempfile
    >>> file = pathlib.Path(tempfile.mkdtemp()) / "a.conll"
    >>> _ = file.write_text("1 Ada B-PER\\n2 wrote O\\n")
    >>> found = read_tagged(file)
    >>> found.examples[0].words, found.examples[0].tags
    (('Ada', 'wrote'), ('B-PER', 'O'))
    >>> found.reading
    'columns split by blanks (numbers from 0): words in 1, tags in 2, 0 numbers the words'
    """
    return read_each(source, options or TaggedOptions(), _groups, _read)


def _groups(paths: Group) -> list[Group]:
    """Return each path alone, or two files of words and of tags together."""
    return [paths] if len(paths) == 2 and _why_no_folder(paths) is None else [(path,) for path in paths]


def _read(paths: Group, options: TaggedOptions) -> Read[list[TaggedWords]]:
    notes = Notes(options.skip_bad_rows)
    form, run = first_accepting("tagged words", paths, READERS)
    taken: Taken = run(paths, options, notes)
    found: list[TaggedWords] = []
    openings = _Openings()
    for raw in taken.sentences:
        wrong = _why_bad_sentence(raw, options)
        if wrong is not None:
            notes.bad(raw.path, *wrong)
            continue
        found.append(TaggedWords(tuple(raw.words), to_iob2(raw.tags, options.scheme)))
        if options.scheme == "auto" and raw.lettered:
            openings.see(raw, found[-1].tags)
    if not found:
        raise notes.nothing(paths[0], "holds no sentence. Give a file with a word and a tag a line.")
    prefix = prefix_of([word for one in found for word in one.words])
    if prefix:
        found = [TaggedWords(tuple(word.removeprefix(prefix) for word in one.words), one.tags) for one in found]
        taken.remarks.append(f"every word begins with {prefix!r}, as in WikiANN, which was taken off.")
    remarks = (*taken.remarks, *openings.remarks(), *_odd_words(found))
    return Read(found, tuple(notes.left_out), remarks, taken.reading, form, taken.columns)


class Raw(NamedTuple):
    """A sentence of a file before conversion to IOB2; each tag has a letter and a label."""

    path: Path
    lines: Sequence[int]
    """The line of each word, or one line for all of them."""
    words: Sequence[str]
    tags: Sequence[str]
    lettered: bool = True
    """Whether its tags have letters that mark where an entity begins."""

    def line(self, word: int) -> int:
        """Return the line of a word."""
        return self.lines[min(word, len(self.lines) - 1)]


@dataclass
class Taken:
    """What a reader extracts from a source."""

    sentences: list[Raw] = field(default_factory=list)
    reading: str = ""
    remarks: list[str] = field(default_factory=list)
    columns: dict[str, str | int] = field(default_factory=dict)


def _why_bad_sentence(raw: Raw, options: TaggedOptions) -> tuple[int, str] | None:
    """Return the line of a sentence's first error, and the rule; None if it is valid."""
    if not raw.words:
        return raw.line(0), "there is no word."
    broken = why_not_scheme(raw.tags, options.scheme)
    return None if broken is None else (raw.line(broken[0]), broken[1])


@dataclass
class _Openings:
    """Counts entities that begin with `I-`, which may be a mistake in data that uses `B-` elsewhere."""

    inside: int = 0
    first: str = ""
    plain: bool = False

    def see(self, raw: Raw, tags: tuple[str, ...]) -> None:
        """Add a sentence, with its tags as they were converted."""
        places = begun_inside(raw.tags, tags)
        if places and not self.inside:
            self.first = f"{raw.path}, line {raw.line(places[0])}: {raw.tags[places[0]]!r} goes on with no entity"
        self.inside += len(places)
        self.plain = self.plain or opens_plainly(raw.tags)

    def remarks(self) -> tuple[str, ...]:
        """Return a warning, or none if all entities begin with `I-`, which is IOB1."""
        if not (self.inside and self.plain):
            return ()
        behind = "" if self.inside == 1 else f", nor do {self.inside - 1} other tags"
        return (f"{self.first} of its label{behind}; read as the beginning of one, as B- would be.",)


def prefix_of(words: Sequence[str]) -> str:
    """Return the language prefix (`en:`) of all words; empty if not every word has it."""
    match = LANGUAGE.match(words[0]) if words else None
    prefix = match[0] if match is not None else ""
    return prefix if len(words) > 2 and all(word.startswith(prefix) and word != prefix for word in words) else ""


def _odd_words(found: Sequence[TaggedWords]) -> Iterator[str]:
    """Yield warnings about words: invisible ones, and words with a space."""
    words = [word for one in found for word in one.words]
    unseen = [word for word in words if not any(sign.isprintable() and not sign.isspace() for sign in word)]
    if unseen:
        yield f"words that hold nothing that can be seen are kept as they are: {len(unseen):,}, first {unseen[0]!r}."
    longest = max(len(one.words) for one in found)
    if len(found) > 1 and longest > LONGEST:
        yield f"the longest sentence has {longest:,} words: is an empty line missing?"


def _from_sheet(sheet: Sheet, options: TaggedOptions, notes: Notes) -> Taken:
    """Find the columns of words and tags in a sheet, and extract them."""
    if not sheet.blocks:
        return Taken()
    words, tags = _asked(sheet, options)
    if options.labels is not None:
        _name_numbers(sheet, tags, options.labels)
    roles = find_roles(sheet, words, tags, options.scheme)
    taken = Taken(remarks=list(roles.remarks))
    if roles.ranges is not None:
        sheet.blocks, count = blocks_without_ranges(sheet, roles.ranges)
        taken.remarks.append(
            f"rows that number a range of words (1-2) or an empty node (8.1) were left out: {count:,}."
        )
    if not sheet.whole:
        taken.remarks += _without_empty_words(sheet, roles)
    for block in sheet.blocks:
        rule = _why_bad_block(sheet, block, roles.words, roles.tags)
        if rule is None:
            read = roles.style.read(block.columns[roles.tags])
            wrong = next((place for place, tag in enumerate(read) if tag is None), None)
            if wrong is None:
                one = Raw(block.path, block.lines, block.columns[roles.words], [tag or "O" for tag in read])
                taken.sentences.append(one._replace(lettered=roles.lettered))
                continue
            line = block.lines[min(wrong, len(block.lines) - 1)]
            rule = (line, roles.style.why_not(block.columns[roles.tags][wrong]))
            if block is sheet.blocks[0] and wrong == 0 and sheet.names is None and not sheet.whole:
                rule = (line, f"{rule[1]} {_names(block, roles)}")
        notes.bad(block.path, *rule)
    if not options.as_told:
        _refuse_single_words(sheet, taken)
        _refuse_names(sheet, roles)
    numbers = "" if sheet.names is not None else " (numbers from 0)"
    parts = [f"words in {sheet.called(roles.words)}", f"tags in {sheet.called(roles.tags)}", *roles.others]
    parts += [sheet.boundary] if sheet.boundary else []
    taken.columns = {"words": sheet.column(roles.words), "tags": sheet.column(roles.tags)}
    taken.reading = f"{sheet.form}{numbers}: {', '.join(parts)}"
    return taken


def _without_empty_words(sheet: Sheet, roles: Roles) -> list[str]:
    """Leave out words that are empty, unless an entity begins with them, and say so."""
    count, first = 0, ""
    for number, block in enumerate(sheet.blocks):
        words, tags = block.columns[roles.words], block.columns[roles.tags]
        read = roles.style.read([str(tag) for tag in tags])
        keep = [
            str(word).strip(" \t") != "" or (read[place] or "?")[0] not in "OIELM" for place, word in enumerate(words)
        ]
        if all(keep) or not any(keep):
            continue
        count, first = count + keep.count(False), first or f"{block.path}, line {block.lines[keep.index(False)]}"
        columns = [[cell for cell, kept in zip(column, keep, strict=True) if kept] for column in block.columns]
        lines = [line for line, kept in zip(block.lines, keep, strict=True) if kept]
        sheet.blocks[number] = Block(block.path, lines, columns)
    what = "a tag without a word was" if count == 1 else f"{count:,} tags without a word were"
    return [f"{what} left out; first {first}."] if count else []


def _asked(sheet: Sheet, options: TaggedOptions) -> tuple[int | str | None, int | str | None]:
    """Return the columns that were asked for: of a table first by name, of lines by number."""
    both = ((options.word_column, options.words), (options.tag_column, options.tags))
    order = 1 if sheet.names is None else -1
    words, tags = (next((one for one in asked[::order] if one is not None), None) for asked in both)
    return words, tags


def word_and_tag(sheet: Sheet, options: TaggedOptions, learnt: Mapping[str, str | int]) -> tuple[int, int | None]:
    """Return the columns of words and of tags in a sheet that may lack tags; None for those.

    Rows of word ranges leave the sheet. Without tags the words are where they were in the training data (`learnt`).

    Raises:
        DataError: nothing says where the words are.
    """
    words, tags = _asked(sheet, options)
    ranges = None if sheet.whole else range_column(sheet)
    if ranges is not None:
        sheet.blocks, _ = blocks_without_ranges(sheet, ranges)
    try:
        roles = find_roles(sheet, words, tags, options.scheme)
    except DataError:
        if words is None and tags is not None and not sheet.holds(tags):
            return word_and_tag(sheet, replace(options, tags=None, tag_column=None), learnt)
        if words is None and sheet.width > 1:
            words = _named_words(sheet, learnt.get("words"))
        place = 0 if words is None and sheet.width == 1 else None if words is None else sheet.place(words, "word")
        if place is None:
            raise
        return place, None
    return roles.words, roles.tags


def _named_words(sheet: Sheet, learnt: str | int | None) -> str | int | None:
    """Return the column of words by its name, or, without names, the one of the training data.

    Raises:
        DataError: columns have names, and none says so alone.
    """
    if sheet.names is None:
        return learnt
    named = [place for place, name in enumerate(sheet.names)
             if place != sheet.sentence and (name == learnt or WORD_NAME.fullmatch(str(name).lower()))]  # fmt: skip
    if learnt in sheet.names or len(named) == 1:
        return learnt if learnt in sheet.names else named[0]
    raise DataError(f"{sheet.path}: which column holds the words? Name one of {', '.join(sheet.names)}: --words NAME.")


def _names(block: Block, roles: Roles) -> str:
    """Return advice for the case that the first line is a header."""
    word, tag = block.columns[roles.words][0], block.columns[roles.tags][0]
    return f"If the line names the columns: --word-column {word} --tag-column {tag}."


def _refuse_names(sheet: Sheet, roles: Roles) -> None:
    """Refuse a first line that looks like a header: its tag has no letter and occurs nowhere else.

    Raises:
        DataError: it looks like a header.
    """
    first = sheet.blocks[0]
    if roles.lettered or sheet.names is not None or sheet.whole:
        return
    tags = Counter(tag for block in sheet.blocks for tag in block.columns[roles.tags])
    tag = first.columns[roles.tags][0]
    if tag != "O" and tags[tag] == 1 and tags.total() >= ENOUGH:
        raise DataError(
            f"{first.path}, line {first.lines[0]}: the tag {tag!r} never comes again. {_names(first, roles)} "
            "If it is meant so: --as-told."
        )


def _why_bad_block(sheet: Sheet, block: Block, words: int, tags: int) -> tuple[int, str] | None:
    """Return the line of the first error in a sentence's words and tags, and the rule; None if valid."""
    for place in (words, tags):
        if block.columns[place] is None:
            there = ", ".join(map(repr, sheet.names or ()))
            return block.lines[0], f"there is no column {sheet.called(place)}, or it is empty; there are {there}."
    both = [block.columns[place] for place in (words, tags)]
    if not all(isinstance(x, list | tuple) and all(isinstance(one, str) for one in x) for x in both):
        rule = "must be lists of texts" if sheet.whole else "must be texts, one word and its tag"
        return block.lines[0], f"{sheet.called(words)} and {sheet.called(tags)} {rule}."
    if len(both[0]) != len(both[1]):
        return block.lines[0], f"there are {len(both[0])} words and {len(both[1])} tags; each word has one."
    for place, (word, tag) in enumerate(zip(*both, strict=True)):
        for one, what in ((word, "word"), (tag, "tag")):
            if not one.strip(" \t"):
                return block.lines[min(place, len(block.lines) - 1)], f"the {what} is empty."
    return None


def _name_numbers(sheet: Sheet, tags: int | str | None, labels: str) -> None:
    """Replace numeric tags by their names."""
    path = Path(labels)
    if "," not in labels and path.is_file():
        names = [line.strip() for _, line in text_lines(path, Notes(skip=False)) if line.strip()]
    else:
        names = [name.strip() for name in labels.split(",")]
    place = coded_column(sheet) if tags is None else sheet.place(tags, "tag")
    if place is None:
        return
    for number, block in enumerate(sheet.blocks):
        numbers = [int(cell) if str(cell).isdecimal() else cell for cell in block.columns[place] or ()]
        found = named(numbers, names)
        strange = next((one for one in found if not isinstance(one, str)), None)
        if strange is not None:
            raise DataError(
                f"{block.path}, line {block.lines[0]}: the tag {strange!r} has no name: {len(names)} were given, for 0 "
                f"to {len(names) - 1}."
            )
        columns = [found if at == place else column for at, column in enumerate(block.columns)]
        sheet.blocks[number] = block._replace(columns=columns)


def _refuse_single_words(sheet: Sheet, taken: Taken) -> None:
    """Refuse a source in which each sentence is one word, or all words are one sentence.

    Raises:
        DataError: it is so.
    """
    if not taken.sentences:
        return
    path, lengths = taken.sentences[0].path, [len(one.words) for one in taken.sentences]
    if len(lengths) >= SINGLE and max(lengths) == 1:
        raise DataError(
            f"{path} was read as {sheet.form}, and each of its {len(lengths):,} sentences is one word. Name the column "
            "that tells sentences apart (--sentence-column), or put empty lines between sentences only. Words that "
            "stand alone are learnt by `train sentiment`, as texts with a label. If it is meant so: --as-told."
        )
    if len(lengths) == 1 and lengths[0] > LONGEST and not sheet.whole:
        raise DataError(
            f"{path} was read as {sheet.form}, and no empty line ends a sentence: all {lengths[0]:,} words would be "
            "one. Put an empty line after each sentence, or name the column that tells them apart: --sentence-column. "
            "If it is meant so: --as-told."
        )


def _why_no_columns(source: tuple[Path, ...]) -> str | None:
    if len(source) != 1:
        return f"it is one file, {len(source)} were given"
    return None if source[0].is_file() else f"{source[0]} is no file"


def _columns(source: tuple[Path, ...], options: TaggedOptions, notes: Notes) -> Taken:
    (path,) = source
    asked = [name for name in (options.words, options.tags, options.word_column, options.tag_column)
             if isinstance(name, str) and not name.lstrip("-").isdecimal()]  # fmt: skip
    return _from_sheet(lines_sheet(path, asked, options, notes), options, notes)


def _why_no_folder(source: tuple[Path, ...]) -> str | None:
    if len(source) == 2 and all(path.is_file() for path in source):
        return None if _holds_tags_only(source[1]) else f"{source[1]} holds more than tags"
    if len(source) != 1 or not source[0].is_dir():
        return "it is a folder with seq.in and seq.out, or two files of as many lines"
    missing = [name for name in ("seq.in", "seq.out") if not (source[0] / name).is_file()]
    return f"the folder lacks {' and '.join(missing)}" if missing else None


def _holds_tags_only(path: Path) -> bool:
    """Return whether the first lines of a file consist of tags only."""
    lines = [line for _, line in text_lines(path, Notes(skip=True))][:100]
    return holds_tags(piece for line in lines for piece in pieces(line))


def _parallel(source: tuple[Path, ...], options: TaggedOptions, notes: Notes) -> Taken:
    first, second = source if len(source) == 2 else (source[0] / "seq.in", source[0] / "seq.out")
    words, tags = (dict(text_lines(path, notes)) for path in (first, second))
    counts = [max((number for number, line in lines.items() if line.strip()), default=0) for lines in (words, tags)]
    if counts[0] != counts[1]:
        raise DataError(f"{first} has {counts[0]} lines and {second} {counts[1]}; line by line they belong together.")
    both = [number for number in range(1, counts[0] + 1) if number in words and number in tags]
    blocks = [
        Block(first, [number], [pieces(words[number]), pieces(tags[number])])
        for number in both
        if words[number].strip() or tags[number].strip()
    ]
    sheet = Sheet(first, blocks, None, 2, "parallel lines", whole=True)
    named = TaggedOptions(0, 1, labels=options.labels, scheme=options.scheme)
    taken = _from_sheet(sheet, named, notes)
    taken.reading = f"parallel lines: words in {first.name}, tags in {second.name}"
    return taken


def _why_no_records(source: tuple[Path, ...]) -> str | None:
    if len(source) != 1 or not source[0].is_file():
        return "it is one file"
    return None if is_records(source[0]) else "it begins as neither JSON nor Parquet does"


def _records(source: tuple[Path, ...], options: TaggedOptions, notes: Notes) -> Taken:
    (path,) = source
    return _from_records(path, list(records(path, notes)), options, notes)


def _why_no_spans(source: tuple[Path, ...]) -> str | None:
    """Return why a source is not CSV or TSV with texts and their spans, as JSON, in a cell."""
    if len(source) != 1 or not source[0].is_file() or not is_cells(source[0]):
        return "it is one file, CSV or TSV"
    head = [cells_text(source[0], names) for names in (TEXT, SPAN_KEYS)]
    if None in head:
        return "its first line does not name columns of texts and of entities"
    cells = [row[2][str(head[1])] for row in _span_rows(source[0], Notes(skip=True))]
    lists = [cell for cell in cells if cell.startswith("[{")]
    return None if lists and len(lists) + cells.count("") + cells.count("[]") == len(cells) else "its cells are no JSON"


def _span_rows(path: Path, notes: Notes) -> list[tuple[Path, int, Mapping[str, Any]]]:
    names = tuple(str(cells_text(path, some)) for some in (TEXT, SPAN_KEYS))
    return list(rows(path, names, Columns(True), notes))


def _spans(source: tuple[Path, ...], options: TaggedOptions, notes: Notes) -> Taken:
    text, spans = (str(cells_text(source[0], names)) for names in (TEXT, SPAN_KEYS))
    found: list[Record] = []
    for path, number, row in _span_rows(source[0], notes):
        try:
            found.append((number, {"text": row[text], "entities": json.loads(row[spans] or "[]")}))
        except ValueError as error:
            notes.bad(path, number, f"column {spans!r} holds no JSON: {error}.")
    return _from_records(source[0], found, options, notes)


def _hub(source: tuple[Path, ...], options: TaggedOptions, notes: Notes) -> Taken:
    return _from_records(source[0], [(number, row) for _, number, row in hub_rows(source)], options, notes)


def _from_records(path: Path, found: list[Record], options: TaggedOptions, notes: Notes) -> Taken:
    if options.words is None and options.tags is None and are_span_texts([one for _, one in found[:100]]):
        return _from_spans(path, found, options, notes)
    for number, one in found[:1]:
        rule = why_not_characters(one)
        if rule is not None:
            raise DataError(f"{path}, line {number}: {rule}")
    rows = [(number, flat_record(one)) for number, one in found]
    names = list(dict.fromkeys(key for _, row in rows if row is not None for key in row))
    table = []
    for (number, row), (_, one) in zip(rows, found, strict=True):
        if row is None:
            notes.bad(path, number, f"a {type(one).__name__} stands where an object {{...}} must.")
        else:
            table.append(Row(number, [row.get(name) for name in names]))
    return _from_sheet(table_sheet(path, table, names, "a table", options, notes), options, notes)


def flat_record(record: Any) -> dict[str, Any] | None:
    """Return a record as columns: pairs or objects of word and tag become two lists."""
    if isinstance(record, list) and record and all(isinstance(one, list) and len(one) >= 2 for one in record):
        width = min(map(len, record))
        return {str(place): [one[place] for one in record] for place in range(width)}
    if not isinstance(record, dict):
        return None
    flat: dict[str, Any] = {}
    for key, value in record.items():
        if isinstance(value, list) and value and all(isinstance(one, dict) for one in value):
            flat.update({name: [one.get(name) for one in value] for name in value[0]})
        else:
            flat[key] = value
    return flat


def _from_spans(path: Path, found: list[Record], options: TaggedOptions, notes: Notes) -> Taken:
    texts, taken = SpanTexts(), Taken()
    for number, record in found:
        try:
            row = spans_of(record)
            if isinstance(row, str):
                texts.dropped[row] += 1
                continue
            words, tags = texts.words_and_tags(row)
        except InvalidRow as rule:
            notes.bad(path, number, str(rule))
            continue
        if words:
            taken.sentences.append(Raw(path, [number], words, tags))
        else:
            texts.dropped["it holds no word"] += 1
    if not options.as_told:
        texts.refuse_mismatched(path)
    if not taken.sentences and texts.dropped:
        why = ", ".join(f"{count:,} because {reason}" for reason, count in texts.dropped.items())
        raise DataError(f"{path} holds texts with spans, and all were left out: {why}.")
    taken.reading = f"{', '.join(texts.forms)}: entities by characters, words cut at blanks and signs"
    taken.remarks = list(texts.remarks())
    return taken


FILES = (".conll", ".conllu", ".bio", ".iob", ".iob2", ".bioes", ".txt", ".tsv", ".csv", ".json", ".jsonl", ".parquet")
PARTS = ("train", "dev", "valid", "test", "eval")


def _files_of(source: tuple[Path, ...]) -> list[Path]:
    if len(source) > 1 or not source[0].is_dir():
        return list(source)
    inside = sorted(
        path for path in source[0].iterdir() if path.is_file() and not path.name.startswith((".", "README"))
    )
    return [path for path in inside if plain_suffix(path) in FILES and path.stem.upper() not in ("LICENSE", "README")]


def _why_no_corpus(source: tuple[Path, ...]) -> str | None:
    if len(source) == 1 and not source[0].is_dir():
        return "it is several files, or their folder"
    files = _files_of(source)
    missing = next((path for path in files if not path.is_file()), None)
    if missing is not None:
        return f"{missing} is no file"
    return None if files else f"{source[0]} holds no file that ends in {', '.join(FILES)}"


def _corpus(source: tuple[Path, ...], options: TaggedOptions, notes: Notes) -> Taken:
    files = _files_of(source)
    parts = {part: path for part in PARTS for path in files if part in path.stem.lower()}
    if len(source) == 1 and len(parts) > 1:
        named = " ".join(f"--{'dev' if part in ('valid', 'eval') else part} {path}" for part, path in parts.items())
        raise DataError(
            f"{source[0]} holds the parts of a data set, and all of them would be learnt as one. Name them: {named}; "
            "or name the files to learn from one by one."
        )
    taken = Taken()
    readings: dict[str, list[str]] = {}
    for path in files:
        reader = _records if is_records(path) else _columns
        one = reader((path,), options, notes)
        taken.sentences += one.sentences
        taken.remarks += [f"{path.name}: {remark}" for remark in one.remarks]
        readings.setdefault(one.reading, []).append(path.name)
    said = [f"{'' if len(readings) == 1 else ', '.join(names) + ': '}{reading}" for reading, names in readings.items()]
    taken.reading = f"{len(files)} files, {'; '.join(said)}"
    return taken


READERS = (
    ("parallel lines", _why_no_folder, _parallel),
    ("CSV or TSV of texts with entities as JSON", _why_no_spans, _spans),
    ("several files", _why_no_corpus, _corpus),
    ("table (JSONL, JSON, Parquet)", _why_no_records, _records),
    ("CoNLL columns, CSV or TSV", _why_no_columns, _columns),
    ("data set of the hub", why_no_hub, _hub),
)
