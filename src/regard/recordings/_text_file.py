"""What the tokens are, as JSON: text as it is, bytes and images in base64."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from ..errors import ArgumentError, RegardError
from ._documents import MOST_BYTES, Fields, packed
from ._grid import Grid
from ._texts import Texts

_BYTES = "base64"


def text_file(texts: Texts) -> tuple[bytes, int] | None:
    """Return the file of what is known of the tokens and its check, None if nothing is; raises `ArgumentError`."""
    values = {one.name: getattr(texts, one.name) for one in fields(texts)}
    document = {name: _plain(name, value) for name, value in values.items() if value is not None}
    if not document:
        return None
    data, check = packed(document)
    if len(data) > MOST_BYTES:
        raise ArgumentError(f"texts take {len(data):,} bytes; a recording on disk keeps at most {MOST_BYTES:,}.")
    return data, check


def _plain(field: str, value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(label): _plain(field, entries) for label, entries in value.items()}
    if isinstance(value, Grid):
        image = None if value.image is None else _text_of(value.image)
        return {"rows": value.rows, "columns": value.columns, "first": value.first, "image": image}
    entries = list(value)
    if entries and all(isinstance(one, list | tuple) for one in entries):
        return [[_entry(field, entry) for entry in one] for one in entries]
    return [_entry(field, entry) for entry in entries]


def _entry(field: str, entry: Any) -> Any:
    if entry is None:
        return None
    if field == "words":
        return int(entry)
    if isinstance(entry, bytes):
        return {_BYTES: _text_of(entry)}
    if isinstance(entry, str):
        return entry
    raise ArgumentError(f"texts.{field} holds {entry!r}; a recording on disk keeps text, bytes and None.")


def texts_of(told: Fields) -> Texts:
    """Return what a document says of the tokens; raises `RecordingFileError`."""
    names = {one.name for one in fields(Texts)}
    if not set(told.value) <= names:
        told.refuse("has fields that texts have not")
    found: dict[str, Any] = {}
    for name, value in told.value.items():
        if name.endswith("grid"):
            found[name] = _grid(told.below(name))
        elif isinstance(value, dict) and name.endswith("labels"):
            found[name] = {label: _entries(told, name, entries) for label, entries in value.items()}
        else:
            found[name] = _entries(told, name, value)
    return Texts(**found)


def _grid(told: Fields) -> Grid:
    rows, columns, first = (told.whole(name) for name in ("rows", "columns", "first"))
    image = _bytes_of(told, told.value["image"]) if told.has("image") else None
    try:
        return Grid(rows, columns, first, image)
    except RegardError as error:
        told.refuse(f"has a grid that is none: {str(error)[:200]}")


def _entries(told: Fields, name: str, value: Any) -> list[Any]:
    if not isinstance(value, list):
        told.refuse(f"has {name} that are no list")
    if value and all(isinstance(one, list) for one in value):
        return [[_restored(told, name, entry) for entry in one] for one in value]
    return [_restored(told, name, entry) for entry in value]


def _restored(told: Fields, name: str, entry: Any) -> Any:
    if isinstance(entry, dict) and list(entry) == [_BYTES] and name != "words":
        return _bytes_of(told, entry[_BYTES])
    if entry is not None and type(entry) is not (int if name == "words" else str):
        told.refuse(f"has {name} that hold {str(entry)[:40]!r}")
    return entry


def _text_of(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _bytes_of(told: Fields, text: Any) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (ValueError, TypeError):
        told.refuse("holds bytes that are not in base64")
