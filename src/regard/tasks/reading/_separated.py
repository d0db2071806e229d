"""Cells of CSV and TSV: what separates them, whether they are quoted, and whether the first line names columns."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from statistics import median

from ...errors import DataError, nearest
from ._files import Notes, rough_lines, why_no_text

__all__ = ["Columns", "is_number", "places", "separated"]

# Lines that are looked at to learn how a table is written.
SAMPLE = 1000
SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}

USUAL_NAMES = frozenset(
    "id ids text texts sentence sentences sentence1 sentence2 content review reviews comment comments document article "
    "abstract summary highlights title headline body description label labels class class_index category sentiment "
    "intent topic rating stars score polarity emotion target source src tgt tokens words tags ner_tags question answer "
    "context prompt completion response instruction input output premise hypothesis translation tweet message".split()
)
LANGUAGES = frozenset(
    "ar bg ca cs cy da de el en es et eu fa fi fr ga gl gu he hi hr hu hy id is it ja ka kk km kn ko lo lt lv mk ml mn "
    "mr ms mt my nb ne nl nn no pa pl ps pt ro ru si sk sl so sq sr sv sw ta te th tr uk ur uz vi zh "
    "arabic chinese czech danish dutch english finnish french german greek hebrew hindi hungarian italian japanese "
    "korean norwegian polish portuguese romanian russian spanish swedish turkish ukrainian vietnamese "
    "deu eng fra spa ita por rus jpn kor cmn zho nld pol tur ara deutsch englisch".split()
)
_NUMBER = re.compile(r"[-+]?\d[\d.,]*(?:[eE][-+]?\d+)?")
_NAME = re.compile(r"[^\W\d][\w .:()/-]{0,39}")


@dataclass(frozen=True)
class Columns:
    """How a table's columns are found."""

    header: bool | None = None
    """Whether the first line of CSV or TSV names the columns; None: as it looks."""
    options: tuple[str, ...] = ()
    """Options that name the columns, whose values are their own names unless a user gives others."""


def is_number(text: str) -> bool:
    """Return whether a text is a number and nothing else."""
    return _NUMBER.fullmatch(text.strip()) is not None


Line = tuple[int, list[str]]


def separated(
    path: Path, usual: str, names: tuple[str, ...], columns: Columns, notes: Notes
) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield the rows of a file that have a cell, by column, each with the number of its first line.

    Args:
        path: The file.
        usual: What separates its cells, by its name.
        names: Columns that will be asked for; a number counts from 0. Where the file has no header, the
            names that the options have by themselves stand for its first columns.
        columns: How they are found.
        notes: Take bad rows.
    """
    lines = rough_lines(path, notes)
    begin = 0
    if lines and re.fullmatch(r"sep=(.)", lines[0]):  # Excel's own word for what separates
        usual, begin = lines[0][-1], 1
    separator, quoted = _form(lines[begin:], usual, names)
    sample = [row for _, row in islice(_records(lines, begin, separator, quoted), SAMPLE) if isinstance(row, list)]
    if not sample:
        return
    head = sample[0]
    has_header = _has_header(path, begin + 1, sample, names, columns, notes)
    found = _found(path, begin + 1, sample, names, columns, has_header=has_header)
    _tell(head, found, separator, quoted=quoted, has_header=has_header, notes=notes)
    keys = [*head, *found] if has_header else [*map(str, range(len(head))), *found]
    for place, (number, row) in enumerate(_records(lines, begin, separator, quoted)):
        if place == 0 and has_header:
            continue
        if isinstance(row, str):
            notes.bad(path, number, row)
            continue
        rule = why_no_text("".join(row))
        if rule is None and len(row) != len(head):
            rule = f"there are {len(row)} columns, {len(head)} in the first line."
        if rule is None:
            yield number, dict(zip(keys, [*row, *(row[at] for at in found.values())], strict=True))
        else:
            notes.bad(path, number, rule)


def places(head: Sequence[str], name: str) -> list[int]:
    """Return where a column of a name stands: as it is written, else whatever its case and the blanks around it."""
    exact = [place for place, cell in enumerate(head) if cell == name]
    like = name.strip().casefold()
    return exact or [place for place, cell in enumerate(head) if cell.strip().casefold() == like]


def _records(lines: Sequence[str], begin: int, separator: str, quoted: bool) -> Iterator[tuple[int, list[str] | str]]:
    """Yield each row with the number of its first line: its cells, or the rule that it breaks."""
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
    """Return the cells of a row with quotes, or the rule that it breaks, and the place of the line behind it."""
    row: list[str] = []
    line, at = lines[place], 0
    while True:
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
        at = end + 1
        if at == len(line):
            return row, place + 1
        if line[at] != separator:
            return f"behind a closing quotation mark stands {line[at]!r}, not {separator!r}. {MEND}", place + 1
        at += 1


MEND = 'Mend its quotes: within quoted text a quotation mark is written twice, "".'


def _closing(line: str, at: int) -> int:
    """Return where a quoted cell closes in a line, -1 if it goes on in the next."""
    while (at := line.find('"', at)) >= 0:
        if line[at + 1 : at + 2] != '"':
            return at
        at += 2
    return -1


def _form(lines: Sequence[str], usual: str, names: tuple[str, ...]) -> tuple[str, bool]:
    """Return what separates the cells of a file, and whether they are quoted, by what makes a table of it."""
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
                return separator, quoted or (separator == "\t" and _wears_quotes(lines))
    return usual, usual != "\t"


def _width(lines: Sequence[str], separator: str, quoted: bool) -> tuple[list[str], int]:
    """Return the first row, and how many cells every row has; 0 unless it is the same."""
    rows = [row for _, row in _records(lines, 0, separator, quoted)]
    if len(lines) == SAMPLE and len(rows) > 1:  # the last one may go on behind the sample
        rows.pop()
    if not rows or any(isinstance(row, str) or len(row) != len(rows[0]) for row in rows):
        return [], 0
    return list(rows[0]), len(rows[0])


def _wears_quotes(lines: Sequence[str]) -> bool:
    """Return whether quotation marks around cells of TSV were put there by a program, and are no part of the text.

    They were if each mark that opens a cell closes it, and a mark within is written twice; or if all of a column
    wear them. In plain TSV a quotation mark is a character like any other.
    """
    rows = [line.split("\t") for line in lines if line]
    opened = [cell for row in rows for cell in row if cell.startswith('"')]
    if any(len(cell) < 2 or _closing(cell, 1) != len(cell) - 1 for cell in opened):
        return False
    doubled = any('""' in cell[1:-1] for cell in opened)
    columns = list(zip(*rows, strict=False))
    return doubled or (len(rows) > 1 and any(all(cell.startswith('"') for cell in column) for column in columns))


def _has_header(
    path: Path, line: int, rows: Sequence[Sequence[str]], names: tuple[str, ...], columns: Columns, notes: Notes
) -> bool:
    """Return whether the first row names the columns."""
    head = rows[0]
    if columns.header is not None:
        return columns.header
    asked = [name for name in names if not name.isdecimal()]
    if any(places(head, name) for name in asked):
        return True
    why = _why_header(rows)
    if why is None:
        return False
    named = ", ".join(map(repr, head))
    if asked:
        raise DataError(
            f"{path}, line {line}: {named} looks like a header, for {why}, and it has no {' or '.join(asked)}. "
            f"If it is one, name the columns: {suggested(rows, columns.options)}. "
            "If it is an example like the others: --header False."
        )
    notes.remarks.append(
        f"line {line} ({named}) was read as the names of the columns, for {why}; --header False reads an example in it."
    )
    return True


def _why_header(rows: Sequence[Sequence[str]]) -> str | None:
    """Return what tells that the first row names the columns, None where nothing does."""
    head = [cell.strip() for cell in rows[0]]
    rest = [row for row in rows[1:] if len(row) == len(head)]
    columns = [[row[place] for row in rest] for place in range(len(head))]
    if len(head) > 1 and head == [str(place) for place in range(len(head))] and len(rest) > 1:
        return "it counts them"
    if any(cell and cell in column for cell, column in zip(head, columns, strict=True)):
        return None
    if not any(head) or not all(_NAME.fullmatch(cell) or not cell for cell in head):
        return None
    usual = [cell for cell in head if cell.casefold() in USUAL_NAMES]
    if usual:
        return f"columns are often named {usual[0]!r}"
    if len(head) > 1 and all(cell.casefold().replace("_", "-").partition("-")[0] in LANGUAGES for cell in head):
        return "these are languages"
    if len(rest) > 1 and any(all(map(is_number, column)) for column in columns):
        return "numbers stand below"
    if len(rest) < 8:
        return None
    if any(len(set(column)) >= 2 and min(map(column.count, set(column))) > 1 for column in columns):
        return "below it the same few words return, and it is none of them"
    single = all(len(cell.split()) <= 1 for cell in head)
    if single and any(min(len(cell.split()) for cell in column[:8]) >= 3 for column in columns):
        return "it has a word where texts stand below"
    return None


def suggested(rows: Sequence[Sequence[str]], options: tuple[str, ...]) -> str:
    """Return the options that name columns by what they hold: the longest texts, then the fewest different values."""
    head, rest = rows[0], rows[1:] or rows[:1]
    fair = [row for row in rest if len(row) == len(head)] or [list(head)]
    sizes = [median(len(row[place]) for row in fair) for place in range(len(head))]
    kinds = [len({row[place] for row in fair}) for place in range(len(head))]
    order = sorted(range(len(head)), key=lambda place: -sizes[place])
    if "label" in options:
        left = [place for place in order[1:] if head[place].strip()]
        chosen = [order[0], min(left, key=lambda place: (kinds[place], -place), default=order[0])]
    else:
        chosen = sorted(order[: len(options)])
    names = [head[place] for place in chosen]
    return " ".join(
        f"--{option} {name if re.fullmatch(r'[A-Za-z0-9_.-]+', name) else repr(name)}"
        for option, name in zip(options, names, strict=False)
    )


def _found(
    path: Path, line: int, rows: Sequence[Sequence[str]], names: tuple[str, ...], columns: Columns, *, has_header: bool
) -> dict[str, int]:
    """Return where the columns asked for stand.

    Raises:
        DataError: one of them is not there, or is there twice.
    """
    head = rows[0]
    usual = names == (columns.options or names) and len(names) <= len(head)
    if not has_header and usual and not any(name.isdecimal() for name in names):
        return {name: place for place, name in enumerate(names)}
    found = {}
    for name in names:
        at = places(head, name) if has_header else []
        if not at and name.isdecimal() and int(name) < len(head):
            at = [int(name)]
        if len(at) > 1:
            raise DataError(f"{path} has {len(at)} columns {name!r}. Give each its own name.")
        if not at:
            there = ", ".join(map(repr, head)) if has_header else f"{len(head)}, counted from 0, without a header"
            raise DataError(
                f"{path}, line {line}: there is no column {name!r}; there are {there}."
                f"{nearest(name, head) if has_header else ''} Name the columns, by header or number: "
                f"{suggested(rows if has_header else [list(map(str, range(len(head)))), *rows], columns.options)}."
            )
        found[name] = at[0]
    return found


def _tell(
    head: Sequence[str], found: dict[str, int], separator: str, *, quoted: bool, has_header: bool, notes: Notes
) -> None:
    """Note how the table was understood."""
    kind = {",": "CSV", "\t": "TSV"}.get(separator, f"cells between {SEPARATORS.get(separator, repr(separator))}")
    if quoted and separator == "\t":
        notes.remarks.append('quotation marks around cells were taken off, as a program put them on ("" within).')
    where = [
        f"{name} in column {head[place]!r}" if has_header else f"{name} in column {place}"
        for name, place in found.items()
    ]
    notes.reading = f"{kind} {'with' if has_header else 'without'} a header: {', '.join(where)}"
