"""Sentences of columns, tables and texts with spans: their words or text, and the source with tags in it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..reading import (
    BOUNDARY,
    SPAN_KEYS,
    TEXT,
    Block,
    Notes,
    Sheet,
    TaggedOptions,
    are_span_texts,
    flat_record,
    lines_sheet,
    plain_suffix,
    prefix_of,
    records,
    rough_lines,
    split_rows,
    table_sheet,
    tag_share,
    word_and_tag,
)
from ..reading import Row as SheetRow
from ._inputs import Fields, Inputs, record_bytes, row_text

SUFFIXES = (".conll", ".conllu", ".conllup", ".bio", ".iob", ".iob2", ".bioes")
FILLER = "_"
# How a tag is called among the features of a word.
NAMES = ("ner", "ne", "entity", "named_entity", "namedentity")
# What is added to each word: its characters in the sentence, and how sure its entity is.
ADDED = ("start", "end", "confidence")


def are_columns(path: Path, learnt: str) -> bool:
    """Return whether a file holds words in columns, and not a text a line; `learnt` is the form of the training data.

    It does by its name, by a column of tags, or, after training on columns, if each line is one word and empty lines
    stand between some.
    """
    if plain_suffix(path) in SUFFIXES:
        return True
    lines = [line for line in rough_lines(path, Notes(skip=True)) if not line.startswith("#")]
    words = [line.split() for line in lines if line.strip()]
    if words and tag_share(path, lines) > 0.9:
        return True
    between = "" in (line.strip() for line in lines[: len(lines) - 1])
    return learnt.startswith("CoNLL") and between and all(len(one) == 1 for one in words)


def read_columns(path: Path, options: TaggedOptions, learnt: Mapping[str, str | int]) -> Inputs:
    """Read sentences of a file of columns, with tags or without.

    `learnt` has the columns of `words` and `tags` in the training data, for files without tags.
    """
    notes = Notes(options.skip_bad_rows)
    asked = [one for one in (options.words, options.tags, options.word_column, options.tag_column, *learnt.values())
             if isinstance(one, str) and not one.lstrip("-").isdecimal()]  # fmt: skip
    sheet = lines_sheet(path, asked, options, notes, least=1)
    places = word_and_tag(sheet, options, learnt)
    blocks, values = _sentences(sheet, places[0], notes)
    lines = rough_lines(path, notes)
    notes.reading = f"{sheet.form}: words in {sheet.called(places[0])}"

    def write(answers: Sequence[Fields]) -> bytes:
        filled = _by_line(blocks, answers, options.scheme, whole=sheet.whole)
        insert = _where(options, places, sheet.width)
        name = sheet.names is not None
        out = []
        for number, cells in split_rows(lines, (sheet.separator, sheet.separator in ",;")):
            raw = lines[number - 1]
            fields = filled.get(number)
            if isinstance(cells, str) or not cells or (number == 1 and raw.startswith("sep=")):
                out.append(raw)
            elif sheet.features is not None:
                out.append(raw if fields is None else _with_features(cells, fields, sheet.features))
            elif fields is None and number == sheet.head:
                title = _title(options, learnt, "tag")
                out.append(_joined(cells, [title, *ADDED], places[1], insert, sheet, keep=True))
            elif fields is not None:
                out.append(_joined(cells, fields, places[1], insert, sheet))
            elif len(_cells(cells, raw, sheet)) == sheet.width and raw[0] != "#" and not BOUNDARY.match(raw):
                out.append(_joined(cells, [FILLER] * 4, places[1], insert, sheet, keep=True))
            elif name and raw.startswith("# global.columns"):
                extra = [*(["REGARD:TAG"] if places[1] is None else []), *(f"REGARD:{x.upper()}" for x in ADDED)]
                out.append(" ".join([raw, *extra]))
            else:
                out.append(raw)
        return ("\n".join(out) + "\n").encode()

    return Inputs(values, write, notes)


def read_tagged_records(path: Path, options: TaggedOptions, learnt: Mapping[str, str | int]) -> Inputs:
    """Read texts, or sentences of lists, from JSON lines, JSON or Parquet."""
    notes = Notes(options.skip_bad_rows)
    found = list(records(path, notes))
    if len({number for number, _ in found}) < len(found):  # several records in one line
        found = [(number, record) for number, (_, record) in enumerate(found, start=1)]
    if options.words is None and _are_texts([record for _, record in found], learnt):
        return _texts(path, [record for _, record in found], notes)
    rows = [(number, flat_record(record)) for number, record in found]
    names = list(dict.fromkeys(key for _, row in rows if row is not None for key in row))
    table = [SheetRow(number, [row.get(name) for name in names]) for number, row in rows if row is not None]
    sheet = table_sheet(path, table, names, "a table", options, notes, least=1)
    places = word_and_tag(sheet, options, learnt)
    blocks, values = _sentences(sheet, places[0], notes)
    notes.reading = f"{sheet.form}: words in {sheet.called(places[0])}"
    title = _title(options, learnt, "tags") if places[1] is None else names[places[1]]

    def write(answers: Sequence[Fields]) -> bytes:
        filled = _by_line(blocks, answers, options.scheme, whole=sheet.whole)
        return record_bytes(path, [_tagged(record, title, filled.get(number)) for number, record in found])

    return Inputs(values, write, notes)


def _title(options: TaggedOptions, learnt: Mapping[str, str | int], usual: str) -> str:
    """Return the name of the column of tags for a source that lacks it."""
    found = options.tags or learnt.get("tags")
    return found if isinstance(found, str) else usual


def _sentences(sheet: Sheet, place: int, notes: Notes) -> tuple[list[Block], list[tuple[str, ...]]]:
    """Return the sentences of a sheet, without the rows whose word is empty, and their words."""
    blocks = []
    for block in sheet.blocks:
        words = block.columns[place]
        if not isinstance(words, list | tuple) or not all(isinstance(word, str) for word in words):
            notes.bad(block.path, block.lines[0], f"{sheet.called(place)} holds no words.")
            continue
        if sheet.whole:
            blocks.append(block)
            continue
        keep = [at for at, word in enumerate(words) if word.strip(" \t")]
        if keep:
            columns = [[column[at] for at in keep] for column in block.columns]
            blocks.append(Block(block.path, [block.lines[at] for at in keep], columns))
    if not blocks:
        raise notes.nothing(sheet.path, "holds no sentence.")
    prefix = prefix_of([word for block in blocks for word in block.columns[place]])
    return blocks, [tuple(word.removeprefix(prefix) for word in block.columns[place]) for block in blocks]


def _by_line(blocks: Sequence[Block], answers: Sequence[Fields], scheme: str, *, whole: bool) -> dict[int, list[Any]]:
    """Return for each line its tag, first and last character and confidence, or lists of them for a sentence a row."""
    found: dict[int, list[Any]] = {}
    for block, one in zip(blocks, answers, strict=True):
        tags = in_scheme(one["tags"], scheme)
        starts, ends = ([span[side] for span in one["spans"]] for side in (0, 1))
        fields = [list(tags), starts, ends, one["confidences"]]
        if whole:
            found[block.lines[0]] = fields
        else:
            found.update(zip(block.lines, map(list, zip(*fields, strict=True)), strict=True))
    return found


def in_scheme(tags: Sequence[str], scheme: str) -> list[str]:
    """Return IOB2 tags in the scheme that a reader was told to expect.

    >>> in_scheme(["B-x", "I-x", "O", "B-y"], "bioes")
    ['B-x', 'E-x', 'O', 'S-y']
    """
    if scheme == "io":
        return [tag[2:] or "O" for tag in tags]
    if scheme != "bioes":
        return list(tags)
    ends = [not after.startswith("I-") for after in (*tags[1:], "O")]
    letters = {("B", True): "S", ("I", True): "E"}
    return [tag if tag == "O" else f"{letters.get((tag[0], end), tag[0])}{tag[1:]}"
            for tag, end in zip(tags, ends, strict=True)]  # fmt: skip


def _where(options: TaggedOptions, places: tuple[int, int | None], width: int) -> int:
    """Return where columns are added: behind all, or before those that were named from the end."""
    named = [(options.word_column, places[0]), (options.tag_column, places[1])]
    behind = [place for asked, place in named if place is not None and str(asked).startswith("-")]
    return min(behind, default=width)


def _cells(cells: Sequence[str], raw: str, sheet: Sheet) -> list[str]:
    """Return the cells of a line as the reader tells them apart: tabs also where most lines have blanks."""
    return raw.split("\t") if sheet.separator == " " and "\t" in raw else list(cells)


def _joined(
    cells: Sequence[str], fields: Sequence[Any], tag: int | None, insert: int, sheet: Sheet, *, keep: bool = False
) -> str:
    """Return a line with its tag and the columns that are added; `keep` leaves the tag that stands there."""
    made = list(cells)
    written = [_written(value, whole=sheet.whole) for value in fields]
    if tag is not None and not keep:
        made[tag] = _as_before(made[tag], written[0], fields[0])
    made[insert:insert] = written[1 if tag is not None else 0 :]
    return " ".join(made) if sheet.separator == " " else row_text(made, sheet.separator, sheet.separator in ",;")


def _as_before(cell: str, written: str, tags: Any) -> str:
    """Return a cell in the notation it had: a list, or the tags alone."""
    if isinstance(tags, list) and cell.strip().startswith("["):
        return str(tags)
    return written


def _with_features(cells: Sequence[str], fields: Sequence[Any], place: int) -> str:
    """Return a line whose tag stands among the features of a column, and what is added there too."""
    parts = [part.partition("=") for part in cells[place].split("|") if "=" in part]
    known = {name: value for name, _, value in parts}
    name = next((name for name in known if name.lower() in NAMES), "ner")
    known |= {name: fields[0], "start_char": str(fields[1]), "end_char": str(fields[2])}
    if fields[3] is not None:
        known["confidence"] = _written(fields[3], whole=False)
    made = "|".join(f"{name}={value}" for name, value in known.items())
    return "\t".join([*cells[:place], made, *cells[place + 1 :]])


def _written(value: Any, *, whole: bool) -> str:
    if whole and isinstance(value, list):
        return " ".join(_written(one, whole=False) for one in value)
    return FILLER if value is None else f"{value:.4f}" if isinstance(value, float) else str(value)


def _tagged(record: Any, title: str, fields: Sequence[Any] | None) -> Any:
    """Return a record with tags in a column, and the columns that are added."""
    if fields is None:
        return record
    if isinstance(record, list):  # pairs of a word and its tag
        at = int(title) if title.isdecimal() else 1
        return [[*pair[:at], tag, *pair[at + 1 :]] for pair, tag in zip(record, fields[0], strict=True)]
    key = next((key for key, value in record.items() if isinstance(value, list) and value
                and all(isinstance(one, Mapping) and "start" not in one for one in value)), None)  # fmt: skip
    if key is not None and isinstance(fields[0], list) and len(record[key]) == len(fields[0]):
        inner = [{**one, title: tag, **dict(zip(ADDED, rest, strict=True))}
                 for one, tag, *rest in zip(record[key], *fields, strict=True)]  # fmt: skip
        return {**record, key: inner}
    return {**record, title: fields[0], **dict(zip(ADDED, fields[1:], strict=True))}


def _are_texts(found: Sequence[Any], learnt: Mapping[str, str | int]) -> bool:
    """Return whether records are texts, with spans or without, and not lists of words."""
    if are_span_texts(list(found[:100])):
        return True
    return all(
        (isinstance(one, Mapping) and not any(isinstance(x, list) and x and isinstance(x[0], str) for x in one.values())
         and learnt.get("words") not in one and _text_key(one) is not None) or _is_spacy(one)
        for one in found
    )  # fmt: skip


def _is_spacy(one: Any) -> bool:
    return isinstance(one, list) and len(one) == 2 and isinstance(one[0], str) and isinstance(one[1], Mapping)


def _text_key(record: Mapping[str, Any]) -> str | None:
    return next((key for key in TEXT if isinstance(record.get(key), str | Mapping)), None)


def _texts(path: Path, found: Sequence[Any], notes: Notes) -> Inputs:
    """Read texts with spans, or without: what is found replaces the spans that stand there."""
    values, kept = [], []
    for number, record in enumerate(found, start=1):
        text = record[0] if _is_spacy(record) else _text(record)
        if isinstance(text, str):
            values.append(text)
            kept.append(record)
        else:
            notes.bad(path, number, f"there is no text: no column is named {' or '.join(TEXT[:3])}.")
    notes.reading = "texts"

    def write(answers: Sequence[Fields]) -> bytes:
        return record_bytes(path, [_spanned(record, one) for record, one in zip(kept, answers, strict=True)])

    return Inputs(values, write, notes)


def _text(record: Any) -> str | None:
    if not isinstance(record, Mapping):
        return None
    key = _text_key(record)
    inside = None if key is None else record[key]
    if isinstance(inside, Mapping):  # Label Studio
        inside = inside.get("text") or next((one for one in inside.values() if isinstance(one, str)), None)
    return inside


def _spanned(record: Any, answer: Fields) -> Any:
    """Return a record with the entities of an answer in the notation that it has."""
    entities = answer["entities"]
    plain = [[one["start"], one["end"], one["label"]] for one in entities]
    sure = [one["confidence"] for one in entities]
    if _is_spacy(record):
        return [record[0], {**record[1], "entities": plain, "confidence": sure}]
    if isinstance(record.get("data"), Mapping):
        result = [{"type": "labels", "score": one["confidence"],
                   "value": {"start": one["start"], "end": one["end"], "text": one["text"], "labels": [one["label"]]}}
                  for one in entities]  # fmt: skip
        return {**record, "annotations": [{"result": result}]}
    key = next((key for key in SPAN_KEYS if isinstance(record.get(key), list)), "entities")
    if record.get(key) and isinstance(record[key][0], list):
        return {**record, key: plain, "confidence": sure}
    tokens = {name: value for name, value in record.items() if name not in ("tokens", "answer", key)}
    return {**tokens, key: [dict(one) for one in entities]}


def tagged_lines(texts: Sequence[str]) -> Callable[[Sequence[Fields]], bytes]:
    """Return how tagged texts are written: in columns of word, tag, first and last character, and confidence."""

    def write(answers: Sequence[Fields]) -> bytes:
        out = []
        for text, one in zip(texts, answers, strict=True):
            for tag, (start, end), sure in zip(one["tags"], one["spans"], one["confidences"], strict=True):
                out.append("\t".join([text[start:end], tag, str(start), str(end), _written(sure, whole=False)]))
            out.append("")
        return ("\n".join(out) + "\n").encode()

    return write
