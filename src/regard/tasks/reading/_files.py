"""Lines and bytes of files, packed by gzip or not, and what was left out of them."""

from __future__ import annotations

import gzip
import os
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, TypeVar

from ...errors import DataError

__all__ = [
    "LeftOut",
    "Notes",
    "Read",
    "open_bytes",
    "plain_suffix",
    "rough_text",
    "text_lines",
    "undecoded",
    "whole_text",
]

Examples = TypeVar("Examples", covariant=True)


@dataclass(frozen=True)
class LeftOut:
    """A row that was left out because it breaks a rule."""

    file: str
    line: int
    """Number of the line, from 1; 0 for the whole file."""
    rule: str

    def __str__(self) -> str:
        """Where it is and what is wrong, as an error would say it."""
        return f"{self.file}, line {self.line}: {self.rule}" if self.line else f"{self.file}: {self.rule}"


@dataclass(frozen=True)
class Read(Generic[Examples]):
    """What was read, and what was left out of it."""

    examples: Examples
    """The examples, in the order of the source."""
    left_out: tuple[LeftOut, ...]
    """Rows that break a rule; empty unless they may be skipped."""
    remarks: tuple[str, ...] = ()
    """What was read as it stands and looks like a mistake, a sentence each."""
    reading: str = ""
    """How the source was understood: its form, and which columns or folders hold what."""


@dataclass
class Notes:
    """What to do with a row that breaks a rule: raise, or leave it out and note it."""

    skip: bool
    left_out: list[LeftOut] = field(default_factory=list)

    def bad(self, file: Path, line: int, rule: str) -> None:
        """Note a bad row, or raise.

        Raises:
            DataError: rows may not be skipped.
        """
        found = LeftOut(str(file), line, rule)
        if not self.skip:
            raise DataError(f"{found} Mend it, or leave bad rows out with skip_bad_rows (--skip-bad-rows).")
        self.left_out.append(found)

    def nothing(self, source: Path, rule: str) -> DataError:
        """Build the error for a source without a single example."""
        if self.left_out:
            rule += f" {len(self.left_out)} rows were left out of it, first {self.left_out[0]}"
        return DataError(f"{source} {rule}")


def plain_suffix(path: Path) -> str:
    """Return what a file's name ends in, in lower case, `.gz` put aside."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] == ".gz":
        suffixes.pop()
    return suffixes[-1] if suffixes else ""


def open_bytes(path: Path) -> bytes:
    """Return the contents of a file, unpacked if its name ends in `.gz`.

    Raises:
        DataError: it cannot be opened or unpacked.
    """
    try:
        contents = path.read_bytes()
        return gzip.decompress(contents) if path.name.lower().endswith(".gz") else contents
    except (OSError, EOFError, zlib.error) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise DataError(f"{path} cannot be read: {reason}. Give the path of a file that is there and whole.") from error


def whole_text(path: Path, notes: Notes) -> str | None:
    """Return the text of a file in UTF-8; None where it is not and may be skipped."""
    contents = _utf8(path)
    try:
        return contents.decode("utf-8")
    except UnicodeDecodeError as error:
        line = contents.count(b"\n", 0, error.start) + 1
        notes.bad(path, line, f"byte {contents[error.start]:#04x} is not UTF-8. Save the file as UTF-8.")
        return None


def rough_text(path: Path) -> str:
    """Return the text of a file; bytes that are no UTF-8 become lone surrogates, which `undecoded` finds."""
    return _utf8(path).decode("utf-8", errors="surrogateescape")


def undecoded(text: str) -> str | None:
    """Return the rule that a text from `rough_text` breaks, or None."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        return f"byte {ord(text[error.start]) - 0xDC00:#04x} is not UTF-8. Save the file as UTF-8."
    return None


def _utf8(path: Path) -> bytes:
    contents = open_bytes(path).removeprefix(b"\xef\xbb\xbf")
    if contents.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise DataError(f"{path} is UTF-16; the rule is UTF-8. Save it as UTF-8.")
    return contents


def text_lines(path: Path, notes: Notes) -> Iterator[tuple[int, str]]:
    """Yield the lines of a file and their numbers from 1; a line that is no UTF-8 is a bad row.

    Lines end in `\\n`, `\\r\\n` or `\\r` and at nothing else.
    """
    contents = _utf8(path)
    for number, line in enumerate(contents.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n"), start=1):
        try:
            yield number, line.decode("utf-8")
        except UnicodeDecodeError as error:
            notes.bad(path, number, f"byte {line[error.start]:#04x} is not UTF-8. Save the file as UTF-8.")


def first_accepting(
    what: str,
    source: tuple[Path, ...],
    readers: tuple[tuple[str, Callable[..., str | None], Callable[..., object]], ...],
) -> Callable[..., object]:
    """Return `run` of the first reader that can read a source.

    Raises:
        DataError: none can; the message has the reason of each.
    """
    missing = next((path for path in source if path.suffix[1:2].isalpha() and not path.exists()), None)
    if missing is not None:
        raise DataError(f"There is no file {missing}. Give the path of {what}.")
    reasons = []
    for name, why_not, run in readers:
        reason = why_not(source)
        if reason is None:
            return run
        reasons.append(f"  {name}: {reason}")
    named = ", ".join(os.fspath(path) for path in source)
    raise DataError(f"{named} cannot be read as {what}:\n" + "\n".join(reasons))
