"""JSON with a check of its own, read without trusting it: each field has its kind and its limits."""

from __future__ import annotations

import json
import math
import zlib
from typing import Any, NoReturn

from ..errors import RecordingFileError
from ._pieces import Piece

MOST_BYTES = 64 << 20
_MOST_TEXT = 1 << 16
_MOST_WHOLE = 1 << 40
_MOST_ITEMS = 1 << 24


def refuse(where: str, what: str) -> NoReturn:
    """Raise what says that a file is damaged."""
    raise RecordingFileError(f"{where} {what}. The recording is damaged, or was not written by regard.")


def canonical(document: Any) -> bytes:
    """Write a document in the one way that its check is taken over."""
    return json.dumps(document, sort_keys=True, separators=(",", ":"), allow_nan=False).encode("ascii")


def check_of(document: Any) -> int:
    """Return the CRC-32 of a document, however it is written."""
    return zlib.crc32(canonical(document))


def packed(document: dict[str, Any]) -> tuple[bytes, int]:
    """Return the file of a document, its check beside it, and the check."""
    text = canonical(document)
    check = zlib.crc32(text)
    return b'{"crc32":%d,"document":%b}' % (check, text), check


def parsed(data: bytes | bytearray | str, where: str) -> Fields:
    """Return the object that some JSON holds; raises `RecordingFileError`."""
    try:
        return Fields(json.loads(data, parse_constant=_no_constant), where)
    except (ValueError, RecursionError) as error:
        raise RecordingFileError(f"{where} is no JSON: {str(error)[:200] or type(error).__name__}.") from error


def read_document(piece: Piece, check: int | None = None) -> Fields:
    """Return the document of a file; `check` is what the whole says of it, None where it does not."""
    if piece.size > MOST_BYTES:
        raise RecordingFileError(f"{piece.where} has {piece.size:,} bytes; a document has at most {MOST_BYTES:,}.")
    fields = parsed(piece.read(), piece.where)
    fields.verify(fields.value.get("document"), fields.value.get("crc32"), check)
    return fields.below("document")


class Fields:
    """One object of a document. Every question names the limits of its answer."""

    def __init__(self, value: Any, where: str) -> None:
        self.where = where
        self.value: dict[str, Any] = value if isinstance(value, dict) else self.refuse("is no object")

    def refuse(self, what: str) -> NoReturn:
        """Raise what says that the file is damaged."""
        refuse(self.where, what)

    def verify(self, document: Any, told: Any, expected: int | None) -> int:
        """Return the check of a document; refuse another than it tells, or than is expected."""
        try:
            check = check_of(document)
        except (ValueError, RecursionError) as error:
            self.refuse(f"cannot be checked: {str(error)[:200]}")
        if told != check:
            self.refuse("was changed: its check does not fit")
        if expected is not None and check != expected:
            self.refuse("belongs to another place or another recording")
        return check

    def _get(self, name: str, kind: type | tuple[type, ...]) -> Any:
        value = self.value.get(name)
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            self.refuse(f"has no {name} of the right kind")
        return value

    def below(self, name: str) -> Fields:
        """Return an object."""
        return Fields(self.value.get(name), self.where)

    def has(self, name: str) -> bool:
        """Return whether something other than null stands there."""
        return self.value.get(name) is not None

    def text(self, name: str, most: int = _MOST_TEXT) -> str:
        """Return a text."""
        found: str = self._get(name, str)
        return found if len(found) <= most else self.refuse(f"has a {name} of more than {most:,} letters")

    def flag(self, name: str) -> bool:
        """Return true or false."""
        found: bool = self._get(name, bool)
        return found

    def whole(self, name: str, low: int = 0, high: int = _MOST_WHOLE) -> int:
        """Return an integer."""
        found: int = self._get(name, int)
        return found if low <= found <= high else self.refuse(f"has {name} outside of {low:,} to {high:,}")

    def wholes(self, name: str, low: int = 0, high: int = _MOST_WHOLE) -> tuple[int, ...]:
        """Return a list of integers."""
        found = self._get(name, list)
        if len(found) > _MOST_ITEMS or any(type(one) is not int or not low <= one <= high for one in found):
            self.refuse(f"has {name} that are not at most {_MOST_ITEMS:,} integers from {low:,} to {high:,}")
        return tuple(found)

    def number(self, name: str) -> float:
        """Return a finite number."""
        found = self._get(name, (int, float))
        if not math.isfinite(found) or abs(found) > 1e300:
            self.refuse(f"has {name} {found!r}")
        return float(found)


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number")
