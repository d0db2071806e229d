"""Files that are there whole or not at all: what is left when writing fails, and who may read them."""

import os
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from regard import _files


def contents(folder: Path) -> dict[str, bytes]:
    """Each file below a folder."""
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def stop(written: int) -> None:
    """End as if the user had, after something was written."""
    assert written
    raise KeyboardInterrupt


def test_a_file_is_replaced_when_it_is_whole(tmp_path: Path) -> None:
    """Until the block ends the old file is there; after an error it still is, and nothing lies beside it."""
    place = tmp_path / "a.json"
    _files.write(place, b"old")
    with _files.writing(place) as file:
        file.write(b"new")
        file.flush()
        assert place.read_bytes() == b"old"
    assert contents(tmp_path) == {"a.json": b"new"}
    with pytest.raises(KeyboardInterrupt), _files.writing(place) as file:
        stop(file.write(b"half"))
    assert contents(tmp_path) == {"a.json": b"new"}


def test_a_folder_is_replaced_when_it_is_whole(tmp_path: Path) -> None:
    """The same for a folder, also where the second of the two moves fails."""
    place = tmp_path / "run"
    for text in (b"old", b"new"):
        with _files.writing_folder(place) as folder:
            (folder / text.decode()).write_bytes(text)
    assert contents(tmp_path) == {"run/new": b"new"}
    with pytest.raises(KeyboardInterrupt), _files.writing_folder(place) as folder:
        stop((folder / "half").write_bytes(b"half"))
    assert contents(tmp_path) == {"run/new": b"new"}
    assert os.listdir(tmp_path) == ["run"]


def test_a_folder_that_cannot_be_moved_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The old folder is moved back."""
    place, moves = tmp_path / "run", iter((True, False, True))
    place.mkdir()
    (place / "old").write_bytes(b"old")
    move = os.replace

    def refuses(old: Path, new: Path) -> None:
        if not next(moves):
            raise PermissionError
        move(old, new)

    monkeypatch.setattr(os, "replace", refuses)
    with pytest.raises(PermissionError), _files.writing_folder(place) as folder:
        (folder / "new").write_bytes(b"new")
    assert contents(tmp_path) == {"run/old": b"old"}
    assert os.listdir(tmp_path) == ["run"]


@pytest.mark.parametrize(("flush", "count"), [(True, 1), (False, 0)])
def test_flush_is_what_is_asked_for(flush: bool, count: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only then is the content forced to the disk, and before the file has its name."""
    forced = []
    monkeypatch.setattr(os, "fsync", lambda number: forced.append((tmp_path / "a").exists()))
    _files.write(tmp_path / "a", b"a", flush=flush)
    assert forced == [False] * count


@pytest.fixture(params=[0o022, 0o027, 0o077])
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    """The umask of a user."""
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


@pytest.mark.skipif(sys.platform == "win32", reason="modes are POSIX")
def test_modes_are_those_of_the_umask(umask: int, tmp_path: Path) -> None:
    """What is written has the mode that any new file has, and so has what a library made for its owner alone."""
    _files.write(tmp_path / "a", b"a")
    with _files.writing_folder(tmp_path / "b") as folder:
        (folder / "c").write_bytes(b"c")
    (tmp_path / "d").write_bytes(b"d")
    (tmp_path / "d").chmod(0o600)
    _files.give_usual_mode(tmp_path / "d")
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.rglob("*")}
    assert modes == {"a": 0o666 & ~umask, "b": 0o777 & ~umask, "c": 0o666 & ~umask, "d": 0o666 & ~umask}
