"""Cells of lines: detecting what separates them and how they are quoted, and splitting them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from ._columns import Columns, find_columns, has_header, places
from ._files import Notes, rough_lines, why_no_text

# Number of lines from which separator and quoting are detected.
SAMPLE = 1000
SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars", " ": "blanks"}
Form = tuple[str, bool]
"""What separates cells, and whether they may be quoted."""
Rows = list[list[str] | str]


@dataclass(frozen=True)
class Cells:
    """The lines of CSV or TSV, and how they are told into cells."""

    path: Path
    lines: Sequence[str]
    begin: int
    """The number of lines above the table: 1 with Excel's `sep=;`."""
    form: Form
    head: Sequence[str]
    """The first row."""
    header: bool
    """Whether it names the columns."""
    found: dict[str, int]
    """The place of each column that was asked for."""

    def rows(self, notes: Notes) -> Iterator[tuple[int, list[str]]]:
        """Yield the valid rows, each with the number of its first line; `notes` gets the others."""
        for place, (number, row) in enumerate(_rows(self.lines, self.begin, self.form)):
            if place == 0 and self.header:
                continue
            rule: str | None
            if isinstance(row, str):
                rule = row
            elif self.header and row == self.head:
                rule = "the names of the columns stand here again, as where files were joined; remove the line."
            elif len(row) != len(self.head):
                rule = f"there are {len(row)} columns, {len(self.head)} in the first line."
            else:
                rule = why_no_text("".join(row))
            if rule is None and not isinstance(row, str):
                yield number, row
            else:
                notes.bad(self.path, number, rule or "")


def open_cells(path: Path, usual: str, names: tuple[str, ...], columns: Columns, notes: Notes) -> Cells | None:
    """Detect how a file's lines are told into cells; None for a file without a row.

    Args:
        path: The file.
        usual: The separator that its suffix implies.
        names: Columns that will be requested; a number counts from 0. If the file has no header, the default
            names of the options stand for its first columns.
        columns: How columns are found.
        notes: Receives remarks.
    """
    lines = rough_lines(path, notes)
    begin = 0
    if lines and re.fullmatch(r"sep=(.)", lines[0]):  # Excel's declaration of the separator
        usual, begin = lines[0][-1], 1
    separator, quoted = form = _form(lines[begin:], usual, names)
    sample = [row for _, row in islice(_rows(lines, begin, form), SAMPLE) if isinstance(row, list)]
    if not sample:
        return None
    header = has_header(path, begin + 1, sample, names, columns, notes)
    found = find_columns(path, begin + 1, sample, names, columns, notes, header=header)
    notes.columns["header"] = header
    notes.empty_lines = "\n".join(lines).strip("\n").count("\n\n")
    notes.reading = _reading(sample[0], found, columns, separator, header=header)
    if quoted and separator == "\t":
        notes.remarks.append('quotation marks around cells were taken off, as a program put them on ("" within).')
    return Cells(path, lines, begin, form, sample[0], header, found)


def separated(
    path: Path, usual: str, names: tuple[str, ...], columns: Columns, notes: Notes
) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield the rows of a file by column, also by the names that were asked for; arguments as of `open_cells`."""
    cells = open_cells(path, usual, names, columns, notes)
    if cells is not None:
        keys = [*(cells.head if cells.header else map(str, range(len(cells.head)))), *cells.found]
        for number, row in cells.rows(notes):
            yield number, dict(zip(keys, [*row, *(row[at] for at in cells.found.values())], strict=True))


def _rows(lines: Sequence[str], begin: int, form: Form) -> Iterator[tuple[int, list[str] | str]]:
    return ((number, row) for number, row in split_rows(lines, form, begin) if row)


def split_rows(lines: Sequence[str], form: Form, begin: int = 0) -> Iterator[tuple[int, list[str] | str]]:
    """Yield each row with the number of its first line: its cells, none for an empty line, or why it is invalid.

    Separated by blanks, each run of them is one separator.
    """
    separator, quoted = form
    place = begin
    while place < len(lines):
        line, number = lines[place], place + 1
        if quoted and '"' in line:
            row, after = _quoted(lines, place, separator)
            place = after if isinstance(row, list) else place + 1
            yield number, row
            continue
        place += 1
        cells = line.split(separator) if line else []
        yield number, [cell for cell in cells if cell] if separator == " " else cells


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


def best_form(lines: Sequence[str], forms: Sequence[Form], weigh: Callable[[Form, Rows], float]) -> Form | None:
    """Return the form whose rows weigh most, the first of equals; None if no weight is above 0.

    `weigh` gets the non-empty rows of a form; one with broken quotes is a text.
    """
    best, most = None, 0.0
    for form in forms:
        rows = [row for _, row in _rows(lines[:SAMPLE], 0, form)]
        if len(lines) >= SAMPLE and len(rows) > 1:  # the last row may continue after the sample
            rows.pop()
        weight = weigh(form, rows)
        if weight > most:
            best, most = form, weight
    return best


def _form(lines: Sequence[str], usual: str, names: tuple[str, ...]) -> Form:
    """Detect the form of a file: a regular table, with the names asked for if there is one."""
    wanted = max([2, *(int(name) + 1 for name in names if name.isdecimal())])

    def weigh(form: Form, rows: Rows) -> float:
        head = rows[0] if rows else ""
        if isinstance(head, str) or any(isinstance(row, str) or len(row) != len(head) for row in rows):
            return 0
        if any(places(head, name) for name in names):
            return 2
        return float(len(head) >= wanted and (form[0] == usual or len(names) > 1))

    order = (usual, *(one for one in ",;\t|" if one != usual))
    forms = [(one, quoted) for one in order for quoted in ((False, True) if one == "\t" else (True,))]
    separator, quoted = best_form(lines, forms, weigh) or (usual, usual != "\t")
    return separator, quoted or (separator == "\t" and _has_quotes(lines))


def cells_text(path: Path, names: Sequence[str]) -> str | None:
    """Return which of some names the first line of a table has, as it is written there; None if none."""
    lines = rough_lines(path, Notes(skip=True))
    for separator in ",;\t|":
        head = [cell.strip(' "') for cell in lines[0].split(separator)] if lines else []
        found = next((head[at[0]] for name in names if (at := places(head, name))), None)
        if found is not None:
            return found
    return None


def is_tabbed(lines: Sequence[str]) -> bool:
    """Return whether the first lines, empty ones aside, have the same number of tabs, and have some."""
    counts = {line.count("\t") for line in lines[:SAMPLE] if line.strip()}
    return len(counts) == 1 and min(counts) > 0


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
