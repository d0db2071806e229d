"""Cells of CSV and TSV: detecting separator and quoting, and splitting rows."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

from ._columns import Columns, find_columns, has_header, places
from ._files import Notes, rough_lines, why_no_text

__all__ = ["separated"]

# Number of lines from which separator and quoting are detected.
SAMPLE = 1000
SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}


def separated(
    path: Path, usual: str, names: tuple[str, ...], columns: Columns, notes: Notes
) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield the non-empty rows of a file, by column, each with the number of its first line.

    Args:
        path: The file.
        usual: The separator that its suffix implies.
        names: Columns that will be requested; a number counts from 0. If the file has no header, the default
            names of the options stand for its first columns.
        columns: How columns are found.
        notes: Receives invalid rows.
    """
    lines = rough_lines(path, notes)
    begin = 0
    if lines and re.fullmatch(r"sep=(.)", lines[0]):  # Excel's declaration of the separator
        usual, begin = lines[0][-1], 1
    separator, quoted = _form(lines[begin:], usual, names)
    sample = [row for _, row in islice(_records(lines, begin, separator, quoted), SAMPLE) if isinstance(row, list)]
    if not sample:
        return
    head = sample[0]
    header = has_header(path, begin + 1, sample, names, columns, notes)
    found = find_columns(path, begin + 1, sample, names, columns, header=header)
    notes.empty_lines = "\n".join(lines).strip("\n").count("\n\n")
    notes.reading = _reading(head, found, columns, separator, header=header)
    if quoted and separator == "\t":
        notes.remarks.append('quotation marks around cells were taken off, as a program put them on ("" within).')
    keys = [*head, *found] if header else [*map(str, range(len(head))), *found]
    for place, (number, row) in enumerate(_records(lines, begin, separator, quoted)):
        if place == 0 and header:
            continue
        if isinstance(row, str):
            notes.bad(path, number, row)
            continue
        rule = why_no_text("".join(row))
        if header and row == head:
            rule = "the names of the columns stand here again, as where files were joined; remove the line."
        if rule is None and len(row) != len(head):
            rule = f"there are {len(row)} columns, {len(head)} in the first line."
        if rule is None:
            yield number, dict(zip(keys, [*row, *(row[at] for at in found.values())], strict=True))
        else:
            notes.bad(path, number, rule)


def _records(lines: Sequence[str], begin: int, separator: str, quoted: bool) -> Iterator[tuple[int, list[str] | str]]:
    """Yield each row with the number of its first line: its cells, or why it is invalid."""
    place = begin
    while place < len(lines):
        line, number = lines[place], place + 1
        if not quoted or '"' not in line:
            place += 1
            if line:
                yield number, line.split(separator)
            continue
        row, after = _quoted(lines, place, separator)
        place = after if isinstance(row, list) else place + 1
        yield number, row


def _quoted(lines: Sequence[str], place: int, separator: str) -> tuple[list[str] | str, int]:
    """Return the cells of a row with quotes, or why it is invalid, and the index of the line after it."""
    row: list[str] = []
    line, at = lines[place], 0
    while True:
        mark = _behind_blanks(line, at)
        if mark > at and _is_quoted(line, mark, separator):
            at = mark
        if line[at : at + 1] != '"':
            end = line.find(separator, at)
            row.append(line[at:] if end < 0 else line[at:end])
            if end < 0:
                return row, place + 1
            at = end + 1
            continue
        pieces, at = [], at + 1
        while (end := _closing(line, at)) < 0:
            pieces.append(line[at:])
            place, at = place + 1, 0
            if place == len(lines):
                return f"a quotation mark opens here and none closes. {MEND}", place
            line = lines[place]
        row.append("\n".join([*pieces, line[at:end]]).replace('""', '"'))
        at = _behind_blanks(line, end + 1)
        if at == len(line):
            return row, place + 1
        if line[at] != separator:
            return f"behind a closing quotation mark stands {line[at]!r}, not {separator!r}. {MEND}", place + 1
        at += 1


MEND = 'Mend its quotes: within quoted text a quotation mark is written twice, "".'


def _behind_blanks(line: str, at: int) -> int:
    while line[at : at + 1] == " ":
        at += 1
    return at


def _is_quoted(line: str, mark: int, separator: str) -> bool:
    """Return whether a cell with blanks before a quotation mark is quoted: the closing mark ends the cell."""
    end = _closing(line, mark + 1) if line[mark : mark + 1] == '"' else -1
    behind = _behind_blanks(line, end + 1)
    return end >= 0 and line[behind : behind + 1] in ("", separator)


def _closing(line: str, at: int) -> int:
    """Return the index of a quoted cell's closing mark in a line; -1 if the cell continues on the next line."""
    while (at := line.find('"', at)) >= 0:
        if line[at + 1 : at + 2] != '"':
            return at
        at += 2
    return -1


def _form(lines: Sequence[str], usual: str, names: tuple[str, ...]) -> tuple[str, bool]:
    """Detect the separator of a file, and whether cells are quoted: the combination that gives a regular table."""
    wanted = max([2, *(int(name) + 1 for name in names if name.isdecimal())])
    fits = []
    for separator in (usual, *(one for one in SEPARATORS if one != usual)):
        for quoted in (False, True) if separator == "\t" else (True,):
            head, width = _width(lines[:SAMPLE], separator, quoted)
            if width and (width >= wanted or any(places(head, name) for name in names)):
                fits.append((separator, quoted, any(places(head, name) for name in names)))
    for has_names in (True, False):
        for separator, quoted, named in fits:
            if named == has_names and (has_names or separator == usual or len(names) > 1):
                return separator, quoted or (separator == "\t" and _has_quotes(lines))
    return usual, usual != "\t"


def _width(lines: Sequence[str], separator: str, quoted: bool) -> tuple[list[str], int]:
    """Return the first row, and the number of cells of every row; 0 if it varies."""
    rows = [row for _, row in _records(lines, 0, separator, quoted)]
    if len(lines) == SAMPLE and len(rows) > 1:  # the last row may continue after the sample
        rows.pop()
    if not rows or any(isinstance(row, str) or len(row) != len(rows[0]) for row in rows):
        return [], 0
    return list(rows[0]), len(rows[0])


def _has_quotes(lines: Sequence[str]) -> bool:
    """Return whether quotation marks around cells of TSV are quoting, and not part of the text.

    They are if each mark that opens a cell has one that closes it, with marks inside doubled; or if all cells of a
    column have them, or exactly the cells with commas and marks. In plain TSV a quotation mark is an ordinary sign.
    """
    rows = [line.split("\t") for line in lines if line]
    opened = [cell for row in rows for cell in row if cell.startswith('"')]
    if not opened or any(len(cell) < 2 or _closing(cell, 1) != len(cell) - 1 for cell in opened):
        return False
    bare = [cell for row in rows for cell in row if not cell.startswith('"')]
    needed = all("," in cell or '""' in cell[1:-1] for cell in opened)
    if needed and not any("," in cell or '"' in cell for cell in bare):
        return True
    doubled = any('""' in cell[1:-1] for cell in opened)
    columns = list(zip(*rows, strict=False))
    return doubled or (len(rows) > 1 and any(all(cell.startswith('"') for cell in column) for column in columns))


def _reading(head: Sequence[str], found: dict[str, int], columns: Columns, separator: str, *, header: bool) -> str:
    """Describe how the table was interpreted."""
    kind = {",": "CSV", "\t": "TSV"}.get(separator, f"cells between {SEPARATORS.get(separator, repr(separator))}")
    roles = columns.options if len(columns.options) == len(found) else tuple(found)
    where = [
        f"{role} in column {head[place]!r}" if header else f"{role} in column {place}"
        for role, place in zip(roles, found.values(), strict=True)
    ]
    return f"{kind} {'with' if header else 'without'} a header: {', '.join(where)}"
