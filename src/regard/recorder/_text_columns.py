"""The tokens, words, labels and images of a recording on disk: text as bytes and offsets, one column for each field.

texts/zarr.json        which columns there are
texts/0/bytes          the UTF-8 of all its entries, one after the other, or an image
texts/0/offsets        where each begins, and the end
texts/0/kinds          0 text, 1 bytes, 2 None
texts/1/numbers        of words; -1 for None
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import Any

import torch
from torch import Tensor

from ..errors import ArgumentError, RegardError
from ._archive import Archive
from ._document import ColumnDocument, read_columns
from ._format import Put, check_of, group_document, write_array
from ._grid import Grid
from ._pieces import NotRecordedWarning, PieceReader
from ._texts import Texts

__all__ = ["read_texts", "write_texts"]

_TEXT, _BYTES, _NONE = 0, 1, 2


def write_texts(put: Put, texts: Texts) -> int | None:
    """Write what is known of the tokens through `put(name, data)`; return its check, None if nothing is known.

    Raises `ArgumentError`.
    """
    columns = list(_columns(texts))
    if not columns:
        return None
    said = []
    for number, (field, label, value) in enumerate(columns):
        about, tensors = _taken_apart(field, value)
        arrays = {name: write_array(put, f"{number}/{name}", one, [name]) for name, one in tensors.items()}
        put(f"{number}/zarr.json", group_document())
        said.append({"field": field, "label": label, "arrays": arrays, **about})
    ours = {"columns": said}
    put("zarr.json", group_document(ours))
    return check_of(ours)


def _columns(texts: Texts) -> Iterator[tuple[str, str | None, Any]]:
    for one in fields(texts):
        value = getattr(texts, one.name)
        if isinstance(value, Mapping):
            yield from ((one.name, str(label), entries) for label, entries in value.items())
        elif value is not None:
            yield one.name, None, value


def _taken_apart(field: str, value: Any) -> tuple[dict[str, Any], dict[str, Tensor]]:
    if isinstance(value, Grid):
        about = {"inputs": None, "grid": [value.rows, value.columns, value.first]}
        return about, {} if value.image is None else {"bytes": _of_bytes(value.image)}
    entries, inputs = list(value), None
    if entries and all(isinstance(one, list | tuple) for one in entries):
        inputs = [len(one) for one in entries]
        entries = [entry for one in entries for entry in one]
    about = {"inputs": inputs, "grid": None}
    if field == "words":
        return about, {"numbers": torch.tensor([-1 if one is None else int(one) for one in entries], dtype=torch.int64)}
    for one in entries:
        if one is not None and not isinstance(one, str | bytes):
            raise ArgumentError(f"texts.{field} holds {one!r}; a recording on disk keeps text, bytes and None.")
    plain = [one if isinstance(one, bytes) else (one or "").encode("utf-8", "surrogatepass") for one in entries]
    kinds = [_NONE if one is None else _BYTES if isinstance(one, bytes) else _TEXT for one in entries]
    sizes = torch.tensor([0, *map(len, plain)], dtype=torch.int64)
    return about, {
        "bytes": _of_bytes(b"".join(plain)),
        "offsets": sizes.cumsum(0),
        "kinds": torch.tensor(kinds, dtype=torch.int8),
    }


def _of_bytes(data: bytes) -> Tensor:
    return torch.frombuffer(bytearray(data), dtype=torch.uint8) if data else torch.empty(0, dtype=torch.uint8)


def read_texts(archive: Archive, check: int | None) -> Texts:
    """Read what is known of the tokens; columns of which a part is missing are left out, with a warning."""
    found: dict[str, Any] = {}
    for number, column in enumerate(read_columns(archive, check)):
        whose = f"column {number} of the texts"
        pieces = PieceReader(archive, f"texts/{number}", whose)
        if column.field not in {one.name for one in fields(Texts)}:
            pieces.refuse(repr(column.field[:40]), "is no field of texts")
        if any(pieces.missing(name, stored) for name, stored in column.arrays.items()):
            warnings.warn(
                NotRecordedWarning(f"{column.field} of {archive.name!r} is not whole: it is left out."), stacklevel=2
            )
            continue
        value = _put_together(column, pieces)
        if column.label is None:
            found[column.field] = value
        elif isinstance(found.setdefault(column.field, {}), dict):
            found[column.field][column.label] = value
    return Texts(**found)


def _put_together(column: ColumnDocument, pieces: PieceReader) -> Any:
    arrays = {name: pieces.read(name, stored) for name, stored in column.arrays.items()}
    kinds = {name: (array.dtype.name, array.ndim) for name, array in arrays.items()}
    if column.grid is not None:
        if not column.field.endswith("grid") or kinds not in ({}, {"bytes": ("uint8", 1)}):
            pieces.refuse(column.field, "is no grid")
        try:
            rows, columns, first = column.grid
            return Grid(rows, columns, first, arrays["bytes"].tobytes() if arrays else None)
        except RegardError as error:
            pieces.refuse(column.field, f"is none: {str(error)[:200]}")
    if column.field == "words" and kinds == {"numbers": ("int64", 1)}:
        return _nested([None if one == -1 else one for one in arrays["numbers"].tolist()], column, pieces)
    if kinds != {"bytes": ("uint8", 1), "offsets": ("int64", 1), "kinds": ("int8", 1)} or column.field == "words":
        pieces.refuse(column.field, "has not the arrays of a column")
    data, offsets, marks = arrays["bytes"].tobytes(), arrays["offsets"].tolist(), arrays["kinds"].tolist()
    ends = [0, *offsets[1:]] if offsets[:1] == [0] else [-1]
    if len(offsets) != len(marks) + 1 or ends != sorted(ends) or ends[0] < 0 or ends[-1] != len(data):
        pieces.refuse(column.field, "has offsets that do not fit its bytes")
    try:
        entries = [_entry(data[a:b], mark) for a, b, mark in zip(ends, ends[1:], marks, strict=False)]
    except ValueError as error:
        pieces.refuse(column.field, f"holds what is no text: {str(error)[:200]}")
    return _nested(entries, column, pieces)


def _entry(data: bytes, mark: int) -> str | bytes | None:
    if mark == _TEXT:
        return data.decode("utf-8", "surrogatepass")
    if mark == _BYTES:
        return data
    if mark != _NONE or data:
        raise ValueError(f"an entry of {len(data)} bytes is marked {mark}")
    return None


def _nested(entries: list[Any], column: ColumnDocument, pieces: PieceReader) -> list[Any]:
    if column.inputs is None:
        return entries
    if sum(column.inputs) != len(entries):
        pieces.refuse(column.field, "has lengths that do not fit its entries")
    walk = iter(entries)
    return [[next(walk) for _ in range(size)] for size in column.inputs]
