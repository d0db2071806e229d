"""Words and tags in rows: lines of columns (CoNLL), CSV and TSV, records. How rows become sentences.

A row holds one word, and sentences are told apart by empty lines or a column that numbers them; or a row holds a
whole sentence, as lists or texts with blanks. The form is detected from the cells, never from the name of the file.
"""

from __future__ import annotations

import ast
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from ...errors import DataError
from ._columns import heads_tags, heads_words
from ._files import Notes, text_lines
from ._schemes import MOST, PLAIN, are_tags, holds_tags, style_of
from ._separated import SEPARATORS, best_form, split_rows

# Number of lines from which the separator of columns is detected.
LOOKED_AT = 1000
# With this many runs of different values, a column numbers sentences and does not look so by chance.
MANY = 8

BEGIN = re.compile(r"#\s?(begin|end) document\b")
BOUNDARY = re.compile(rf"-+DOC-?(START|END)-+|{BEGIN.pattern}", re.IGNORECASE)
SENTENCE_NAME = re.compile(r".*(sent|doc|utterance).*", re.IGNORECASE)
BLANKS = re.compile(r"[ \t]+")


class Row(NamedTuple):
    """One line: its number and its cells; no cells if the line is empty or ends a sentence."""

    number: int
    cells: Sequence[Any]


class Block(NamedTuple):
    """One sentence: the line of each word, or one line for all words, and a sequence for each column."""

    path: Path
    lines: Sequence[int]
    columns: Sequence[Any]


@dataclass
class Sheet:
    """The sentences of one source, and the names of its columns."""

    path: Path
    blocks: list[Block]
    names: Sequence[str] | None
    """The names of the columns, if the source has a header."""
    width: int
    form: str
    """The format it was read as."""
    boundary: str = ""
    """How sentences are separated, if not by empty lines."""
    sentence: int | None = None
    """The column that separates sentences."""
    whole: bool = False
    """Whether each row is a whole sentence."""
    separator: str = ""
    """What separates the cells of lines."""
    head: int = 0
    """The line that names the columns; 0: none does."""
    features: int | None = None
    """The column of features that has the tags in it."""

    def called(self, place: int) -> str:
        """Return the name of a column."""
        return f"{place}" if self.names is None else repr(self.names[place])

    def column(self, place: int) -> str | int:
        """Return a column's name, or its number if columns have no names."""
        return place if self.names is None else self.names[place]

    def holds(self, asked: int | str) -> bool:
        """Return whether a column is there, by its name or number."""
        if isinstance(asked, str) and not asked.lstrip("-").isdecimal():
            return asked in (self.names or ())
        return -self.width <= int(asked) < self.width

    def place(self, asked: int | str, what: str) -> int:
        """Return the index of a column, given by name or by number from 0 (negative from the end).

        Raises:
            DataError: there is none.
        """
        names = self.names or ()
        if isinstance(asked, str) and asked in names:
            return list(names).index(asked)
        try:
            number = int(asked)
        except ValueError:
            there = (
                f"there are {', '.join(names)}" if names else f"its {self.width} columns have no names, only numbers"
            )
            raise DataError(f"{self.path}: there is no {what} column {asked!r}; {there}.") from None
        if not -self.width <= number < self.width:
            raise DataError(f"{self.path}: there is no {what} column {number}; there are {self.width}, counted from 0.")
        return number % self.width


def pieces(cell: Any) -> Any:
    """Return the words or tags of a cell that holds a sentence: a list, a list written as text, or a text."""
    if not isinstance(cell, str):
        return cell
    text = cell.strip()
    if text.startswith("[") and text.endswith("]"):
        for read in (json.loads, ast.literal_eval):
            try:
                found = read(text)
            except (ValueError, SyntaxError, RecursionError, MemoryError):
                continue
            # NumPy prints lists without commas, and Python concatenates adjacent string literals.
            if isinstance(found, list) and (len(found) > 1 or "' '" not in text):
                return found
        quoted = re.findall(r"'([^']*)'|\"([^\"]*)\"", text)
        if quoted and not re.search(r"[^\s,]", re.sub(r"'[^']*'|\"[^\"]*\"", "", text[1:-1])):
            return [one or other for one, other in quoted]
    return [piece for piece in BLANKS.split(text) if piece]


def lines_sheet(path: Path, asked: Sequence[str], options: Any, notes: Notes, least: int = 2) -> Sheet:
    """Read lines of columns; `asked` are names that a header may contain, `least` the least columns of a word."""
    numbered = [(number, line.lstrip("\ufeff")) for number, line in text_lines(path, notes)]
    if any(line.startswith("#FORMAT=WebAnno") for _, line in numbered[:3]):
        raise DataError(f"{path} is WebAnno TSV, which is not read. Export it as CoNLL 2002 or 2003, or as JSONL.")
    names = _global_columns(numbered)
    excel = re.fullmatch("sep=([,;\t])", numbered[0][1]) if numbered else None
    if excel is None:
        separator = _separator(path, [line for _, line in numbered])
    else:
        separator, numbered = excel[1], numbered[1:]
    rows = list(_rows(path, numbered, separator, notes))
    width = _usual_width(rows)
    if any(BEGIN.match(line) for _, line in numbered):
        # CoNLL-2012: each sentence has extra columns, one for each predicate, after the columns that all have.
        width = min((len(row.cells) for row in rows if len(row.cells) > 1), default=0)
        rows = [Row(row.number, row.cells[:width]) for row in rows]
    first = next((row for row in rows if row.cells), None)
    head = 0
    if names is None and first is not None and _is_header(first, rows, width, asked, least):
        names = [str(cell).strip() for cell in first.cells]
        head = first.number
        rows.remove(first)
    if first is not None and width < least:
        raise DataError(f"{path}: most lines hold one column, first line {first.number}: {_why_bad(first, 2)}")
    sheet = _sheet(path, rows, names, width, f"columns split by {SEPARATORS[separator]}", options, notes, least)
    sheet.separator, sheet.head = separator, head
    return sheet


def table_sheet(
    path: Path, rows: list[Row], names: Sequence[str], form: str, options: Any, notes: Notes, least: int = 2
) -> Sheet:
    """Read the rows of a table with named columns; `least` is the least number of lists in a row of lists."""
    return _sheet(path, rows, names, len(names), form, options, notes, least)


def _sheet(
    path: Path,
    rows: list[Row],
    names: Sequence[str] | None,
    width: int,
    form: str,
    options: Any,
    notes: Notes,
    least: int,
) -> Sheet:
    sheet = Sheet(path, [], names, width, form)
    lists = _lists(rows, width, least)
    if lists is not None:
        sheet.whole = True
        sheet.form += ", a sentence a row"
        sheet.blocks = [
            Block(path, [row.number], [pieces(cell) if at in lists else cell for at, cell in enumerate(row.cells)])
            for row in rows
            if row.cells and _fits(path, row, width, notes)
        ]
        return sheet
    groups = list(_grouped(path, rows, width, notes))
    if options.sentence_column is not None or len(groups) <= 1 or all(len(group) == 1 for group in groups):
        groups = _by_column(sheet, [row for group in groups for row in group], options) or groups
    sheet.blocks = [
        Block(path, [row.number for row in group], list(zip(*(row.cells[:width] for row in group), strict=True)))
        for group in groups
    ]
    return sheet


def _global_columns(lines: Sequence[tuple[int, str]]) -> list[str] | None:
    """Return the column names in the first lines of CoNLL-U Plus."""
    for _, line in lines[:5]:
        match = re.fullmatch(r"#\s*global\.columns\s*=\s*(.+)", line)
        if match:
            return match[1].split()
    return None


def _separator(path: Path, lines: Sequence[str]) -> str:
    """Detect the separator: most lines get the same number of columns, and one column holds tags."""
    looked = [line for line in lines if line.strip(" \t") and not line.startswith("#") and not BOUNDARY.match(line)]
    looked = looked[:LOOKED_AT]
    if looked and 2 * sum("\t" in line.strip() for line in looked) >= len(looked):
        return "\t"
    order = (",", ";", " ") if ".csv" in (suffix.lower() for suffix in path.suffixes) else (" ", ",", ";")

    def weigh(_: object, rows: Sequence[list[str] | str]) -> float:
        whole = [row for row in rows if isinstance(row, list)]
        width = Counter(map(len, whole)).most_common(1)[0][0] if whole else 0
        even = [row for row in whole if len(row) == width]
        if width < 2 or len(even) < MOST * len(whole):
            return 0.0
        # A little for columns without any tag, which the user may have named.
        return 0.01 + round(max(_tag_share(column) for column in zip(*even, strict=True)), 2)

    found = best_form(looked, [(one, one != " ") for one in order], weigh)
    return found[0] if found is not None else " "


def tag_share(path: Path, lines: Sequence[str]) -> float:
    """Return the greatest share of tags in a column of lines that most have the same number of columns."""
    separator = _separator(path, lines)
    rows = [row for _, row in split_rows(lines[:LOOKED_AT], (separator, separator in ",;")) if row]
    whole = [row for row in rows if isinstance(row, list)]
    width = Counter(map(len, whole)).most_common(1)[0][0] if whole else 0
    even = [row for row in whole if len(row) == width]
    if width < 2 or len(even) < MOST * len(rows):
        return 0.0
    return max(_tag_share(column) for column in zip(*even, strict=True))


def _tag_share(cells: Sequence[Any]) -> float:
    """Return the share of the pieces of cells that are tags with a letter, or O."""
    style, share = style_of(Counter(str(piece) for cell in cells for piece in pieces(cell)))
    return 0.0 if style is PLAIN and share < 1 else share


def _rows(path: Path, lines: Sequence[tuple[int, str]], separator: str, notes: Notes) -> Iterator[Row]:
    """Yield the cells of lines; no cells for an empty line or a boundary; a negative number for a skipped line."""
    last = lines[0][0] - 1 if lines else 0
    bare = [_bare(line, separator) for _, line in lines]
    for place, cells in split_rows(bare, (separator, separator in ",;")):
        number = lines[place - 1][0]
        if isinstance(cells, str):
            notes.bad(path, number, cells)
            yield Row(-number, ())
            continue
        if separator not in ",;" and number != last + 1:
            yield Row(-last - 1, ())
        last = number
        if separator == " " and "\t" in bare[place - 1]:
            cells = bare[place - 1].split("\t")
        # Only tab and blank are separators and are taken off: other white space may stand inside a word.
        cells = cells if separator == " " and "\t" not in bare[place - 1] else [cell.strip(" ") for cell in cells]
        yield Row(number, cells if separator not in ",;" or any(cells) else ())


def _bare(line: str, separator: str) -> str:
    """Return a line; an empty one in place of blanks and of a boundary."""
    if separator in ",;":
        return line
    return "" if not line.strip(" \t") or (line[0] in "-#" and BOUNDARY.match(line)) else line


def _usual_width(rows: Sequence[Row]) -> int:
    """Return the most frequent number of columns; of equally frequent ones the first."""
    counted = Counter(len(row.cells) for row in rows if row.cells and not _hash(row))
    counted = counted or Counter(len(row.cells) for row in rows if row.cells)
    return max(counted, key=lambda width: counted[width], default=0)


def _is_header(first: Row, rows: Sequence[Row], width: int, asked: Sequence[str], least: int) -> bool:
    """Return whether the first row is a header: it has requested or usual names, or names a column of tags.

    Without tags (`least` 1), it names the words and something else.
    """
    cells = [str(cell).strip() for cell in first.cells]
    if len(cells) != width:
        return False
    if any(name in cells for name in asked):
        return True
    if least < 2 and heads_words(cells):
        return True
    return heads_tags(cells, [row.cells for row in rows if row is not first and len(row.cells) == width])


def _lists(rows: Sequence[Row], width: int, least: int) -> list[int] | None:
    """Return the columns if each row is a sentence, None if each row is a word.

    Rows are sentences if two columns hold lists, or one holds several tags a row beside another with as many words.
    """
    looked = [row.cells for row in rows if len(row.cells) == width][:LOOKED_AT]
    columns = [[cell for cell in column if cell is not None] for column in zip(*looked, strict=True)]
    lists = [at for at, column in enumerate(columns) if 2 * sum(isinstance(one, list) for one in column) > len(column)]
    if len(lists) >= least:
        return lists
    split = [[pieces(cell) if isinstance(cell, str | list) else None for cell in cells] for cells in looked]
    several = [at for at in range(width) if any(len(cells[at] or ()) > 1 for cells in split)]
    for at in several:
        counted = Counter(str(piece) for cells in split for piece in cells[at] or ())
        style = are_tags(counted)
        numbers = all(tag.isdecimal() for tag in counted)
        others = [place for place in several if place != at]
        even = any(_as_long(split, at, place) for place in others)
        # "O", labels and numbers may be words too, so there must be as many tags as words in enough rows.
        if (others and style is not None and style is not PLAIN) or (even and (style is PLAIN or numbers)):
            return several
    return None


def _as_long(rows: Sequence[Sequence[Any]], first: int, second: int) -> bool:
    pairs = [(cells[first], cells[second]) for cells in rows if cells[first] is not None and cells[second] is not None]
    return sum(len(a) == len(b) for a, b in pairs) >= MOST * len(pairs)


def _fits(path: Path, row: Row, width: int, notes: Notes) -> bool:
    if len(row.cells) == width:
        return True
    notes.bad(path, row.number, f"there are {_columns(len(row.cells))}, {width} in most lines.")
    return False


def _columns(count: int) -> str:
    return "1 column" if count == 1 else f"{count} columns"


def _grouped(path: Path, rows: Sequence[Row], width: int, notes: Notes) -> Iterator[list[Row]]:
    """Yield the rows between empty lines; an invalid row drops its whole sentence."""
    known = {str(row.cells[-1]) for row in rows if len(row.cells) == width and not _hash(row)} if width else set()
    words = {str(row.cells[0]) for row in rows if len(row.cells) == width == 2}
    group: list[Row] = []
    bad = False
    for row in (*rows, Row(0, ())):
        if row.number < 0:
            bad = True
        elif not row.cells:
            if group and not bad:
                yield group
            group, bad = [], False
        elif _hash(row) and not _is_row(row, width, known):
            continue
        elif width == 2 and len(row.cells) == 1 and str(row.cells[0]) in known and str(row.cells[0]) not in words:
            group.append(Row(row.number, ("", *row.cells)))  # a tag whose word is empty
        elif len(row.cells) < min(2, width) or len(row.cells) != width:
            if not bad:
                notes.bad(path, row.number, _why_bad(row, width))
            bad = True
        else:
            group.append(row)


def _hash(row: Row) -> bool:
    first = row.cells[0] if row.cells else None
    return isinstance(first, str) and first[:1] == "#"


def _is_row(row: Row, width: int, known: set[str]) -> bool:
    """Return whether a line that begins with `#` is a word with all columns and a tag, not a comment like `# id 7`."""
    last = str(row.cells[-1])
    return len(row.cells) == max(width, 1) and (width < 2 or last in known or style_of(Counter([last]))[1] == 1)


def _why_bad(row: Row, width: int) -> str:
    if len(row.cells) > 1:
        return f"there are {_columns(len(row.cells))}, {width} in most lines."
    rule = "there is 1 column; a word and its tag are the least."
    odd = next((sign for sign in str(row.cells[0]) if sign.isspace()), None)
    if odd is not None:
        rule += f" U+{ord(odd):04X} stands in it, which separates nothing: blanks and tabs do."
    return rule


def _by_column(sheet: Sheet, rows: list[Row], options: Any) -> list[list[Row]] | None:
    """Split rows into sentences by a column that numbers sentences, or one that numbers words."""
    if not rows:
        return None
    columns = list(zip(*(row.cells[: sheet.width] for row in rows), strict=True))
    if options.sentence_column is not None:
        place = sheet.place(options.sentence_column, "sentence")
        sheet.sentence, sheet.boundary = place, f"a new sentence where column {sheet.called(place)} changes"
        return _cut(rows, _changes(columns[place]))
    ways: tuple[tuple[Callable[[Sequence[Any], bool], list[bool] | None], str], ...] = (
        (_begun, "a new sentence where column {} is filled"),
        (_runs, "a new sentence where column {} changes"),
        (_restarts, "a new sentence where the numbers of column {} begin again"),
    )
    free = [place for place, column in enumerate(columns) if not holds_tags(column)]
    for way, text in ways:
        found = []
        for place in free:
            named = sheet.names is not None and SENTENCE_NAME.fullmatch(sheet.names[place]) is not None
            starts = way(columns[place], named)
            if starts is not None:
                found.append((sum(starts), -place, starts))
        if found:
            _, place, starts = max(found, key=lambda one: one[:2])
            sheet.sentence, sheet.boundary = -place, text.format(sheet.called(-place))
            return _cut(rows, starts)
    return None


def _cut(rows: Sequence[Row], starts: Sequence[bool]) -> list[list[Row]]:
    groups: list[list[Row]] = []
    for row, is_first in zip(rows, starts, strict=True):
        if is_first or not groups:
            groups.append([])
        groups[-1].append(row)
    return groups


def _empty(cell: Any) -> bool:
    return cell is None or cell in ("", "nan", "NaN") or cell != cell


def _begun(column: Sequence[Any], named: bool) -> list[bool] | None:
    """Return where sentences begin, if the column is filled in the first row of each only; else None."""
    starts = [not _empty(cell) for cell in column]
    return starts if starts[0] and 1 < sum(starts) <= len(starts) / 2 else None


def _changes(column: Sequence[Any]) -> list[bool]:
    found, before = [], None
    for cell in column:
        found.append(not _empty(cell) and cell != before)
        before = before if _empty(cell) else cell
    return found


def _runs(column: Sequence[Any], named: bool) -> list[bool] | None:
    """Return where sentences begin, if the column has one value for each and values do not come back; else None."""
    if any(_empty(cell) for cell in column):
        return None
    starts = _changes(column)
    count = sum(starts)
    if not 1 < count < len(starts) or (count > len(starts) / 2 and not named):
        return None
    values = [cell for cell, is_first in zip(column, starts, strict=True) if is_first]
    # A few values may be distinct by chance, unless they count upwards or the column's name says "sentence".
    distinct = len(set(values)) == count and (named or count >= MANY)
    return starts if distinct or _count_up(values) else None


def _count_up(values: Sequence[Any]) -> bool:
    """Return whether numbers go up by one, or restart at 0 or 1."""
    try:
        numbers = [int(value) for value in values]
    except (ValueError, TypeError):
        return False
    return all(after == before + 1 or after in (0, 1) for before, after in pairwise(numbers))


def _restarts(column: Sequence[Any], named: bool) -> list[bool] | None:
    """Return where sentences begin, if the column numbers words and restarts; else None."""
    if not _count_up(column):
        return None
    first = min(int(cell) for cell in column)
    starts = [int(cell) == first for cell in column]
    return starts if 1 < sum(starts) <= len(starts) / 2 else None
