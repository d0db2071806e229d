"""Recordings to disk: a folder that grows call by call while a model runs, or a whole recording at once."""

from __future__ import annotations

import os
import shutil
import uuid
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ArgumentError, RecordingFileError
from ._call import write_call
from ._format import FORMAT, OURS, PARTIAL, VERSION, Put, call_path, checksum, group_document
from ._text_columns import write_texts

if TYPE_CHECKING:
    from ._recording import RecordedCall, Recording
    from ._texts import Texts

__all__ = ["FolderWriter", "save"]


class FolderWriter:
    """Writes each call as it comes. What was written before a run dies can be read.

    A call is written beside the others and moved to its place when it is complete, so a reader finds it whole or not
    at all. That withstands the end of the process; with `sync` also that of the machine.
    """

    def __init__(self, folder: str | os.PathLike[str], *, sync: bool = False) -> None:
        checksum()
        self.folder = Path(folder)
        self.failure: OSError | ArgumentError | None = None
        """Why nothing more is written."""
        self._sync = sync
        self._checks: dict[str, int] = {}
        self._passes: dict[str, int] = {}
        self._texts: Texts | None = None
        self._check: int | None = None
        if self.folder.exists() and (not self.folder.is_dir() or any(self.folder.iterdir())):
            raise ArgumentError(f"{str(self.folder)!r} is there already. Give the name of a new folder, or remove it.")
        with _told(self.folder):
            (self.folder / "calls").mkdir(parents=True, exist_ok=True)
            (self.folder / PARTIAL).mkdir()
            self._put("calls/zarr.json", group_document())
            self._describe(None, ended=False)

    def write(self, call: RecordedCall, recording: Recording) -> None:
        """Write a call; after a failure nothing is, and `close` raises it.

        A call that has grown is written in place of what was written of it before, each time that its steps have
        doubled: then all of it costs no more than writing twice. `close` writes the rest.
        """
        if call.passes >= 2 * self._passes.get(call.key, 0):
            self._write(call, recording)

    def _write(self, call: RecordedCall, recording: Recording) -> None:
        if self.failure is not None:
            return
        position = list(self._checks).index(call.key) if call.key in self._checks else len(self._checks)
        fresh = self.folder / PARTIAL / f"{position:06d}"
        try:
            check = write_call(lambda name, data: _write(fresh / name, data, self._sync), call, position)
            self._move(fresh, call_path(position))
            self._checks[call.key] = check
            self._passes[call.key] = call.passes
            self._describe(recording, ended=False)
        except (OSError, ArgumentError) as error:
            self.failure = error
            shutil.rmtree(fresh, ignore_errors=True)

    def close(self, recording: Recording, *, ended: bool) -> None:
        """Write the coverage, and the check of every call if the run has ended well; raise what failed."""
        for call in recording.calls:
            if call.passes > self._passes.get(call.key, 0):
                self._write(call, recording)
        with _told(self.folder, f" It holds the first {len(self._checks)} calls, which can be read; all are in memory: "
                   "save the recording elsewhere."):  # fmt: skip
            if self.failure is not None:
                raise self.failure
            self._describe(recording, ended=ended)
            shutil.rmtree(self.folder / PARTIAL, ignore_errors=True)

    def _move(self, fresh: Path, name: str) -> None:
        place, old = self.folder / name, self.folder / PARTIAL / "old" / Path(name).name
        if not place.exists():
            os.replace(fresh, place)
            return
        # Between the two moves a reader finds the old call where it was put.
        old.parent.mkdir(exist_ok=True)
        os.replace(place, old)
        os.replace(fresh, place)
        shutil.rmtree(old, ignore_errors=True)

    def _describe(self, recording: Recording | None, *, ended: bool) -> None:
        if recording is not None and recording.texts is not self._texts:
            fresh = self.folder / PARTIAL / "texts"
            self._check = write_texts(lambda name, data: _write(fresh / name, data, self._sync), recording.texts)
            self._texts = recording.texts
            if self._check is not None:
                self._move(fresh, "texts")
        checks = list(self._checks.values()) if ended else None
        self._put("zarr.json", group_document(_root(recording, checks, self._check)))

    def _put(self, name: str, data: bytes) -> None:
        fresh = self.folder / PARTIAL / uuid.uuid4().hex
        _write(fresh, data, self._sync)
        os.replace(fresh, self.folder / name)


def _root(recording: Recording | None, checks: list[int] | None, texts: int | None) -> dict[str, Any]:
    missed = {} if recording is None else dict(recording.missed)
    return {
        "format": FORMAT,
        "version": VERSION,
        "ended": checks is not None,
        "calls": checks or [],
        "missed": missed,
        "left_out": 0 if recording is None else recording.left_out,
        "texts": texts,
        "difference": None if recording is None else recording.difference,
    }


def _write(path: Path, data: bytes, sync: bool) -> None:
    try:
        file = path.open("wb")
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("wb")
    with file:
        file.write(data)
        if sync:
            file.flush()
            os.fsync(file.fileno())


def save(recording: Recording, path: str | os.PathLike[str]) -> None:
    """Write a recording: one file where the path ends in `.regard`, else a folder. What is there stays until then."""
    checksum()
    target = Path(path)
    packed = target.suffix == ".regard"
    _check_target(target, packed)
    fresh = target.with_name(f".{target.name}.{uuid.uuid4().hex}")
    with _told(target, " What was there before is unchanged."):
        try:
            if packed:
                _pack(recording, fresh)
                os.replace(fresh, target)
            else:
                writer = FolderWriter(fresh, sync=True)
                for call in recording.calls:
                    writer.write(call, recording)
                if writer.failure is not None:
                    raise writer.failure
                writer.close(recording, ended=True)
                _exchange(fresh, target)
            _sync_folder(target.parent)
        finally:
            if fresh.is_dir():
                shutil.rmtree(fresh, ignore_errors=True)
            else:
                fresh.unlink(missing_ok=True)


def _check_target(target: Path, packed: bool) -> None:
    if packed and target.is_dir():
        raise ArgumentError(f"{str(target)!r} is a folder; give another name for the file.")
    if packed or not target.exists():
        return
    document = target / "zarr.json"
    if not document.is_file() or f'"{OURS}"'.encode() not in document.read_bytes():
        raise ArgumentError(f"{str(target)!r} is there and is no recording. Give another name, or remove it.")


def _exchange(new: Path, old: Path) -> None:
    if not old.exists():
        os.replace(new, old)
        return
    aside = new.with_name(new.name + ".old")
    os.replace(old, aside)
    os.replace(new, old)
    shutil.rmtree(aside, ignore_errors=True)


def _pack(recording: Recording, path: Path) -> None:
    """Write one zip: nothing compressed, no dates, so that a recording always gives the same bytes."""
    with path.open("xb") as file:
        with zipfile.ZipFile(file, "w") as archive:
            put = _member_writer(archive)
            put("calls/zarr.json", group_document())
            checks = []
            for position, call in enumerate(recording.calls):
                checks.append(write_call(partial(_put_below, put, call_path(position)), call, position))
            texts = write_texts(partial(_put_below, put, "texts"), recording.texts)
            put("zarr.json", group_document(_root(recording, checks, texts)))
        file.flush()
        os.fsync(file.fileno())


def _put_below(put: Put, folder: str, name: str, data: bytes) -> None:
    put(f"{folder}/{name}", data)


def _member_writer(archive: zipfile.ZipFile) -> Put:
    def put(name: str, data: bytes) -> None:
        member = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
        member.create_system, member.external_attr = 3, 0o644 << 16
        archive.writestr(member, data)

    return put


def _sync_folder(folder: Path) -> None:
    if os.name != "posix":  # elsewhere a folder cannot be opened
        return
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


@contextmanager
def _told(path: Path, more: str = "") -> Iterator[None]:
    try:
        yield
    except OSError as error:
        why = error.strerror or str(error)
        raise RecordingFileError(f"{str(path)!r} could not be written: {why}.{more}") from error
