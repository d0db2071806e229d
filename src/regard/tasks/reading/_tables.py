"""Rows of tables: JSONL, CSV, TSV, Parquet, and data sets of the Hugging Face hub."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...errors import DataError, MissingExtraError, nearest
from ._files import Notes, open_bytes, plain_suffix, text_lines, whole_text

__all__ = ["Columns", "Row", "rows", "why_no_table"]

Row = tuple[Path, int, Mapping[str, Any]]
"""The file, the number of the line, and the values by column."""

SUFFIXES = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet")


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
    text = whole_text(path, notes)
    # TSV has no quotes: a quotation mark is a character like any other.
    file = io.StringIO(text or "", newline="")
    if separator == "\t":
        lines = csv.reader(file, delimiter=separator, quoting=csv.QUOTE_NONE)
    else:
        lines = csv.reader(file, delimiter=separator, strict=True)
    head: list[str] | None = None
    try:
        for line in lines:
            if not line:
                continue
            if head is None:
                asked = [name for name in names if not name.isdecimal()]
                is_header = columns.header if columns.header is not None else any(name in line for name in asked)
                head = line if is_header else _head(line, names)
                if is_header:
                    continue
            if len(line) != len(head):
                notes.bad(path, lines.line_num, f"there are {len(line)} columns, {len(head)} in the first line.")
                continue
            yield path, lines.line_num, dict(zip(head, line, strict=True))
    except csv.Error as error:
        raise DataError(f"{path}, line {lines.line_num}: {error}. Mend the quotes of this line.") from error


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
        raise MissingExtraError("Parquet needs pyarrow: `pip install pyarrow`.") from None
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
