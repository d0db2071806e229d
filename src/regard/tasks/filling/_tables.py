"""Rows of tables: their texts, and the rows with answers in their columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ...errors import DataError
from ..reading import (
    Columns,
    Notes,
    cells_text,
    is_cells,
    is_table,
    open_cells,
    parts_of,
    places,
    rows,
    unescaped,
    value_at,
)
from ._inputs import Fields, Inputs, cell_text, record_bytes, row_text, shown_fields


def read_table(
    path: Path,
    text: str,
    filled: Mapping[str, str],
    *,
    known: Mapping[str, Any] | None = None,
    header: bool | None = None,
    join: str = " ",
    option: str = "text",
    skip: bool = False,
) -> Inputs:
    """Read the texts of a table's rows; an empty cell is an empty text.

    Args:
        path: CSV, TSV, JSONL, JSON or Parquet, or lines with tabs.
        text: The column of the texts, or several (`title+body`).
        filled: The column that each field of an answer is written to; it is added if the table lacks it.
        known: The columns of training data without a header, by their role: `text`, `label`.
        header: Whether the first line of CSV or TSV names the columns; None: as it looks.
        option: The option that names the column, for messages.
        join: What stands between the texts of several columns.
        skip: Whether rows that cannot be read are left out.

    Raises:
        DataError: the column is missing, or a row cannot be read.
    """
    notes = Notes(skip)
    if is_cells(path) or not is_table(path):
        return _cells(path, text, filled, known, header, unescaped(join), option, notes)
    names = parts_of(text)
    values, records = [], []
    for row in rows(path, names, Columns(header, ("text",)), notes):
        texts = [_text(row, name, notes) for name in names]
        if None not in texts:
            values.append(unescaped(join).join(map(str, texts)))
            records.append(dict(row[2]))

    def write(answers: Sequence[Fields]) -> bytes:
        return record_bytes(path, [_with(record, one, filled) for record, one in zip(records, answers, strict=True)])

    return Inputs(values, write, notes)


def _text(row: tuple[Path, int, Mapping[str, Any]], name: str, notes: Notes) -> str | None:
    """Return the text in a column, empty where nothing stands; None, and a record, for what is no text."""
    found = value_at(row[2], name)
    if isinstance(found, list) and all(isinstance(one, str) for one in found):
        found = " ".join(found)
    if found is None and name.split(".")[0] not in row[2]:
        notes.bad(row[0], row[1], f"there is no column {name!r}; there are {', '.join(map(str, row[2]))}.")
        return None
    if found is None or found != found:
        return ""
    if not isinstance(found, str):
        notes.bad(row[0], row[1], f"column {name!r} holds a {type(found).__name__}; the rule is a text.")
        return None
    return found


def _with(record: dict[str, Any], answer: Fields, filled: Mapping[str, str]) -> dict[str, Any]:
    """Return a record with the fields of an answer; dots in a column's name lead into objects."""
    for name, value in answer.items():
        column = filled.get(name, name)
        inside, last = record, column
        if column not in record:
            *path, last = column.split(".")
            for part in path:
                step = inside.get(part)
                inside[part] = dict(step) if isinstance(step, Mapping) else {}
                inside = inside[part]
        lists = isinstance(inside.get(last), list) and isinstance(value, str)
        inside[last] = [value] if lists else list(value) if isinstance(value, tuple) else value
    return record


def _cells(
    path: Path, text: str, filled: Mapping[str, str], known: Mapping[str, Any] | None, header: bool | None, join: str,
    option: str, notes: Notes,
) -> Inputs:  # fmt: skip
    if known and "text" in known and cells_text(path, parts_of(text)) is None:
        text = str(known["text"])
    names = parts_of(text)
    usual = "," if path.name.lower().removesuffix(".gz").endswith(".csv") else "\t"
    cells = open_cells(path, usual, names, Columns(header, ("text",) if len(names) == 1 else ()), notes)
    if cells is None:
        return Inputs([], lambda answers: b"", notes)
    if not cells.header and header is None and known is not None and known.get("header") is not False:
        there = ", ".join(map(repr, cells.head))
        raise DataError(
            f"{path}, line 1: there is no column {text!r}; there are {there}. Name the column of the texts, by name or "
            f"number from 0: --{option} NAME. If the line is an input like the others: --header False."
        )
    read = [row for _, row in cells.rows(notes)]
    values = [join.join(row[cells.found[name]] for name in names) for row in read]

    def write(answers: Sequence[Fields]) -> bytes:
        head = list(cells.head)
        fields = shown_fields(answers) or list(filled)
        at = {}
        for name in fields:
            column = filled.get(name, name)
            found = places(head, column) if cells.header else []
            if not found and column.isdecimal() and int(column) < len(cells.head):
                found = [int(column)]
            if not found and not cells.header:
                found = [at for at in (_place(name, known or {}),) if at is not None and at < len(head)]
            if not found:
                found = [len(head)]
                head.append(column)
            at[name] = found[0]
        out = list(cells.lines[: cells.begin])
        out += [row_text(head, *cells.form)] if cells.header else []
        for row, one in zip(read, answers, strict=True):
            full = [*row, *[""] * (len(head) - len(row))]
            for name in fields:
                full[at[name]] = cell_text(one[name])
            out.append(row_text(full, *cells.form))
        return ("\n".join(out) + "\n").encode()

    return Inputs(values, write, notes)


def _place(name: str, known: Mapping[str, Any]) -> int | None:
    """Return the column of a field in a table without a header."""
    usual = {"label": 1, "target": 1, "text": 0}
    return int(known[name]) if name in known else usual.get(name)
