"""Rows of tables: JSONL, JSON, CSV, TSV, Parquet, and data sets of the Hugging Face hub."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ...errors import DataError, nearest, needed
from ._columns import Columns
from ._files import Notes, open_bytes, plain_suffix, rough_lines, text_lines, whole_text, why_no_text
from ._separated import is_tabbed, separated

Row = tuple[Path, int, Mapping[str, Any]]
"""The file, the number of the line, and the values by column."""

SUFFIXES = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet")
SHEETS = (".xlsx", ".xls", ".ods", ".numbers")
PACKED = (".zip", ".bz2", ".xz", ".zst", ".7z", ".rar", ".tar", ".tgz")


def why_no_table(source: tuple[Path, ...], *, tabs: bool = True) -> str | None:
    """Return why a source is not a table; None if it is one, by its name or, where `tabs`, by its lines."""
    if len(source) != 1:
        return f"it is one file, {len(source)} were given"
    path = source[0]
    if plain_suffix(path) in SUFFIXES and path.is_file():
        return None
    if not path.exists():
        return f"{path} does not exist"
    if plain_suffix(path) in SHEETS:
        return f"{path.name} is a spreadsheet; save it as CSV in UTF-8"
    if plain_suffix(path) in PACKED:
        return f"{path.name} is packed in a form that is not read, as .gz alone is; unpack it"
    if tabs and path.is_file() and is_tabbed(rough_lines(path, Notes(skip=True))):
        return None
    return f"its name ends in {', '.join(SUFFIXES)} (and .gz){', or its lines have equal numbers of tabs' * tabs}"


def is_table(path: Path) -> bool:
    """Return whether a file is a table by its name."""
    return plain_suffix(path) in SUFFIXES


def is_cells(path: Path) -> bool:
    """Return whether a file is CSV or TSV by its name."""
    return plain_suffix(path) in (".csv", ".tsv")


def rows(path: Path, names: tuple[str, ...], columns: Columns, notes: Notes) -> Iterator[Row]:
    """Yield the valid rows of a table.

    `names` are the columns that will be requested: if CSV has no header, its columns get these
    names in this order, and numbers count columns from 0.
    """
    suffix = plain_suffix(path)
    if suffix == ".parquet":
        yield from parquet_rows(path)
    elif suffix == ".json":
        yield from _json(path, names, notes)
    elif suffix in (".jsonl", ".ndjson"):
        yield from _json_lines(path, names, notes)
    else:
        for number, values in separated(path, "," if suffix == ".csv" else "\t", names, columns, notes):
            yield path, number, values
    notes.reading = notes.reading or f"{KINDS.get(suffix, 'table')}: {', '.join(names)}"


MISSING = frozenset(("nan", "NaN", "<NA>", "#N/A"))
"""Values that other programs write for an empty cell."""

OPTIONS = frozenset(("text", "label", "source", "target"))
"""Column names that are also the names of the options (`--text`) by which a user gives another column."""

KINDS = {".parquet": "Parquet", ".json": "JSON", ".jsonl": "JSON lines", ".ndjson": "JSON lines"}


def value(row: Row, name: str, notes: Notes) -> Any:
    """Return a row's value in a column; a row without it is recorded as invalid, and None is returned.

    `translation.de` is the value `de` of the object in the column `translation`.
    """
    path, number, values = row
    found = value_at(values, name)
    if isinstance(found, float) and math.isnan(found):
        found = None
    if found is None:
        rule = f"column {name!r} is empty."
        if name not in values:
            rule = f"there is no column {name!r}; there are {', '.join(_there(values))}."
            rule += f" Name the one that is meant: --{name} NAME." if name in OPTIONS else ""
        notes.bad(path, number, rule + nearest(name, [key for key in values if key != name]))
    return found


def value_at(values: Mapping[str, Any], name: str) -> Any:
    """Return a value by its name, or by a path of names joined by dots; numbers index lists."""
    if name in values or "." not in name:
        return values.get(name)
    found: Any = values
    for part in name.split("."):
        if isinstance(found, Mapping):
            found = found.get(part)
        elif isinstance(found, list) and part.isdecimal() and int(part) < len(found):
            found = found[int(part)]
        else:
            return None
    return found


def _there(values: Mapping[str, Any]) -> list[str]:
    """Return the names of columns, and the paths into objects in them."""
    found = []
    for name, one in values.items():
        inside = one[0] if isinstance(one, list) and one else one
        lead = f"{name}.0" if isinstance(one, list) else name
        found += [f"{lead}.{part}" for part in inside] if isinstance(inside, Mapping) else [str(name)]
    return found


def parts_of(name: str) -> tuple[str, ...]:
    """Return the columns that make a text together: `title+body` is two."""
    parts = tuple(name.split("+"))
    return parts if all(part.strip() for part in parts) else (name,)


def text_value(row: Row, name: str, notes: Notes, join: str = " ") -> str | None:
    """Return a row's text in a column; None, and a record, for a row without it or with a value of another type.

    Columns named together (`title+body`), and lists of texts, are joined with `join` between.
    """
    if len(parts := parts_of(name)) > 1 and name not in row[2]:
        texts = [text_value(row, part, notes, join) for part in parts]
        return None if None in texts else unescaped(join).join(map(str, texts))
    found = value(row, name, notes)
    if found is None:
        return None
    if isinstance(found, list) and found and all(isinstance(one, str) for one in found):
        notes.once(f"column {name!r} holds lists, which were joined with {join!r} between; --join changes that.")
        found = unescaped(join).join(found)
    rule: str | None
    if not isinstance(found, str):
        rule = f"column {name!r} holds a {type(found).__name__}; the rule is a text."
    elif not found.strip():
        rule = f"column {name!r} is empty."
    elif found in MISSING:
        rule = f"column {name!r} holds {found!r}, which is how an empty cell is written."
    else:
        rule = why_no_text(found)
    if rule is None:
        return str(found)
    notes.bad(row[0], row[1], rule)
    return None


def unescaped(join: str) -> str:
    r"""Return what stands between joined texts, where `\n` and `\t` on a command line are a line end and a tab."""
    return join.replace("\\n", "\n").replace("\\t", "\t")


def _json_lines(path: Path, names: tuple[str, ...], notes: Notes) -> Iterator[Row]:
    begun = False
    for number, line in text_lines(path, notes):
        if not line.strip():
            continue
        if not begun and _opens_a_list(line.strip()):
            yield from _json(path, names, notes)
            return
        begun = True
        try:
            found = json.loads(line)
        except (ValueError, RecursionError) as error:
            notes.bad(path, number, f"this is no JSON: {error}.")
            continue
        yield from _objects(path, number, found, notes)


def _objects(path: Path, number: int, found: Any, notes: Notes) -> Iterator[Row]:
    if isinstance(found, dict):
        yield path, number, found
    else:
        notes.bad(path, number, f"a {type(found).__name__} stands where an object {{...}} must.")


def _opens_a_list(first: str) -> bool:
    """Return whether a file named as JSON lines is really one JSON list, or an object over several lines."""
    return first in ("[", "{") or (first.startswith("[") and "{" in first)


def _json(path: Path, names: tuple[str, ...], notes: Notes) -> Iterator[Row]:
    """Yield the rows of JSON: a list of objects, a sequence of objects, or an object of columns."""
    text = whole_text(path, notes) or ""
    found = list(json_values(path, text))
    if len(found) == 1 and isinstance(found[0][1], dict) and text.lstrip(BLANKS).startswith("{"):
        found = [(number, one) for number, one in enumerate(_unpacked(path, found[0][1], names), start=1)]
    for number, one in found:
        yield from _objects(path, number, one, notes)


def json_values(path: Path, text: str) -> Iterator[tuple[int, Any]]:
    """Yield the values of a list, or of a sequence of values, with the line where each begins."""
    decoder = json.JSONDecoder()
    at, line, counted = 0, 1, 0
    inside = text.lstrip(BLANKS)[:1] == "["
    if inside:
        at = text.index("[") + 1
    while True:
        while text[at : at + 1] and text[at] in f"{BLANKS}{',' if inside else ''}":
            at += 1
        if at == len(text) and not inside:
            return
        if inside and text[at : at + 1] == "]":
            inside, at = False, at + 1
            continue
        line, counted = line + text.count("\n", counted, at), at
        try:
            found, at = decoder.raw_decode(text, at)
        except (ValueError, RecursionError) as error:
            said = error.msg if isinstance(error, json.JSONDecodeError) else error
            raise DataError(
                f"{path}, line {line}: this is no JSON: {said}. Give a list of objects, or an object a line."
            ) from error
        yield line, found


BLANKS = " \t\r\n"


def _unpacked(path: Path, found: dict[str, Any], names: tuple[str, ...]) -> list[Any]:
    """Return the rows in an object: from its columns, from its one list of objects, or the object itself as a row."""
    columns = [found.get(name) for name in names]
    if columns and all(isinstance(one, dict) for one in columns):
        columns = [list(one.values()) for one in columns if one is not None]
    if columns and all(isinstance(one, list) for one in columns):
        sizes = {len(one) for one in columns if one is not None}
        if len(sizes) == 1:
            return [dict(zip(names, row, strict=True)) for row in zip(*(one or [] for one in columns), strict=True)]
    lists = [one for one in found.values() if isinstance(one, list) and one and isinstance(one[0], dict)]
    if len(lists) == 1 and not any(name in found for name in names):
        return lists[0]
    if any(value_at(found, name) is not None for name in names):
        return [found]
    raise DataError(
        f"{path} holds an object of {', '.join(map(repr, found)) or 'nothing'}; the rule is a list of objects, "
        "an object a line, or an object of columns. Write the rows that are meant into a file of their own."
    )


def parquet_rows(path: Path) -> Iterator[Row]:
    """Yield the rows of a Parquet file, with label names if it holds them."""
    with needed("Parquet needs pyarrow:", "train"):
        import pyarrow.parquet as parquet
        from pyarrow.lib import ArrowException
    try:
        number = 0
        file = parquet.ParquetFile(io.BytesIO(open_bytes(path)))
        features = _features(file.schema_arrow.metadata)
        for batch in file.iter_batches():
            for values in batch.to_pylist():
                number += 1
                yield path, number, {key: named(features.get(key), one) for key, one in values.items()}
    except (ArrowException, OSError) as error:
        raise DataError(
            f"{path} cannot be read as Parquet: {str(error).splitlines()[0]}. Write the file anew."
        ) from error


def _features(metadata: Mapping[bytes, bytes] | None) -> Mapping[str, Any]:
    """Return the package datasets' metadata of each column."""
    try:
        found = json.loads((metadata or {})[b"huggingface"])["info"]["features"]
    except (KeyError, ValueError, TypeError):
        return {}
    return found if isinstance(found, dict) else {}


def named(feature: Any, value: Any) -> Any:
    """Return a label's name for its number, also in lists; None for a missing label (-1).

    `feature` is the package datasets' description of a column: an object, or its form in a file.
    """
    written = isinstance(feature, dict)
    if isinstance(value, int) and not isinstance(value, bool):
        names = feature.get("names") if written else None
        if isinstance(names, list):
            return names[value] if 0 <= value < len(names) else None
        name_of = getattr(feature, "int2str", None)
        return value if name_of is None else name_of(value) if value >= 0 else None
    if isinstance(value, list):
        inner = feature[0] if isinstance(feature, list) and feature else None
        inner = inner or (feature.get("feature") if written else getattr(feature, "feature", None))
        return value if inner is None else [named(inner, one) for one in value]
    return value
