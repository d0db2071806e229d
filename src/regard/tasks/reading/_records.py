"""Records of a file: JSON lines, JSON and Parquet, detected by content; labels by name if the file has names."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ...errors import DataError
from . import _features
from ._files import Notes, open_bytes, plain_suffix, text_lines, whole_text
from ._tables import json_values, parquet_rows

Record = tuple[int, Any]
"""The number of the line or row, from 1, and its record."""

JSON = (".json", ".jsonl", ".ndjson")
# The start of JSON over several lines.
OPENINGS = ("{", "[", "[{")


def is_records(path: Path) -> bool:
    """Return whether a file is Parquet or starts like JSON; its name decides only if that is unclear."""
    contents = open_bytes(path)
    if _is_parquet(path, contents):
        return True
    begin = contents[: 2**16].lstrip(b"\xef\xbb\xbf \t\r\n")
    if not begin.startswith((b"{", b"[")):
        return False
    first = begin.split(b"\n")[0].decode("utf-8", "replace").strip()
    return plain_suffix(path) in JSON or first in OPENINGS or _loads(first) is not None


def _is_parquet(path: Path, contents: bytes) -> bool:
    # A complete Parquet file has a mark at both ends; for a truncated one the name decides.
    return contents.startswith(b"PAR1") and (contents.endswith(b"PAR1") or plain_suffix(path) == ".parquet")


def records(path: Path, notes: Notes) -> Iterator[Record]:
    """Yield the records of a file; a list of records, or an object with one, is unpacked."""
    names = _features.beside(path)
    is_parquet = _is_parquet(path, open_bytes(path))
    found = ((number, row) for _, number, row in parquet_rows(path)) if is_parquet else _json(path, notes)
    for number, record in found:
        yield number, _with_names(record, names)


def _with_names(record: Any, names: Mapping[str, list[str]]) -> Any:
    if not names or not isinstance(record, Mapping):
        return record
    return {key: _features.named(one, names[key]) if key in names else one for key, one in record.items()}


def _loads(text: str) -> Any:
    """Return the JSON object or list of a text; None if it is not one."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict | list) else None


def _json(path: Path, notes: Notes) -> Iterator[Record]:
    lines = [(number, line) for number, line in text_lines(path, notes) if line.strip()]
    opens = bool(lines) and lines[0][1].strip() in OPENINGS
    if len(lines) > 1 and not opens and any(_loads(line) is not None for _, line in lines[:3]):
        for number, line in lines:
            try:
                yield number, json.loads(line)
            except (ValueError, RecursionError) as error:
                notes.bad(path, number, f"this is no JSON: {error}.")
        return
    alone = _loads(lines[0][1]) if len(lines) == 1 else None
    if isinstance(alone, list) and (_is_record(alone) or _is_sentence(alone)):
        yield lines[0][0], alone
        return
    text = whole_text(path, notes)
    found = [] if text is None else list(json_values(path, text))
    if len(found) == 1 and text is not None and text.lstrip()[:1] == "{":
        yield from enumerate(_listed(path, found[0][1]), start=1)
    else:
        yield from found


def _listed(path: Path, found: Any) -> list[Any]:
    """Return the records of a JSON value: a list, an object with a list or with columns, or a single record."""
    if isinstance(found, list):
        return found
    if not isinstance(found, dict):
        raise DataError(f"{path} holds a {type(found).__name__}; the rule is a list of objects.")
    lists = {key: value for key, value in found.items() if isinstance(value, list) and value}
    wrapped = [value for value in lists.values() if all(_is_record(one) for one in value)]
    if len(wrapped) == 1 and not isinstance(found.get("data"), dict):
        return list(wrapped[0])
    columns = lists.values()
    if len(lists) > 1 and len(set(map(len, columns))) == 1 and all(isinstance(x, list) for y in columns for x in y):
        return [dict(zip(lists, row, strict=True)) for row in zip(*columns, strict=True)]
    return [found]


def _is_sentence(found: list[Any]) -> bool:
    """Return whether a list is a sentence: pairs of a word and its tag."""
    return bool(found) and all(
        isinstance(one, list) and len(one) > 1 and all(isinstance(x, str) for x in one) for one in found
    )


def _is_record(one: Any) -> bool:
    """Return whether a JSON value is a record, and not a span or a list of words."""
    if isinstance(one, dict):
        return "start" not in one and "start_offset" not in one and "result" not in one
    return isinstance(one, list) and len(one) == 2 and isinstance(one[0], str) and isinstance(one[1], dict)
