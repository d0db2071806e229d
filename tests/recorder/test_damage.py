"""Recordings that are damaged or made to harm: an error of ours or the same recording, never anything else."""

import json
import os
import random
import shutil
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from regard.recorder._format import CHECK, OURS, check_of

import regard
from regard.errors import RecordingFileError, RegardError
from regard.recorder import NotRecordedWarning, Recording
from tests.recorder.recordings import answers, same, small

Random = random.Random


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Recording, Path]:
    """A recording, and the folder that holds it as `run` and `run.regard`."""
    recording, place = small(), tmp_path_factory.mktemp("whole")
    recording.save(place / "run")
    recording.save(place / "run.regard")
    return recording, place


def outcome(path: Path, expected: Recording) -> str:
    """Open and ask everything: "refused", "missing" or "same"; other numbers fail, other exceptions come out."""
    try:
        found = regard.load(path)
        assert same(found, expected), "silently other numbers"
    except RecordingFileError:
        return "refused"
    except NotRecordedWarning:
        return "missing"
    return "same"


def flip(data: bytes, chance: Random) -> bytes:
    """One bit."""
    place = chance.randrange(len(data))
    return data[:place] + bytes([data[place] ^ 1 << chance.randrange(8)]) + data[place + 1 :]


def cut(data: bytes, chance: Random) -> bytes:
    """The end is missing."""
    return data[: chance.randrange(len(data))]


def grow(data: bytes, chance: Random) -> bytes:
    """Some bytes more, somewhere."""
    place = chance.randrange(len(data) + 1)
    return data[:place] + chance.randbytes(chance.randrange(1, 40)) + data[place:]


def blank(data: bytes, chance: Random) -> bytes:
    """A block of zeros, as after a crash of the machine."""
    first = chance.randrange(len(data))
    last = min(len(data), first + chance.randrange(1, 600))
    return data[:first] + bytes(last - first) + data[last:]


def move(data: bytes, chance: Random) -> bytes:
    """Two blocks have changed places."""
    size = chance.randrange(1, max(2, len(data) // 4))
    a, b = sorted((chance.randrange(len(data) // 2), len(data) // 2 + chance.randrange(len(data) // 2)))
    b = max(b, a + size)
    return data[:a] + data[b : b + size] + data[a + size : b] + data[a : a + size] + data[b + size :]


CHANGES: tuple[Callable[[bytes, Random], bytes], ...] = (flip, cut, grow, blank, move)


@pytest.mark.parametrize("first", range(0, 80, 20))
def test_damaged_files(first: int, whole: tuple[Recording, Path], tmp_path: Path) -> None:
    """80 times bits, bytes and blocks of the one file."""
    recording, place = whole
    data, found = (place / "run.regard").read_bytes(), []
    for seed in range(first, first + 20):
        chance = Random(seed)
        (tmp_path / "run.regard").write_bytes(CHANGES[seed % len(CHANGES)](data, chance))
        found.append(outcome(tmp_path / "run.regard", recording))
    assert found.count("refused") > 8


@pytest.mark.parametrize("first", range(0, 60, 20))
def test_damaged_folders(first: int, whole: tuple[Recording, Path], tmp_path: Path) -> None:
    """60 times a file of the folder: changed, gone, in another's place, a link, a folder or a pipe."""
    recording, place = whole
    files = sorted(file.relative_to(place / "run") for file in (place / "run").rglob("*") if file.is_file())
    found = []
    for seed in range(first, first + 20):
        chance, folder = Random(seed), tmp_path / str(seed)
        shutil.copytree(place / "run", folder)
        file = folder / chance.choice(files)
        damage_file(seed % 12, file, [folder / other for other in files], chance)
        found.append(outcome(folder, recording))
    assert {"refused"} < set(found) <= {"refused", "missing", "same"}


def damage_file(kind: int, file: Path, files: list[Path], chance: Random) -> None:
    """Do something to one file."""
    data = file.read_bytes()
    alike = [other for other in files if other != file and other.stat().st_size == len(data)] or files
    if kind < 5:
        file.write_bytes(CHANGES[kind](data, chance))
    elif kind < 8:
        other = chance.choice(alike)
        file.write_bytes(other.read_bytes())
        other.write_bytes(data)
    else:
        file.unlink()
        if kind == 9:
            file.symlink_to(chance.choice(alike))
        elif kind == 10:
            file.mkdir()
        elif kind == 11:
            os.mkfifo(file)


def resign(folder: Path, position: int | None, change: Callable[[dict[str, Any]], None]) -> None:
    """Change what a call (or the texts) says and make all checks fit again, as someone who means harm would."""
    place = folder / ("texts/zarr.json" if position is None else f"calls/{position:06d}/zarr.json")
    document, root = (json.loads(path.read_bytes()) for path in (place, folder / "zarr.json"))
    change(document["attributes"][OURS])
    check = write_signed(place, document)
    if position is None:
        root["attributes"][OURS]["texts"] = check
    else:
        root["attributes"][OURS]["calls"][position] = check
    write_signed(folder / "zarr.json", root)


def write_signed(place: Path, document: dict[str, Any]) -> int:
    """Write a document with the check that fits it."""
    try:
        check = check_of(document["attributes"][OURS])
    except (ValueError, TypeError):
        check = 0
    document["attributes"][CHECK] = check
    place.write_text(json.dumps(document))
    return check


HOSTILE: tuple[Any, ...] = (
    0, 1, -1, 2, 3, 2**31, 2**32, 2**63, 10**30, -(2**63), 0.5, 1e308, 1e-320, True, None, "", "x", "a\x00b", "../..",
    "float32", "float64", "bfloat16", "int64", "bool", [], {}, [0], [1, 1, 1], [2**40] * 3, {"a": 1}, "\ud800",
    "é" * 70_000,
)  # fmt: skip


def mutate(value: Any, chance: Random) -> Any:
    """Change one value somewhere inside."""
    if isinstance(value, dict) and value and chance.random() < 0.95:
        key = chance.choice(sorted(value))
        if chance.random() < 0.08:
            return {name: one for name, one in value.items() if name != key}
        return {**value, key: mutate(value[key], chance)}
    if isinstance(value, list) and value and chance.random() < 0.8:
        place = chance.randrange(len(value))
        return [*value[:place], mutate(value[place], chance), *value[place + 1 :]]
    if type(value) is int and chance.random() < 0.5:
        return value + chance.choice((-1, 1, 7))
    return chance.choice(HOSTILE)


@pytest.mark.parametrize("first", range(0, 120, 20))
def test_hostile_documents(first: int, whole: tuple[Recording, Path], tmp_path: Path) -> None:
    """120 documents with values that cannot be, and checks that fit: refused, or answered without any other error."""
    _, place = whole
    refused = 0
    shutil.copytree(place / "run", tmp_path / "run")
    for seed in range(first, first + 20):
        chance = Random(seed)

        def change(ours: dict[str, Any], chance: Random = chance) -> None:
            name = chance.choice([*ours, *sorted({"arrays", "sizes", "summary", "exact"} & set(ours))])
            ours[name] = mutate(ours[name], chance)

        shutil.copytree(place / "run", tmp_path / "run", dirs_exist_ok=True)
        resign(tmp_path / "run", (0, 1, None)[seed % 3], change)
        refused += answered(tmp_path / "run") == "refused"
    assert refused > 8


def answered(path: Path) -> str:
    """Open and ask everything; errors of regard are the only ones."""
    try:
        for weights in regard.load(path).values():
            list(answers(weights))
    except NotRecordedWarning:
        return "missing"
    except RegardError:
        return "refused"
    return "answered"


ROWS = ("entropy", "distance", "lse", "links", "link_keys", "seeing")


def test_sizes_are_checked_before_memory_is_taken(whole: tuple[Recording, Path], tmp_path: Path) -> None:
    """A call that says it is a million times larger is refused with the limit, though its chunks are only missing."""
    _, place = whole
    shutil.copytree(place / "run", tmp_path / "run")

    def larger(ours: dict[str, Any]) -> None:
        ours["sizes"] |= {"L": 2**31, "S": 21}
        ours["summary"]["cell"] = 2**31
        ours["map_cells"] = [2**31]
        for name, one in ours["arrays"].items():
            if name in ROWS:
                each = [4] if name.startswith("link") else []
                one |= {"shape": [2, 4, 2**31, *each], "chunk": [2, 4, 2**31, *each]}
            elif name.startswith("map"):
                one |= {"shape": [2, 4, 1, 1], "chunk": [2, 4, 1, 1]}

    resign(tmp_path / "run", 0, larger)
    for name in ROWS:
        next((tmp_path / "run/calls/000000" / name).glob("c.*")).unlink()
    recording = regard.load(tmp_path / "run")
    with pytest.raises(RecordingFileError, match=r"68,719,476,736 bytes of memory; .* allowed"):
        recording["summary"].entropy()


def test_spans_that_point_outside_are_refused(whole: tuple[Recording, Path], tmp_path: Path) -> None:
    """What the kernels index by is held to its limits, though its checks fit."""
    _, place = whole
    for number in (12, -3, 2**31 - 1):
        shutil.copytree(place / "run", tmp_path / "run", dirs_exist_ok=True)
        chunk = next((tmp_path / "run/calls/000001/exact/stop").glob("c.*"))
        data = struct.pack("<i", number) + chunk.read_bytes()[4:]
        chunk.write_bytes(data)
        resign(
            tmp_path / "run", 1, lambda ours, data=data: ours["arrays"]["exact/stop"].update(crc32=[zlib.crc32(data)])
        )
        with pytest.raises(RecordingFileError, match="outside of 0 to 11"):
            regard.load(tmp_path / "run")["exact"].dense()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[" * 100_000, "no JSON"),
        ('{"attributes": {"regard": ' + "[" * 12 + "]" * 12 + "}}", "no object"),
        ('{"attributes": {"regard": {"a": ' + "[" * 12 + "]" * 12 + "}}}", "deep"),
        ('{"attributes": {"regard": {"version": 1' + "0" * 5000 + "}}}", "no JSON"),
        ('{"attributes": {"regard": {"version": NaN}}}', "NaN"),
        ('{"attributes": {"regard": {"format": "other"}}}', "changed"),
        ("\ufeff{}", "no object"),
        ("null", "no object"),
        ("", "no JSON"),
        (" " * (17 << 20), "at most 16,777,216"),
    ],
)
def test_documents_that_are_none(text: str, says: str, tmp_path: Path) -> None:
    """Deep, long, huge, empty: each is named."""
    (tmp_path / "zarr.json").write_text(text)
    with pytest.raises(RecordingFileError, match=says):
        regard.load(tmp_path)


def test_a_later_version_says_so(whole: tuple[Recording, Path], tmp_path: Path) -> None:
    """What a later regard wrote is not guessed at."""
    shutil.copytree(whole[1] / "run", tmp_path / "run")
    root = json.loads((tmp_path / "run/zarr.json").read_bytes())
    root["attributes"][OURS]["version"] = 2
    write_signed(tmp_path / "run/zarr.json", root)
    with pytest.raises(RecordingFileError, match="later version"):
        regard.load(tmp_path / "run")


def member(name: str = "zarr.json", **settings: Any) -> zipfile.ZipInfo:
    """A member of a zip."""
    info = zipfile.ZipInfo(name)
    for key, value in settings.items():
        setattr(info, key, value)
    return info


@pytest.mark.parametrize(
    ("one", "says"),
    [
        (member("/etc/passwd"), "leads elsewhere"),
        (member("calls/../../x"), "leads elsewhere"),
        (member("C:\\x"), "leads elsewhere"),
        (member("a" * 300), "leads elsewhere"),
        (member("link", create_system=3, external_attr=0o120777 << 16), "is a link"),
        (member("x", compress_type=zipfile.ZIP_BZIP2), "packed in a way"),
        (member("x", compress_type=zipfile.ZIP_LZMA), "packed in a way"),
    ],
)
def test_members_that_no_recording_has(one: zipfile.ZipInfo, says: str, tmp_path: Path) -> None:
    """Names that lead outside, links, other packings: refused when the file is opened."""
    with zipfile.ZipFile(tmp_path / "run.regard", "w") as archive:
        archive.writestr(one, b"0")
    with pytest.raises(RecordingFileError, match=says):
        regard.load(tmp_path / "run.regard")


def test_bombs(whole: tuple[Recording, Path], tmp_path: Path) -> None:
    """Much packed into little, the same bytes counted often, one name twice: refused before it is unpacked."""
    bomb = tmp_path / "run.regard"
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zarr.json", bytes(100 << 20))
    with pytest.raises(RecordingFileError, match="104,857,600 bytes"):
        regard.load(bomb)
    shutil.copy(whole[1] / "run.regard", bomb)
    with zipfile.ZipFile(bomb, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("zarr.json", b"{}")
    with pytest.raises(RecordingFileError, match="two members"):
        regard.load(bomb)
    data = bytearray((whole[1] / "run.regard").read_bytes())
    first = data.index(b"PK\1\2")
    struct.pack_into("<2L", data, first + 20, 1 << 30, 1 << 30)
    bomb.write_bytes(data)
    with pytest.raises(RecordingFileError, match="says it holds"):
        regard.load(bomb)


@pytest.mark.parametrize("what", ["nothing", "an empty file", "an empty folder", "a pipe", "a picture"])
def test_what_is_no_recording(what: str, tmp_path: Path) -> None:
    """Each is told in one sentence with the path."""
    path = tmp_path / "run.regard"
    if what == "an empty file":
        path.touch()
    elif what == "an empty folder":
        path.mkdir()
    elif what == "a pipe":
        os.mkfifo(path)
    elif what == "a picture":
        path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100))
    with pytest.raises(RecordingFileError, match=r"run\.regard"):
        regard.load(path)


def test_a_link_inside_is_refused(whole: tuple[Recording, Path], tmp_path: Path) -> None:
    """A folder that is a link leads elsewhere, so nothing below it is read; the recording itself may be one."""
    recording, place = whole
    shutil.copytree(place / "run", tmp_path / "run")
    shutil.rmtree(tmp_path / "run/calls/000000")
    (tmp_path / "run/calls/000000").symlink_to(place / "run/calls/000000")
    with pytest.raises(RecordingFileError, match="is a link"):
        regard.load(tmp_path / "run")
    (tmp_path / "link").symlink_to(place / "run")
    assert same(regard.load(tmp_path / "link"), recording)


def test_a_call_that_is_gone_is_missed(whole: tuple[Recording, Path], tmp_path: Path) -> None:
    """Each call of a run that ended is there, or the recording is refused; so is a gap in a run that died."""
    for ended in (True, False):
        for position in (0, 1):
            folder = tmp_path / f"{ended}{position}"
            shutil.copytree(whole[1] / "run", folder)
            shutil.rmtree(folder / f"calls/{position:06d}")
            if not ended:
                root = json.loads((folder / "zarr.json").read_bytes())
                root["attributes"][OURS] |= {"ended": False, "calls": []}
                write_signed(folder / "zarr.json", root)
            if position == 0 or ended:
                with pytest.raises(RecordingFileError, match=f"{position:06d}/zarr.json .* is missing"):
                    regard.load(folder)
            else:
                assert list(regard.load(folder)) == ["summary"]
