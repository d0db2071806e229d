"""Recordings to disk: a folder that grows call by call while a model runs, or a whole recording at once."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from .. import _files
from ..errors import ArgumentError, RecordingFileError
from ._call import RecordedCall
from ._call_file import call_file
from ._documents import packed
from ._pieces import call_name
from ._tensor_file import Bytes
from ._text_file import text_file
from ._texts import Texts

Put = Callable[[str, Sequence[Bytes]], None]
FORMAT, VERSION = "regard recording", 2
ROOT, TEXTS = "recording.json", "texts.json"


class Run(Protocol):
    """What is written of a run beside its calls."""

    calls: list[RecordedCall]
    left_out: int
    difference: float | None
    texts: Texts

    @property
    def missed(self) -> Mapping[str, int]:
        """Attention that took a path which cannot be recorded: what, and how often."""
        ...


class FolderWriter:
    """Writes each call as it comes. What was written before a run dies can be read.

    A file is written beside its place and renamed when it is complete, so a reader finds it whole or not at all. That
    withstands the end of the process; with `flush` also that of the machine.
    """

    def __init__(self, folder: str | os.PathLike[str], *, flush: bool = False) -> None:
        self.folder = Path(folder)
        self.failure: OSError | ArgumentError | None = None
        """Why nothing more is written."""
        self._flush = flush
        self._checks: dict[str, int] = {}
        self._passes: dict[str, int] = {}
        self._texts: Texts | None = None
        self._check: int | None = None
        if self.folder.exists() and (not self.folder.is_dir() or any(self.folder.iterdir())):
            raise ArgumentError(f"{str(self.folder)!r} is there already. Give the name of a new folder, or remove it.")
        with _told(self.folder):
            (self.folder / "calls").mkdir(parents=True, exist_ok=True)
            self._describe(None, ended=False)

    def write(self, call: RecordedCall, run: Run) -> None:
        """Write a call; after a failure nothing is, and `close` raises it.

        A call that has grown is written in place of what was written of it before, each time that its steps have
        doubled: then all of it costs no more than writing twice. `close` writes the rest.
        """
        if call.passes >= 2 * self._passes.get(call.key, 0):
            self._write(call, run)

    def _write(self, call: RecordedCall, run: Run) -> None:
        if self.failure is not None:
            return
        position = list(self._checks).index(call.key) if call.key in self._checks else len(self._checks)
        try:
            parts, check = call_file(call, position)
            self._put(call_name(position), parts)
            self._checks[call.key], self._passes[call.key] = check, call.passes
            self._describe(run, ended=False)
        except (OSError, ArgumentError) as error:
            self.failure = error

    def close(self, run: Run, *, ended: bool) -> None:
        """Write the coverage, and the check of every call if the run has ended well; raise what failed."""
        for call in run.calls:
            if call.passes > self._passes.get(call.key, 0):
                self._write(call, run)
        with _told(self.folder, f" It holds the first {len(self._checks)} calls, which can be read; all are in memory: "
                   "save the recording elsewhere."):  # fmt: skip
            if self.failure is not None:
                raise self.failure
            self._describe(run, ended=ended)

    def _describe(self, run: Run | None, *, ended: bool) -> None:
        if run is not None and run.texts is not self._texts:
            self._check = _put_texts(self._put, run.texts)
            self._texts = run.texts
        self._put(ROOT, [_root(run, list(self._checks.values()) if ended else None, self._check)])

    def _put(self, name: str, parts: Sequence[Bytes]) -> None:
        with _files.writing(self.folder / name, flush=self._flush) as file:
            for part in parts:
                file.write(part)


def _root(run: Run | None, checks: list[int] | None, texts: int | None) -> bytes:
    document = {
        "format": FORMAT,
        "version": VERSION,
        "ended": checks is not None,
        "calls": checks or [],
        "missed": {} if run is None else dict(run.missed),
        "left_out": 0 if run is None else run.left_out,
        "texts": texts,
        "difference": None if run is None else run.difference,
    }
    return packed(document)[0]


def _put_texts(put: Put, texts: Texts) -> int | None:
    found = text_file(texts)
    if found is None:
        return None
    put(TEXTS, [found[0]])
    return found[1]


def save(run: Run, path: str | os.PathLike[str]) -> None:
    """Write a recording: one file where the path ends in `.regard`, else a folder. What is there stays until then."""
    target = Path(path)
    is_file = target.suffix == ".regard"
    _check_target(target, is_file)
    with _told(target, " What was there before is unchanged."):
        if is_file:
            with _files.writing(target) as file, zipfile.ZipFile(file, "w") as archive:
                _fill(_member_writer(archive), run)
        else:
            with _files.writing_folder(target) as folder:
                writer = FolderWriter(folder, flush=True)
                for call in run.calls:
                    writer.write(call, run)
                if writer.failure is not None:
                    raise writer.failure
                writer.close(run, ended=True)
        _files.sync(target.parent)


def _check_target(target: Path, is_file: bool) -> None:
    if is_file and target.is_dir():
        raise ArgumentError(f"{str(target)!r} is a folder; give another name for the file.")
    if is_file or not target.exists():
        return
    root = target / ROOT
    if not root.is_file() or f'"{FORMAT}"'.encode() not in root.read_bytes():
        raise ArgumentError(f"{str(target)!r} is there and is no recording. Give another name, or remove it.")


def _fill(put: Put, run: Run) -> None:
    checks = []
    for position, call in enumerate(run.calls):
        parts, check = call_file(call, position)
        put(call_name(position), parts)
        checks.append(check)
    put(ROOT, [_root(run, checks, _put_texts(put, run.texts))])


def _member_writer(archive: zipfile.ZipFile) -> Put:
    """Pack nothing and write no dates, so that a recording always gives the same bytes and is read where it lies."""

    def put(name: str, parts: Sequence[Bytes]) -> None:
        member = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
        member.create_system, member.external_attr = 3, 0o644 << 16
        member.file_size = sum(map(len, parts))
        with archive.open(member, "w") as file:
            for part in parts:
                file.write(part)

    return put


@contextmanager
def _told(path: Path, more: str = "") -> Iterator[None]:
    try:
        yield
    except OSError as error:
        why = error.strerror or str(error)
        raise RecordingFileError(f"{str(path)!r} could not be written: {why}.{more}") from error
