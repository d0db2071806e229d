"""The bytes of a recording that nobody vouches for: named pieces of a folder or a zip, each read within a limit."""

from __future__ import annotations

import os
import re
import stat
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Protocol

from ..errors import RecordingFileError
from ._format import PARTIAL

__all__ = ["Archive", "open_archive"]

# A recording has about 20 pieces a call.
_MOST_MEMBERS = 1 << 20
# What may be unpacked: so many times the size of the file, and a bit.
_MOST_GROWTH, _SPARE = 64, 16 << 20
_NAME = re.compile(r"[A-Za-z0-9_.-]+(?:/[A-Za-z0-9_.-]+)*/?")
_ZIP_END = struct.Struct("<4s4H2LH")


class Archive(Protocol):
    """Where the pieces of a recording come from. Names are made by the reader, never taken from the file."""

    name: str

    def size(self, name: str) -> int | None:
        """Return how many bytes a piece has, None if it is not there."""
        ...

    def read(self, name: str) -> bytes:
        """Return a piece that is there, of the size that was told."""
        ...

    def calls(self) -> int:
        """Return one more than the last position of a complete call."""
        ...


def open_archive(path: str | os.PathLike[str]) -> Archive:
    """Open a folder or a file; raises `RecordingFileError`."""
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


class _Folder:
    """A folder. Links in it are refused: they could lead to anything on this machine."""

    def __init__(self, path: Path) -> None:
        self.name, self._path = str(path), path
        self._plain: set[Path] = {path}

    def size(self, name: str) -> int | None:
        """Return how many bytes a file has."""
        place = self._path
        name = self._where(name)
        try:
            for part in name.split("/")[:-1]:
                place = place / part
                if place not in self._plain:
                    self._check(place, place.lstat().st_mode, stat.S_ISDIR(place.lstat().st_mode))
                    self._plain.add(place)
            place = self._path / name
            found = place.lstat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise RecordingFileError(f"{name} of {self.name!r} cannot be read: {error}.") from error
        self._check(place, found.st_mode, stat.S_ISREG(found.st_mode))
        return found.st_size

    def _where(self, name: str) -> str:
        """Return where a piece lies: that of a call which was just being replaced, when the run died, lies aside."""
        top, _, below = name.partition("/")
        call = below.partition("/")[0]
        if top != "calls" or call == below or (self._path / "calls" / call) in self._plain:
            return name
        return name if (self._path / "calls" / call).exists() else f"{PARTIAL}/old/{below}"

    def _check(self, place: Path, mode: int, fits: bool) -> None:
        if not fits:
            what = "is a link" if stat.S_ISLNK(mode) else "is of the wrong kind"
            raise RecordingFileError(f"{str(place)!r} {what}; a recording holds plain files in plain folders.")

    def read(self, name: str) -> bytes:
        """Return a file."""
        size = self.size(name)
        try:
            with (self._path / self._where(name)).open("rb") as file:
                return file.read(size)
        except OSError as error:
            raise RecordingFileError(f"{name} of {self.name!r} cannot be read: {error}.") from error

    def calls(self) -> int:
        """Return one more than the last position of a complete call."""
        folders = (self._path / "calls", self._path / PARTIAL / "old")
        names = [name for folder in folders if folder.is_dir() for name in os.listdir(folder)]
        numbers = [int(name) for name in names if re.fullmatch("[0-9]{6,9}", name)]
        return 1 + max(numbers, default=-1)


class _Zip:
    """A zip. Its table is checked as a whole before anything is read; the file stays open."""

    def __init__(self, path: Path) -> None:
        self.name = str(path)
        size = path.stat().st_size
        self._check_end(path, size)
        try:
            self._zip = zipfile.ZipFile(path)
        except _ZIP_ERRORS as error:
            raise self._damaged(error) from error
        self._members = {member.filename: member for member in self._zip.infolist()}
        try:
            self._check_members(size)
        except RecordingFileError:
            self._zip.close()
            raise

    def _check_end(self, path: Path, size: int) -> None:
        # Python reads the whole table at once, so its size is looked at before.
        with path.open("rb") as file:
            file.seek(max(0, size - _ZIP_END.size))
            end = file.read()
        if len(end) < _ZIP_END.size or end[:4] != b"PK\5\6":
            raise RecordingFileError(
                f"{self.name!r} is no recording, or its end is missing: a zip without comment is expected."
            )
        table = _ZIP_END.unpack(end)[5]
        if table > _MOST_MEMBERS * 128:
            raise RecordingFileError(f"{self.name!r} has a table of {table:,} bytes; at most {_MOST_MEMBERS * 128:,}.")

    def _check_members(self, size: int) -> None:
        members = self._zip.infolist()
        if len(members) > _MOST_MEMBERS:
            raise RecordingFileError(f"{self.name!r} has {len(members):,} members; at most {_MOST_MEMBERS:,}.")
        if len(self._members) != len(members):
            raise RecordingFileError(f"{self.name!r} holds two members of one name.")
        for member in members:
            reason = _why_not(member)
            if reason:
                raise RecordingFileError(f"{self.name!r}: member {member.filename[:200]!r} {reason}.")
        unpacked, packed = (sum(getattr(m, n) for m in members) for n in ("file_size", "compress_size"))
        most = _MOST_GROWTH * size + _SPARE
        if unpacked > most or packed > size:
            raise RecordingFileError(
                f"{self.name!r} says it holds {unpacked:,} bytes, packed {packed:,}; a file of {size:,} bytes may hold "
                f"{most:,}."
            )

    def size(self, name: str) -> int | None:
        """Return how many bytes a member has."""
        member = self._members.get(name)
        return None if member is None else member.file_size

    def read(self, name: str) -> bytes:
        """Return a member; its CRC-32 is checked."""
        member = self._members[name]
        try:
            with self._zip.open(member) as opened:
                data = opened.read(member.file_size + 1)
        except _ZIP_ERRORS as error:
            raise self._damaged(error) from error
        if len(data) != member.file_size:
            raise RecordingFileError(f"{self.name!r}: member {name!r} has not the size that it says.")
        return data

    def calls(self) -> int:
        """Return one more than the last position of a complete call."""
        found = (re.fullmatch("calls/([0-9]{6,9})/zarr[.]json", name) for name in self._members)
        return 1 + max((int(match[1]) for match in found if match), default=-1)

    def _damaged(self, error: Exception) -> RecordingFileError:
        return RecordingFileError(f"{self.name!r} is damaged: {error or type(error).__name__}.")


# What zipfile raises for files that are damaged or made to harm.
_ZIP_ERRORS = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    OSError,
    ValueError,
    RuntimeError,
    OverflowError,
    IndexError,
)


def _why_not(member: zipfile.ZipInfo) -> str:
    name = member.filename
    if len(name) > 200 or not _NAME.fullmatch(name) or {".", ".."} & set(name.split("/")):
        return "has a name that leads elsewhere, or that no recording has"
    if stat.S_ISLNK(member.external_attr >> 16):
        return "is a link"
    if member.flag_bits & 0x1:
        return "is encrypted"
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return "is packed in a way that no recording is"
    return ""
