"""Lines and bytes of files, compressed by gzip or not, and the record of what was left out."""

from __future__ import annotations

import gzip
import os
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

from ...errors import DataError, nearest

Examples = TypeVar("Examples", covariant=True)


@dataclass(frozen=True)
class LeftOut:
    """A row that was left out because it is invalid."""

    file: str
    line: int
    """Number of the line, from 1; 0 for the whole file."""
    rule: str

    def __str__(self) -> str:
        """The place and the rule that it breaks, as in an error."""
        return f"{self.file}, line {self.line}: {self.rule}" if self.line else f"{self.file}: {self.rule}"


@dataclass(frozen=True)
class Read(Generic[Examples]):
    """The examples that were read, and what was left out."""

    examples: Examples
    """The examples, in the order of the source."""
    left_out: tuple[LeftOut, ...]
    """Invalid rows; empty unless they may be skipped."""
    remarks: tuple[str, ...] = ()
    """Warnings: what was read although it looks like a mistake, a sentence each."""
    reading: str = ""
    """How the source was interpreted: its format, and the meaning of columns or folders."""
    form: str = ""
    """The name of the reader that accepted the source."""
    columns: Mapping[str, str | int] = field(default_factory=dict)
    """The columns that were found by what they hold, by the option that would name them."""


@dataclass
class Notes:
    """Collects remarks on a reading, and either raises on an invalid row or leaves it out and records it."""

    skip: bool
    left_out: list[LeftOut] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    """Remarks for the user, a sentence each."""
    empty_lines: int = 0
    """Empty lines between the rows of a table."""
    reading: str = ""
    """How the source was interpreted."""
    columns: dict[str, str | int] = field(default_factory=dict)
    """The columns that were found by what they hold, by the option that would name them."""

    def once(self, remark: str) -> None:
        """Add a remark, unless it was made."""
        if remark not in self.remarks:
            self.remarks.append(remark)

    def bad(self, file: Path, line: int, rule: str) -> None:
        """Record an invalid row, or raise.

        Raises:
            DataError: rows may not be skipped.
        """
        found = LeftOut(str(file), line, rule)
        if not self.skip:
            raise DataError(f"{found} Mend it, or leave bad rows out with skip_bad_rows (--skip-bad-rows).")
        self.left_out.append(found)

    def nothing(self, source: Path, rule: str) -> DataError:
        """Return the error for a source without any example."""
        if self.left_out:
            rule += f" Rows left out of it: {len(self.left_out):,}, first {self.left_out[0]}"
        return DataError(f"{source} {rule}")


def plain_suffix(path: Path) -> str:
    """Return a file's suffix in lower case, ignoring `.gz`."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] == ".gz":
        suffixes.pop()
    return suffixes[-1] if suffixes else ""


def open_bytes(path: Path) -> bytes:
    """Return the contents of a file, decompressed if its name ends in `.gz`.

    Raises:
        DataError: it cannot be opened or decompressed.
    """
    try:
        contents = path.read_bytes()
        return gzip.decompress(contents) if path.name.lower().endswith(".gz") else contents
    except (OSError, EOFError, zlib.error) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise DataError(f"{path} cannot be read: {reason}. Give the path of a file that is there and whole.") from error


def split_lines(text: str) -> list[str]:
    r"""Return the lines of a text; only LF and CRLF end a line.

    So a lone CR, a form feed or U+2028 is an ordinary character. No empty line follows the last line end.

    >>> split_lines("one\r\ntwo\rtwo\n\nfour")
    ['one', 'two\rtwo', '', 'four']
    """
    lines = text.split("\n")
    last = lines.pop()
    ended = [line.removesuffix("\r") for line in lines]
    return [*ended, last] if last else ended


def why_no_text(text: str) -> str | None:
    """Return why a text cannot be written as UTF-8, or None.

    Invalid bytes, decoded with `surrogateescape`, are distinguished from lone surrogates.
    """
    if "\0" in text:
        return "a NUL byte stands in it, and none stands in a text. Give text, saved as UTF-8."
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        number = ord(text[error.start])
        if 0xDC80 <= number <= 0xDCFF:
            return f"byte {number - 0xDC00:#04x} is not UTF-8. Save the file as UTF-8."
        return f"'\\u{number:04x}' is half of a character, which cannot be written as UTF-8. Write the character whole."
    return None


def given_lines(contents: bytes, name: str) -> list[str]:
    """Return all lines of an input for a trained task, blank ones too, so that answers correspond to lines.

    Raises:
        DataError: a line is not valid UTF-8.
    """
    form = _form(contents)
    lines = [] if form else split_lines(_decoded(contents))
    wrong = next(((number, rule) for number, line in enumerate(lines, start=1) if (rule := why_no_text(line))), None)
    if form is not None or wrong is not None:
        raise DataError(f"{name}: {form}" if wrong is None else f"{name}, line {wrong[0]}: {wrong[1]}")
    return lines


def text_lines(path: Path, notes: Notes) -> Iterator[tuple[int, str]]:
    """Yield the lines of a file and their numbers from 1; a line that is not UTF-8 is an invalid row.

    Raises:
        DataError: also if lines end in CR alone.
    """
    yield from _good(rough_lines(path, notes), path, notes)


def rough_lines(path: Path, notes: Notes) -> list[str]:
    """Return the lines of a file; invalid UTF-8 becomes lone surrogates, which `why_no_text` finds."""
    text = rough_text(path, notes)
    if "\n" not in text and text.count("\r") > 1:
        raise DataError(
            f"{path} ends its lines in CR alone, as old Macs did; LF and CRLF end a line here. Convert it: "
            f"tr '\\r' '\\n' < {path.name} > new{path.suffix}"
        )
    if text[:14].lstrip().lower().startswith(("<!doctype html", "<html")):
        raise DataError(f"{path} is a web page (HTML) and not the data; download the file itself, in its raw form.")
    return split_lines(text)


def _good(lines: Iterable[str], path: Path, notes: Notes) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(lines, start=1):
        rule = why_no_text(line)
        if rule is None:
            yield number, line
        else:
            notes.bad(path, number, rule)


def whole_text(path: Path, notes: Notes) -> str | None:
    """Return the text of a file; None if it is not UTF-8 and may be skipped."""
    text = _text(open_bytes(path), path, notes)
    if text is None or why_no_text(text) is None:
        return text
    for number, line in enumerate(split_lines(text), start=1):
        rule = why_no_text(line)
        if rule is not None:
            notes.bad(path, number, rule)
            break
    return None


def rough_text(path: Path, notes: Notes) -> str:
    """Return the text of a file; invalid UTF-8 becomes lone surrogates, which `why_no_text` finds."""
    return _text(open_bytes(path), path, notes) or ""


# The first bytes of files that are not text, whatever their name.
FORMS = {
    b"%PDF-": "a PDF; take the text out of it, with pdftotext for one",
    b"PK\x03\x04": "a zip archive, as .docx and .xlsx are; unpack it, or save it as text or CSV",
    b"\x1f\x8b": "packed by gzip; let its name end in .gz",
    b"\xfd7zXZ\0": "packed by xz; unpack it",
    b"\x28\xb5\x2f\xfd": "packed by zstd; unpack it",
    b"\xd0\xcf\x11\xe0": "a document of an old office program; save it as text or CSV",
    b"{\\rtf": "rich text (RTF); save it as plain text",
    b"\x89PNG": "a picture",
    b"\xff\xd8\xff": "a picture",
    b"PAR1": "Parquet; let its name end in .parquet",
    b"SQLite format 3\0": "a database of SQLite; export a table as CSV",
    b"version https://git-lfs.github.com/spec": "a pointer of Git LFS and not the data; fetch it with git lfs pull",
    b"\xff\xfe\0\0": "UTF-32; the rule is UTF-8. Save it as UTF-8",
    b"\0\0\xfe\xff": "UTF-32; the rule is UTF-8. Save it as UTF-8",
    b"\xff\xfe": "UTF-16; the rule is UTF-8. Save it as UTF-8",
    b"\xfe\xff": "UTF-16; the rule is UTF-8. Save it as UTF-8",
}


def _text(contents: bytes, path: Path, notes: Notes) -> str | None:
    """Decode a file without its byte order mark; None if it is not text and may be skipped."""
    form = _form(contents)
    if form is None:
        return _decoded(contents)
    notes.bad(path, 0, form)
    return None


def _form(contents: bytes) -> str | None:
    """Return the kind of a file that is not text, by its first bytes."""
    form = next((form for start, form in FORMS.items() if contents.startswith(start)), None)
    begin = contents[:4096]
    if form is None and 3 * begin.count(0) > len(begin):
        form = "full of NUL bytes, UTF-16 or no text at all; the rule is UTF-8. Save it as UTF-8"
    return None if form is None else f"this is {form}."


def _decoded(contents: bytes) -> str:
    # Concatenated files have a byte order mark at the start of a later line.
    return contents.decode("utf-8", errors="surrogateescape").lstrip("\ufeff").replace("\n\ufeff", "\n")


def first_accepting(
    what: str,
    source: tuple[Path, ...],
    readers: tuple[tuple[str, Callable[..., str | None], Callable[..., object]], ...],
) -> tuple[str, Any]:
    """Return the name and `run` of the first reader that accepts a source.

    Raises:
        DataError: none does; the message lists the reason of each.
    """
    missing = [path for path in source if not path.exists()]
    if any(path.suffix[1:2].isalpha() for path in missing):  # not a name of the hub
        raise DataError(f"{_not_there(missing[0])} Give the path of {what}.")
    reasons = []
    for name, why_not, run in readers:
        reason = why_not(source)
        if reason is None:
            return name, run
        reasons.append(f"  {name}: {reason}")
    named = f"{_not_there(missing[0])} It" if missing else ", ".join(os.fspath(path) for path in source)
    raise DataError(f"{named} cannot be read as {what}:\n" + "\n".join(reasons))


def _not_there(path: Path) -> str:
    beside = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
    return f"There is no file or folder {path}.{nearest(path.name, beside)}"
