"""The documents of a recording, read without trusting them: each field has its kind and its limits."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from ..errors import RecordingFileError
from ._archive import Archive
from ._fields import Sizes
from ._format import CHECK, FORMAT, OURS, VERSION, call_path, check_of

__all__ = ["CallDocument", "ColumnDocument", "RootDocument", "StoredArray", "read_call", "read_columns", "read_root"]

_MOST_BYTES = 16 << 20
_MOST_TEXT = 1 << 16
_MOST_SIZE = 1 << 32
_MOST_ITEMS = 1 << 20
_MOST_DEPTH = 8
_DTYPES = ("float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool")


@dataclass(frozen=True)
class RootDocument:
    """What a recording says of the whole run."""

    ended: bool
    """Whether the run came to its end; `checks` then has one number for each call."""
    checks: tuple[int, ...]
    missed: dict[str, int]
    left_out: int
    difference: float | None
    texts: int | None
    """Check of what is known of the tokens, None if nothing is."""


@dataclass(frozen=True)
class StoredArray:
    """What a call says of one of its arrays."""

    shape: tuple[int, ...]
    torch: str
    chunk: tuple[int, ...]
    crc32: tuple[int, ...]


@dataclass(frozen=True)
class ColumnDocument:
    """What a recording says of one column of its texts."""

    field: str
    label: str | None
    inputs: tuple[int, ...] | None
    """Entries of each input of a batch; None where there is one list."""
    grid: tuple[int, ...] | None
    arrays: dict[str, StoredArray]


@dataclass(frozen=True)
class CallDocument:
    """What a recording says of one call."""

    position: int
    key: str
    module: str
    number: int
    door: str
    heads: tuple[int, ...] | None
    passes: int
    rank: int
    sums_to_one: bool
    dtype: str
    sizes: Sizes
    summary: dict[str, float | int]
    exact: dict[str, float | int] | None
    arrays: dict[str, StoredArray]


class _Fields:
    """One object of a document. Every question names the limits of its answer."""

    def __init__(self, value: Any, where: str) -> None:
        self.where = where
        self.value: dict[str, Any] = value if isinstance(value, dict) else self.refuse("is no object")

    def refuse(self, what: str) -> NoReturn:
        raise RecordingFileError(f"{self.where} {what}. The recording is damaged, or was not written by regard.")

    def _get(self, name: str, kind: type | tuple[type, ...]) -> Any:
        value = self.value.get(name)
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            self.refuse(f"has no {name} of the right kind")
        return value

    def text(self, name: str) -> str:
        found: str = self._get(name, str)
        return found if len(found) <= _MOST_TEXT else self.refuse(f"has a {name} of more than {_MOST_TEXT:,} letters")

    def flag(self, name: str) -> bool:
        found: bool = self._get(name, bool)
        return found

    def whole(self, name: str, low: int = 0, high: int = _MOST_SIZE) -> int:
        found: int = self._get(name, int)
        return found if low <= found <= high else self.refuse(f"has {name} outside of {low:,} to {high:,}")

    def wholes(self, name: str, low: int = 0, high: int = _MOST_SIZE, most: int = _MOST_ITEMS) -> tuple[int, ...]:
        found = self._get(name, list)
        if len(found) > most or any(type(one) is not int or not low <= one <= high for one in found):
            self.refuse(f"has {name} that are not at most {most:,} integers from {low:,} to {high:,}")
        return tuple(found)

    def number(self, name: str) -> float:
        found: float = self._get(name, (int, float))
        return float(found) if abs(found) < 1e300 else self.refuse(f"has {name} {found!r}")

    def numbers(self, name: str) -> dict[str, float | int]:
        found: dict[str, float | int] = self._get(name, dict)
        for one in found.values():
            if type(one) not in (int, float) or not math.isfinite(one) or abs(one) > 1e300:
                self.refuse(f"has something in {name} that is no finite number")
        return found

    def below(self, name: str) -> Mapping[str, _Fields]:
        found = self._get(name, dict)
        if len(found) > 1000:
            self.refuse(f"has more than 1,000 {name}")
        return {key: _Fields(value, f"{key[:100]!r} in {self.where}") for key, value in found.items()}


def read_root(archive: Archive) -> RootDocument:
    """Read and check the document of the whole."""
    fields, _ = _ours(archive, "zarr.json")
    if fields.text("format") != FORMAT:
        fields.refuse("is of another format")
    if fields.whole("version") > VERSION:
        raise RecordingFileError(f"{archive.name!r} was written by a later version of regard: upgrade to read it.")
    missed = fields._get("missed", dict)
    if len(missed) > 100_000 or any(type(count) is not int or not 0 < count < _MOST_SIZE for count in missed.values()):
        fields.refuse("has counts of missed calls that cannot be")
    checks = fields.wholes("calls", high=0xFFFFFFFF)
    difference = None if fields.value.get("difference") is None else fields.number("difference")
    texts = None if fields.value.get("texts") is None else fields.whole("texts", high=0xFFFFFFFF)
    return RootDocument(fields.flag("ended"), checks, missed, fields.whole("left_out"), difference, texts)


def read_call(archive: Archive, position: int, check: int | None) -> CallDocument:
    """Read and check the document of a call; `check` is what the whole says of it, None where it does not."""
    fields, found = _ours(archive, f"{call_path(position)}/zarr.json")
    if (check is not None and found != check) or fields.whole("position") != position:
        fields.refuse("belongs to another place or another recording")
    summary = fields.numbers("summary")
    exact = None if fields.value.get("exact") is None else fields.numbers("exact")
    letters = _Fields(fields.value.get("sizes"), fields.where)
    cell, kernel_cell = summary.get("cell"), (exact or {}).get("kernel_map_cell", 0)
    if type(cell) is not int or cell < 1 or type(kernel_cell) is not int or kernel_cell < 0:
        fields.refuse("has cells of a size that cannot be")
    sizes = Sizes.of_call({letter: letters.whole(letter) for letter in "BHLSGE"}, cell, kernel_cell)
    groups, heads, batch = (sizes.known[letter] for letter in "GHB")
    rank = fields.whole("rank", 2, 4)
    if (rank < 4 and batch != 1) or (rank < 3 and heads != 1):
        fields.refuse(f"has {rank} dimensions, {batch} sequences and {heads} heads")
    if exact is not None and (heads % groups if groups else heads):
        fields.refuse(f"has {heads} heads over {groups} key heads")
    return CallDocument(
        position, fields.text("key"), fields.text("module"), fields.whole("number"), fields.text("door"),
        None if fields.value.get("heads") is None else fields.wholes("heads"), fields.whole("passes", 1),
        rank, fields.flag("sums_to_one"), _one_of(fields, "dtype", ("float32", "float64")),
        sizes, summary, exact, {name: _array(one) for name, one in fields.below("arrays").items()},
    )  # fmt: skip


def read_columns(archive: Archive, check: int | None) -> list[ColumnDocument]:
    """Read and check the document of the texts; `check` is what the whole says of it, None where it does not."""
    fields, found = _ours(archive, "texts/zarr.json")
    if check is not None and found != check:
        fields.refuse("belongs to another recording")
    listed = fields._get("columns", list)
    if len(listed) > 1000:
        fields.refuse("has more than 1,000 columns")
    columns = []
    for one in (_Fields(value, fields.where) for value in listed):
        inputs, grid, label = (one.value.get(name) for name in ("inputs", "grid", "label"))
        if grid is not None and len(one.wholes("grid", high=1 << 31, most=3)) != 3:
            one.refuse("has a grid without three numbers")
        columns.append(
            ColumnDocument(
                one.text("field"),
                None if label is None else one.text("label"),
                None if inputs is None else one.wholes("inputs"),
                None if grid is None else one.wholes("grid"),
                {name: _array(array) for name, array in one.below("arrays").items()},
            )
        )
    return columns


def _array(fields: _Fields) -> StoredArray:
    shape = fields.wholes("shape", most=8)
    chunk = fields.wholes("chunk", low=1, most=8)
    crc32 = fields.wholes("crc32", high=0xFFFFFFFF)
    if len(shape) != len(chunk):
        fields.refuse("has chunks of another rank")
    count = math.prod(-(-size // step) for size, step in zip(shape, chunk, strict=True))
    if count != len(crc32):
        fields.refuse(f"has {count:,} chunks and {len(crc32):,} checks")
    return StoredArray(shape, _one_of(fields, "torch", _DTYPES), chunk, crc32)


def _one_of(fields: _Fields, name: str, choices: tuple[str, ...]) -> str:
    found = fields.text(name)
    return found if found in choices else fields.refuse(f"has {name} {found[:40]!r}, not one of {', '.join(choices)}")


def _ours(archive: Archive, name: str) -> tuple[_Fields, int]:
    where = f"{name} of {archive.name!r}"
    size = archive.size(name)
    if size is None:
        raise RecordingFileError(f"{where} is missing: this is no recording, or a part of one.")
    if size > _MOST_BYTES:
        raise RecordingFileError(f"{where} has {size:,} bytes; a document has at most {_MOST_BYTES:,}.")
    try:
        document = json.loads(archive.read(name), parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise RecordingFileError(f"{where} is no JSON: {str(error)[:200] or type(error).__name__}.") from error
    attributes = _Fields(_Fields(document, where).value.get("attributes"), where).value
    fields = _Fields(attributes.get(OURS), where)
    if _depth(fields.value) > _MOST_DEPTH:
        fields.refuse(f"is nested more than {_MOST_DEPTH} deep")
    check = check_of(fields.value)
    if attributes.get(CHECK) != check:
        fields.refuse("was changed: its check does not fit")
    return fields, check


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number")


def _depth(value: Any) -> int:
    """Return how deep a document is nested, looking no deeper than is allowed."""
    level, depth = [value], 0
    while level and depth <= _MOST_DEPTH:
        level = [
            below
            for one in level
            if isinstance(one, dict | list)
            for below in (one.values() if isinstance(one, dict) else one)
        ]
        depth += 1
    return depth
