"""Columns of lines: detecting a header, and finding the requested columns."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from ...errors import DataError, nearest
from ._files import Notes
from ._schemes import holds_tags

USUAL_NAMES = frozenset(
    "id ids text texts sentence sentences sentence1 sentence2 content review reviews comment comments document article "
    "abstract summary highlights title headline body description label labels class class_index category sentiment "
    "intent topic rating stars score polarity emotion target source src tgt tokens words tags ner_tags question answer "
    "context prompt completion response instruction input output premise hypothesis translation tweet message word tag "
    "pos".split()
)
LANGUAGES = frozenset(
    "ar bg ca cs cy da de el en es et eu fa fi fr ga gl gu he hi hr hu hy id is it ja ka kk km kn ko lo lt lv mk ml mn "
    "mr ms mt my nb ne nl nn no pa pl ps pt ro ru si sk sl so sq sr sv sw ta te th tr uk ur uz vi zh "
    "arabic chinese czech danish dutch english finnish french german greek hebrew hindi hungarian italian japanese "
    "korean norwegian polish portuguese romanian russian spanish swedish turkish ukrainian vietnamese "
    "deu eng fra spa ita por rus jpn kor cmn zho nld pol tur ara deutsch englisch".split()
)
TAG_NAME = re.compile(r".*\b(ner|ne|tags?|labels?|entit(y|ies)|iob2?|bio|bioes|chunks?|class)\b.*")
WORD_NAME = re.compile(r".*\b(words?|tokens?|forms?|texts?|sentences?|terms?)\b.*")
_NUMBER = re.compile(r"[-+]?\d[\d.,]*(?:[eE][-+]?\d+)?")
_NAME = re.compile(r"[^\W\d][\w .:#()/-]{0,39}")


@dataclass(frozen=True)
class Columns:
    """How a table's columns are found."""

    header: bool | None = None
    """Whether CSV or TSV has a header; None: detected."""
    options: tuple[str, ...] = ()
    """Options that name columns; an option's default value is its own name."""


def is_number(text: str) -> bool:
    """Return whether a text is a number and nothing else."""
    return _NUMBER.fullmatch(text.strip()) is not None


# With fewer rows than this nothing is concluded from how often values come again.
LEAST = 4


def places(head: Sequence[str], name: str) -> list[int]:
    """Return the indices of columns with a name: as written, else ignoring case and surrounding blanks."""
    exact = [place for place, cell in enumerate(head) if cell == name]
    like = name.strip().casefold()
    return exact or [place for place, cell in enumerate(head) if cell.strip().casefold() == like]


def has_header(
    path: Path, line: int, rows: Sequence[Sequence[str]], names: tuple[str, ...], columns: Columns, notes: Notes
) -> bool:
    """Return whether the first row is a header."""
    head = rows[0]
    if columns.header is not None:
        return columns.header
    asked = [name for name in names if not name.isdecimal()]
    if any(places(head, name) for name in asked):
        return True
    below = next((row for row in rows[1:] if asked and all(places(row, name) for name in names)), None)
    if below is not None:
        raise DataError(
            f"{path}: {', '.join(map(repr, below))} looks like a header, and lines stand above it. Remove them."
        )
    why = _why_header(rows)
    if why is None:
        return False
    named = ", ".join(map(repr, head))
    if asked:
        raise DataError(
            f"{path}, line {line}: {named} looks like a header, for {why}, and it has no {' or '.join(asked)}. "
            f"If it is one, name the columns: {_suggested(rows, columns.options, names)}. "
            "If it is an example like the others: --header False."
        )
    notes.remarks.append(
        f"line {line} ({named}) was read as the names of the columns, for {why}; --header False reads an example in it."
    )
    return True


def heads_words(head: Sequence[str]) -> bool:
    """Return whether a row names the words and another column, and holds nothing but names."""
    words = [cell for cell in head if WORD_NAME.fullmatch(cell.lower())]
    others = [cell for cell in head if cell not in words and set(re.split(r"[\W_]+", cell.casefold())) & USUAL_NAMES]
    return bool(words and others) and all(_NAME.fullmatch(cell) for cell in head)


def heads_tags(head: Sequence[str], rest: Sequence[Sequence[str]]) -> bool:
    """Return whether a row names columns of words and tags, or a column of the rows below that holds tags."""
    small = [re.sub(r"[_\W]+", " ", cell.lower()) for cell in head]
    tags = [place for place, cell in enumerate(small) if TAG_NAME.fullmatch(cell)]
    if any(WORD_NAME.fullmatch(cell) for cell in small) and tags:
        return True
    return bool(rest) and any(holds_tags(tag for cells in rest for tag in cells[place].split()) for place in tags)


def _why_header(rows: Sequence[Sequence[str]]) -> str | None:
    """Return the reason to take the first row as a header, or None."""
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
    known = USUAL_NAMES | {language for language in LANGUAGES if len(language) > 3}
    if all(known & set(re.split(r"[\W_]+", cell.casefold())) for cell in head):
        return "columns are often named so"
    if len(head) > 1 and all(cell.casefold().replace("_", "-").partition("-")[0] in LANGUAGES for cell in head):
        return "these are languages"
    if len(rest) > 1 and any(all(map(is_number, column)) for column in columns):
        return "numbers stand below"
    if len(rest) < LEAST:
        return None
    again = any(len(set(column)) >= 2 and min(map(column.count, set(column))) > 1 for column in columns)
    single = all(len(cell.split()) <= 1 for cell in head)
    over = single and any(min(len(cell.split()) for cell in column[:8]) >= 3 for column in columns)
    few = len(rest) < 8  # of few rows both must be true
    if again and (over or not few):
        return "below it the same few words return, and it is none of them"
    if over and not few:
        return "it has a word where texts stand below"
    return None


def _suggested(rows: Sequence[Sequence[str]], options: tuple[str, ...], names: tuple[str, ...]) -> str:
    """Suggest options by content: the column of the longest texts, then the one of the fewest different values."""
    if len(rows[0]) < len(options):
        return "between cells stand commas, semicolons, tabs or bars"
    if not options:
        return "by option"
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
    given = [places(head, name) for name in names]
    free = iter([place for place in chosen if [place] not in given])
    chosen = [at[0] if len(at) == 1 else next(free, chosen[0]) for at in given]
    names = tuple(head[place] for place in chosen)
    if len(names) != len(options):
        return "by option"
    return " ".join(
        f"--{option} {name if re.fullmatch(r'[A-Za-z0-9_.-]+', name) else repr(name)}"
        for option, name in zip(options, names, strict=False)
    )


def _label_first(rows: Sequence[Sequence[str]]) -> bool:
    """Return whether the first column holds few short labels that come again, the second texts, others numbers."""
    even = [row for row in rows if len(row) == len(rows[0])]
    if len(rows[0]) < 2 or len(even) < LEAST or not all(is_number(cell) for row in even for cell in row[2:]):
        return False
    labels, texts = zip(*(row[:2] for row in even), strict=True)
    words = [sum(len(cell.split()) for cell in column) for column in (labels, texts)]
    return 2 * len(set(labels)) <= len(labels) and len(set(texts)) > len(set(labels)) and words[1] > 2 * words[0]


def find_columns(
    path: Path,
    line: int,
    rows: Sequence[Sequence[str]],
    names: tuple[str, ...],
    columns: Columns,
    notes: Notes,
    *,
    header: bool,
) -> dict[str, int]:
    """Return the indices of the requested columns.

    Raises:
        DataError: one of them is missing, or exists twice.
    """
    head = rows[0]
    usual = names == (columns.options or names) and len(names) <= len(head)
    if not header and usual and not any(name.isdecimal() for name in names):
        if names == ("text", "label") and _label_first(rows):
            notes.columns.update(text=1, label=0)
            notes.remarks.append(
                "column 0 was read as the label and 1 as the text, by what they hold; otherwise --text 0 --label 1."
            )
            return {"text": 1, "label": 0}
        return {name: place for place, name in enumerate(names)}
    found = {}
    for name in names:
        at = places(head, name) if header else []
        if not at and name.isdecimal() and int(name) < len(head):
            at = [int(name)]
        if len(at) > 1:
            raise DataError(f"{path} has {len(at)} columns {name!r}. Give each its own name.")
        if not at:
            there = ", ".join(map(repr, head)) if header else f"{len(head)}, counted from 0, without a header"
            shown = rows if header else [[str(place) for place in range(len(head))], *rows]
            raise DataError(
                f"{path}, line {line}: there is no column {name!r}; there are {there}."
                f"{nearest(name, head) if header else ''} Name the columns, by header or number: "
                f"{_suggested(shown, columns.options, names)}."
            )
        found[name] = at[0]
    return found
