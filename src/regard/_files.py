"""Files and folders that are there whole or not at all: written beside their place, then renamed."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


@contextmanager
def writing(path: Path, *, flush: bool = True) -> Iterator[BinaryIO]:
    """Give a new file; when the block ends well it takes the place of `path`, else all is as before.

    The file has the mode that the user's umask gives. With `flush` its content is forced to the disk before it is
    renamed, so that it withstands a loss of power too. Raises `OSError`.
    """
    fresh = _beside(path)
    try:
        with fresh.open("xb") as file:
            yield file
            if flush:
                file.flush()
                os.fsync(file.fileno())
        os.replace(fresh, path)
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise


def write(path: Path, data: bytes, *, flush: bool = True) -> None:
    """Write a whole file in place of `path`; raises `OSError`."""
    with writing(path, flush=flush) as file:
        file.write(data)


@contextmanager
def writing_folder(path: Path) -> Iterator[Path]:
    """Give a new folder; when the block ends well it takes the place of `path`, else all is as before."""
    fresh = _beside(path)
    try:
        fresh.mkdir()
        yield fresh
        replace_folder(fresh, path)
    except BaseException:
        shutil.rmtree(fresh, ignore_errors=True)
        raise


def replace_folder(fresh: Path, path: Path) -> None:
    """Move a folder to its place, and remove what was there."""
    if not path.exists():
        os.replace(fresh, path)
        return
    aside = fresh.with_name(fresh.name + ".old")
    os.replace(path, aside)
    try:
        os.replace(fresh, path)
    except BaseException:
        os.replace(aside, path)
        raise
    shutil.rmtree(aside, ignore_errors=True)


def sync(path: Path) -> None:
    """Force a file, or the list of names in a folder, to the disk."""
    if os.name != "posix" and path.is_dir():  # elsewhere a folder cannot be opened
        return
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def give_usual_mode(path: Path) -> None:
    """Give a file that a library made for its owner alone the mode that the user's umask gives."""
    usual = _beside(path)
    usual.touch(exist_ok=False)
    try:
        shutil.copymode(usual, path)
    finally:
        usual.unlink()


def _beside(path: Path) -> Path:
    return path.with_name(f".{path.name}.{uuid.uuid4().hex}")
