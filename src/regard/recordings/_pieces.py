"""Where the files of a recording lie: in a folder, or one after the other in a zip that packs nothing."""

from __future__ import annotations

import os
import re
import stat
import struct
import zipfile
from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from ..errors import RecordingFileError

_MOST_MEMBERS = 1 << 20
_ZIP_END = struct.Struct("<4s4H2LH")
_MEMBER_HEAD = struct.Struct("<4s5H3L2H")
_ENCRYPTED = 0x1


def call_name(position: int) -> str:
    """Return the name of the file of a call."""
    return f"calls/{position:06d}.safetensors"


@dataclass(frozen=True)
class Piece:
    """A file of a recording: a stretch of bytes of some file of this machine."""

    where: str
    """Its name for errors."""
    size: int
    _path: Path
    _offset: int = 0

    def read(self, first: int = 0, count: int | None = None) -> bytearray:
        """Return `count` bytes from `first` on, all unless given; raises `RecordingFileError`."""
        data = bytearray(self.size - first if count is None else count)
        try:
            with self._path.open("rb") as file:
                file.seek(self._offset + first)
                found = file.readinto(data)
        except OSError as error:
            raise RecordingFileError(f"{self.where} cannot be read: {error.strerror or error}.") from error
        if found != len(data):
            raise RecordingFileError(f"{self.where} ends too early: it was cut since the recording was opened.")
        return data


class Pieces(ABC):
    """The files of a recording by name. Names are made by the reader, never taken from a recording."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @abstractmethod
    def find(self, name: str) -> Piece | None:
        """Return a file, None if it is not there; raises `RecordingFileError` for what is no plain file."""

    @abstractmethod
    def _names(self) -> Iterable[str]:
        """Return the names of all files of calls, and maybe others."""

    def get(self, name: str) -> Piece:
        """Return a file that must be there; raises `RecordingFileError`."""
        found = self.find(name)
        if found is None:
            raise RecordingFileError(f"{self.where(name)} is missing: this is no recording, or a part of one.")
        return found

    def where(self, name: str) -> str:
        """Name a file for errors."""
        return f"{name} of {str(self.path)!r}"

    def calls(self) -> int:
        """Return one more than the last position of a call."""
        found = (re.fullmatch("calls/([0-9]{6,9})[.]safetensors", name) for name in self._names())
        return 1 + max((int(match[1]) for match in found if match), default=-1)


def open_pieces(path: str | os.PathLike[str]) -> Pieces:
    """Open a folder or a zip; raises `RecordingFileError`."""
    place = Path(path)
    try:
        mode = place.stat().st_mode
        if stat.S_ISDIR(mode):
            return _Folder(place)
        if stat.S_ISREG(mode):
            return _Zip(place)
    except OSError as error:
        raise RecordingFileError(f"{str(place)!r} cannot be read: {error.strerror or error}.") from error
    raise RecordingFileError(f"{str(place)!r} is neither a file nor a folder.")


class _Folder(Pieces):
    """A folder. Links in it are refused: they could lead to anything on this machine."""

    def find(self, name: str) -> Piece | None:
        place = self.path / name
        try:
            if place.parent != self.path:
                self._check(place.parent, place.parent.lstat(), stat.S_ISDIR)
            found = place.lstat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise RecordingFileError(f"{self.where(name)} cannot be read: {error.strerror or error}.") from error
        self._check(place, found, stat.S_ISREG)
        return Piece(self.where(name), found.st_size, place)

    def _check(self, place: Path, found: os.stat_result, fits: object) -> None:
        if not fits(found.st_mode):  # type: ignore[operator]
            what = "is a link" if stat.S_ISLNK(found.st_mode) else "is of the wrong kind"
            raise RecordingFileError(f"{str(place)!r} {what}; a recording holds plain files in plain folders.")

    def _names(self) -> Iterable[str]:
        try:
            return [f"calls/{name}" for name in os.listdir(self.path / "calls")]
        except OSError as error:
            raise RecordingFileError(f"{self.where('calls')} cannot be read: {error.strerror or error}.") from error


class _Zip(Pieces):
    """A zip. Its members are not packed, so each is read where it lies; only its table is read at once."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._size = path.stat().st_size
        self._check_end()
        try:
            with zipfile.ZipFile(path) as opened:
                members = opened.infolist()
        except _ZIP_ERRORS as error:
            raise RecordingFileError(f"{str(path)!r} is damaged: {error or type(error).__name__}.") from error
        self._members = {member.filename: member for member in members}
        if len(self._members) != len(members):
            raise RecordingFileError(f"{str(path)!r} holds two members of one name.")

    def _check_end(self) -> None:
        # Python reads the whole table at once, so its size is looked at before.
        with self.path.open("rb") as file:
            file.seek(max(0, self._size - _ZIP_END.size))
            end = file.read()
        if len(end) < _ZIP_END.size or end[:4] != b"PK\5\6":
            raise RecordingFileError(
                f"{str(self.path)!r} is no recording, or its end is missing: a zip without comment is expected."
            )
        table, most = _ZIP_END.unpack(end)[5], _MOST_MEMBERS * 128
        if table > most:
            raise RecordingFileError(f"{str(self.path)!r} has a table of {table:,} bytes; at most {most:,}.")

    def find(self, name: str) -> Piece | None:
        member = self._members.get(name)
        if member is None:
            return None
        if member.compress_type != zipfile.ZIP_STORED or member.flag_bits & _ENCRYPTED:
            self._refuse(name, "is packed or encrypted; members of a recording are stored as they are (zip -0)")
        head = bytearray()
        if 0 <= member.header_offset <= self._size - _MEMBER_HEAD.size:
            head = Piece(self.where(name), _MEMBER_HEAD.size, self.path, member.header_offset).read()
        if head[:4] != b"PK\3\4":
            self._refuse(name, "is not where the table says: the file is damaged")
        offset = member.header_offset + _MEMBER_HEAD.size + sum(_MEMBER_HEAD.unpack(head)[-2:])
        if offset + member.file_size > self._size:
            self._refuse(name, f"says it has {member.file_size:,} bytes, more than the file: it is damaged")
        return Piece(self.where(name), member.file_size, self.path, offset)

    def _refuse(self, name: str, why: str) -> NoReturn:
        raise RecordingFileError(f"{self.where(name)} {why}.")

    def _names(self) -> Iterable[str]:
        return self._members


# What zipfile raises for files that are damaged or made to harm.
_ZIP_ERRORS = (zipfile.BadZipFile, struct.error, EOFError, OSError, ValueError, RuntimeError, OverflowError, IndexError)
