"""Rows of tables: JSONL, CSV, TSV, Parquet, and data sets of the Hugging Face hub."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...errors import DataError, MissingExtraError, install_line, nearest
from ._files import Notes, open_bytes, plain_suffix, rough_text, text_lines, undecoded, whole_text

__all__ = ["Columns", "Row", "rows", "text_value", "value", "why_no_table"]

Row = tuple[Path, int, Mapping[str, Any]]
"""The file, the number of the line, and the values by column."""

SUFFIXES = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet")


USUAL_NAMES = frozenset(
    "id text texts sentence sentences content review comment document article abstract summary title label labels "
    "class category sentiment intent target source src tgt tokens words tags ner_tags".split()
)


@dataclass(frozen=True)
class Columns:
    """How a table's columns are found."""

    header: bool | None = None
    """Whether the first line of CSV or TSV names the columns; None: if it holds a name that is asked for."""


def why_no_table(source: tuple[Path, ...]) -> str | None:
    """Return why a source is no table; None if it is one."""
    if len(source) != 1:
        return f"it is one file, {len(source)} were given"
    path = source[0]
    if plain_suffix(path) in SUFFIXES and path.is_file():
        return None
    if not path.exists():
        return f"{path} does not exist"
    return f"its name ends in {', '.join(SUFFIXES)} (and .gz)"


def rows(path: Path, names: tuple[str, ...], columns: Columns, notes: Notes) -> Iterator[Row]:
    """Yield the rows of a table, whole ones only.

    `names` are the columns that will be asked for: where CSV has no header, its columns have these
    names in this order, and numbers as names count columns from 0.
    """
    suffix = plain_suffix(path)
    if suffix in (".jsonl", ".ndjson"):
        yield from _json_lines(path, notes)
    elif suffix == ".json":
        yield from _json(path, notes)
    elif suffix == ".parquet":
        yield from _parquet(path)
    else:
        yield from _separated(path, "\t" if suffix == ".tsv" else ",", names, columns, notes)


def value(row: Row, name: str, notes: Notes) -> Any:
    """Return a row's value in a column; a row without it is bad, and None is returned."""
    path, number, values = row
    found = values.get(name)
    if found is None:
        there = ", ".join(values)
        rule = f"column {name!r} is empty." if name in values else f"there is no column {name!r}; there are {there}."
        notes.bad(path, number, rule + nearest(name, [key for key in values if key != name]))
    return found


def text_value(row: Row, name: str, notes: Notes) -> str | None:
    """Return a row's text in a column; a row without it, or with something else there, is bad and gives None."""
    found = value(row, name, notes)
    if found is None or (isinstance(found, str) and found.strip()):
        return found
    rule = f"column {name!r} is empty." if isinstance(found, str) else f"column {name!r} holds a {type(found).__name__}"
    notes.bad(row[0], row[1], rule if rule.endswith(".") else f"{rule}; the rule is a text.")
    return None


def _json_lines(path: Path, notes: Notes) -> Iterator[Row]:
    for number, line in text_lines(path, notes):
        if not line.strip():
            continue
        try:
            found = json.loads(line)
        except (ValueError, RecursionError) as error:
            notes.bad(path, number, f"this is no JSON: {error}.")
            continue
        if isinstance(found, dict):
            yield path, number, found
        else:
            notes.bad(path, number, f"a {type(found).__name__} stands where an object {{...}} must.")


def _json(path: Path, notes: Notes) -> Iterator[Row]:
    text = whole_text(path, notes)
    try:
        found = json.loads(text or "[]")
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is no JSON: {error}. Give a list of objects, or JSON lines as .jsonl.") from error
    if not isinstance(found, list):
        raise DataError(f"{path} holds a {type(found).__name__}; the rule is a list of objects.")
    for number, values in enumerate(found, start=1):
        if isinstance(values, dict):
            yield path, number, values
        else:
            notes.bad(path, number, f"a {type(values).__name__} stands where an object {{...}} must.")


def _separated(path: Path, separator: str, names: tuple[str, ...], columns: Columns, notes: Notes) -> Iterator[Row]:
    head: list[str] | None = None
    for number, line in _split(path, separator, notes):
        if head is None:
            asked = [name for name in names if not name.isdecimal()]
            is_header = columns.header if columns.header is not None else any(name in line for name in asked)
            if columns.header is None and not is_header and asked:
                _refuse_header(path, line, names)
            head = line if is_header and asked else _head(line, names)
            twice = next((name for name in names if head.count(name) > 1), None)
            if twice is not None:
                raise DataError(f"{path} has {head.count(twice)} columns {twice!r}. Give each its own name.")
            if is_header:
                continue
        rule = undecoded("".join(line))
        if len(line) != len(head):
            rule = f"there are {len(line)} columns, {len(head)} in the first line."
        if rule is None:
            yield path, number, dict(zip(head, line, strict=True))
        else:
            notes.bad(path, number, rule)


def _split(path: Path, separator: str, notes: Notes) -> Iterator[tuple[int, list[str]]]:
    """Yield the rows of a file that have a cell, each with the number of its first line."""
    file = io.StringIO(rough_text(path), newline="")
    # TSV has no quotes: a quotation mark is a character like any other.
    if separator == "\t":
        reader = csv.reader(file, delimiter=separator, quoting=csv.QUOTE_NONE)
    else:
        reader = csv.reader(file, delimiter=separator, strict=True)
    while True:
        number = reader.line_num + 1
        try:
            line = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            notes.bad(path, number, f"the row cannot be told into cells: {error}. Mend its quotes.")
            continue
        if line:
            yield number, line


def _refuse_header(path: Path, first: list[str], names: tuple[str, ...]) -> None:
    """Refuse a first line that names columns, but none that is asked for: it would be read as an example."""
    found = [cell for cell in first if cell.strip().lower() in USUAL_NAMES]
    if found:
        raise DataError(
            f"{path}, line 1: {', '.join(map(repr, found))} looks like a header, and it has no {' or '.join(names)}. "
            "Name the columns to read, or set header to false if this line is an example."
        )


def _head(first: list[str], names: tuple[str, ...]) -> list[str]:
    """Name the columns of a table without a header."""
    if any(name.isdecimal() for name in names):
        return [str(place) for place in range(len(first))]
    return [*names, *(str(place) for place in range(len(names), len(first)))][: len(first)]


def _parquet(path: Path) -> Iterator[Row]:
    try:
        import pyarrow.parquet as parquet
        from pyarrow.lib import ArrowException
    except ImportError:
        raise MissingExtraError(f"Parquet needs pyarrow: {install_line('train')}.") from None
    try:
        number = 0
        for batch in parquet.ParquetFile(io.BytesIO(open_bytes(path))).iter_batches():
            for values in batch.to_pylist():
                number += 1
                yield path, number, values
    except (ArrowException, OSError) as error:
        raise DataError(
            f"{path} cannot be read as Parquet: {str(error).splitlines()[0]}. Write the file anew."
        ) from error
