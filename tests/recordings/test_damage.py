"""Recordings that are damaged or made to harm: an error of ours or the same recording, never anything else."""

import json
import os
import random
import shutil
import struct
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import regard
from regard.errors import RecordingFileError
from regard.recordings import Recording
from regard.recordings._call_file import CallFile
from regard.recordings._documents import check_of, packed
from regard.recordings._pieces import Piece
from regard.recordings._tensor_file import tensor_file
from tests.recordings.recordings import EXACT, attend, recording_of, same, small
from tests.weights.cases import answers

Random = random.Random
Change = Callable[[dict[str, Tensor], dict[str, Any]], None]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Recording, Path]:
    """A recording, and the folder that holds it as `run` and `run.regard`."""
    recording, place = small(), tmp_path_factory.mktemp("whole")
    recording.save(place / "run")
    recording.save(place / "run.regard")
    return recording, place


@pytest.fixture
def run(whole: tuple[Recording, Path], tmp_path: Path) -> Path:
    """A copy of the folder that holds the recording, to be damaged."""
    return shutil.copytree(whole[1] / "run", tmp_path / "run")


def assert_refused(path: Path, says: str) -> None:
    """Open what cannot be opened: the error says what is wrong."""
    with pytest.raises(RecordingFileError, match=says):
        regard.load(path)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that holds the smallest exact recording as `run` and `run.regard`."""
    place = tmp_path_factory.mktemp("tiny")
    weights = attend(2, 3, causal=True).head(0, 1)
    for name in ("run", "run.regard"):
        recording_of(call=weights).describe(regard.recorder.Texts(tokens=["a", "ü"])).save(place / name)
    return place


def held(path: Path) -> tuple[Any, ...]:
    """All that a recording holds, in bytes, without computing anything of it."""
    found = regard.load(path)
    files = [call.file for call in found.calls]  # type: ignore[attr-defined]
    tensors = [(name, one.read(name)) for one in files for name in one.names]
    in_bytes = [(name, one.dtype, one.shape, one.view(torch.uint8).numpy().tobytes()) for name, one in tensors]
    told = [vars(one) | {"_file": None} for one in files]
    return in_bytes, told, repr(found), found.texts


def damaged(data: bytes, step: int) -> Iterator[bytes]:
    """One bit turned in each byte, in all of the last 700 and in each `step`th before; then cut to each length."""
    for place in (*range(0, len(data) - 700, step), *range(max(0, len(data) - 700), len(data))):
        yield data[:place] + bytes([data[place] ^ 1 << place % 8]) + data[place + 1 :]
    for length in range(0, len(data), step):
        yield data[:length]


@pytest.mark.parametrize("name", ["run/recording.json", "run/texts.json", "run/calls/000000.safetensors", "run.regard"])
def test_every_byte_and_every_length(name: str, tiny: Path, tmp_path: Path) -> None:
    """A bit that was turned anywhere, an end that is missing: an error that names the file, or the same recording."""
    top = name.split("/")[0]
    expected = held(tiny / top)
    (shutil.copytree if top == "run" else shutil.copy)(tiny / top, tmp_path / top)
    data, equal = (tiny / name).read_bytes(), 0
    # In a zip lie the same files, before its table.
    for changed in damaged(data, 5 if top == "run.regard" else 1):
        (tmp_path / name).write_bytes(changed)
        try:
            found = held(tmp_path / top)
        except RecordingFileError as error:
            says = str(error)
        else:
            says, equal = "", equal + 1
            assert found == expected, "silently other numbers"
        assert not says or (str(tmp_path / top) in says and (top == "run.regard" or Path(name).name in says))
    # What may change is the dates and modes in the table of a zip.
    assert equal < (len(data) / 5 if top == "run.regard" else 1)


def flip(data: bytes, chance: Random) -> bytes:
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


def refusals(path: Path, first: int, change: Callable[[int, Random], None], expected: Recording | None = None) -> int:
    """Change a recording 20 times, open it and ask everything: count what is refused; no other error comes out."""
    count = 0
    for seed in range(first, first + 20):
        try:
            change(seed, Random(seed))
        except ValueError:  # no JSON can hold it
            continue
        try:
            found = regard.load(path)
            assert expected is None or same(found, expected), "silently other numbers"
            for weights in found.values():
                list(answers(weights))
        except RecordingFileError:
            count += 1
    return count


@pytest.mark.parametrize("first", range(0, 60, 20))
def test_damaged_files(first: int, whole: tuple[Recording, Path], tmp_path: Path) -> None:
    """60 times bits, bytes and blocks of the one file."""
    data = (whole[1] / "run.regard").read_bytes()

    def change(seed: int, chance: Random) -> None:
        (tmp_path / "run.regard").write_bytes(CHANGES[seed % len(CHANGES)](data, chance))

    assert refusals(tmp_path / "run.regard", first, change, whole[0]) > 8


# What may lie in the place of a file.
OTHERS: dict[str, Callable[[Path], object]] = {
    "nothing": lambda path: None,
    "an empty file": Path.touch,
    "an empty folder": Path.mkdir,
    "a pipe": os.mkfifo,
    "a picture": lambda path: path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100)),
}


@pytest.mark.parametrize("kind", [*OTHERS, "another file of it", "a link"])
def test_damaged_folders(kind: str, whole: tuple[Recording, Path], tmp_path: Path) -> None:
    """Each file of a folder is there, in its own place, and plain: else it is named."""
    place = whole[1] / "run"
    files = sorted(file.relative_to(place) for file in place.rglob("*") if file.is_file())
    assert len(files) == 4
    for number, name in enumerate(files):
        folder = shutil.copytree(place, tmp_path / str(number))
        other = files[number - 1]
        (folder / name).unlink()
        if kind == "another file of it":  # and it in the place of that
            shutil.copy(place / other, folder / name)
            shutil.copy(place / name, folder / other)
        elif kind == "a link":
            (folder / name).symlink_to(place / name)
        else:
            OTHERS[kind](folder / name)
        named = name.name if kind != "another file of it" else ""
        assert_refused(folder, f"(?=.*{folder}).*{named}")


def resign(folder: Path, position: int, change: Change) -> None:
    """Change what a call holds and says and make all checks fit again, as someone who means harm would."""
    place = folder / f"calls/{position:06d}.safetensors"
    file = regard.load(folder).calls[position].file  # type: ignore[attr-defined]
    tensors, document = {name: file._file.read(name) for name in file.names}, dict(file._file.document.value)
    change(tensors, document)
    parts, check = tensor_file(tensors, document)
    place.write_bytes(b"".join(parts))
    sign_root(folder, lambda root: root["calls"].__setitem__(position, check))


def sign_root(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change the document of the whole, with the check that fits it."""
    root = json.loads((folder / "recording.json").read_bytes())["document"]
    change(root)
    (folder / "recording.json").write_bytes(packed(root)[0])


def resign_header(folder: Path, position: int, change: Callable[[dict[str, Any]], None]) -> None:
    """Change the header of a call, of which tensors are a part, with the check that fits it."""
    place = folder / f"calls/{position:06d}.safetensors"
    data = place.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    del header["__metadata__"]["crc32"]
    header["__metadata__"]["regard"] = json.loads(header["__metadata__"]["regard"])
    change(header)
    if isinstance(header.get("__metadata__"), dict) and "regard" in header["__metadata__"]:
        header["__metadata__"]["regard"] = json.dumps(header["__metadata__"]["regard"])
    try:
        check = check_of(header)
        header["__metadata__"]["crc32"] = str(check)
    except (ValueError, TypeError, KeyError):
        check = 0
    text = json.dumps(header).encode()
    place.write_bytes(struct.pack("<Q", len(text)) + text + data[8 + length :])
    sign_root(folder, lambda root: root["calls"].__setitem__(position, check))


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
def test_hostile_headers(first: int, whole: tuple[Recording, Path], run: Path) -> None:
    """120 headers and roots with values that cannot be, and checks that fit: refused, or answered, no other error."""

    def change(seed: int, chance: Random) -> None:
        def within(given: dict[str, Any]) -> None:
            inner = given["__metadata__"]["regard"] if "__metadata__" in given and chance.random() < 0.5 else given
            name = chance.choice(sorted(inner))
            inner[name] = mutate(inner[name], chance)

        shutil.copytree(whole[1] / "run", run, dirs_exist_ok=True)
        if seed % 3 == 2:
            sign_root(run, within)
        else:
            resign_header(run, seed % 3, within)

    assert refusals(run, first, change) > 8


@pytest.mark.parametrize("first", range(0, 40, 20))
def test_hostile_texts(first: int, run: Path) -> None:
    """40 documents of tokens with values that cannot be, and checks that fit."""
    texts = json.loads((run / "texts.json").read_bytes())["document"]

    def change(seed: int, chance: Random) -> None:
        data, check = packed(mutate(texts, chance))
        (run / "texts.json").write_bytes(data)
        sign_root(run, lambda root: root.update(texts=check))

    assert refusals(run, first, change) > 8


def put(name: str, tensor: Tensor) -> Change:
    return lambda tensors, document: tensors.__setitem__(name, tensor)


HARM: dict[str, tuple[Change, str]] = {
    "a span past the end": (put("stop", torch.full((2, 1, 9), 12, dtype=torch.int32)), "stop outside of 0 to 11"),
    "a span before the start": (put("start", torch.full((2, 1, 9), -3, dtype=torch.int32)), "start outside of 0 to 11"),
    "a span turned round": (put("start", torch.full((2, 1, 9), 11, dtype=torch.int32)), "end before they start"),
    "a key past the end": (put("top_keys", torch.full((2, 4, 9, 4), 11, dtype=torch.int32) + 1), "top_keys outside"),
    "half a truth": (put("masked", torch.full((1, 1, 9, 11), 2, dtype=torch.uint8).view(torch.bool)), "neither true"),
    "a query of no width": (put("query", torch.empty(2, 4, 9, 0)), "not what a call of this size has"),
    "other sizes": (put("query", torch.zeros(2, 4, 10, 8)), "not what a call of this size has"),
    "other numbers": (put("query", torch.zeros(2, 4, 9, 8, dtype=torch.float64)), "beside a query of torch.float64"),
    "a tensor too many": (put("other", torch.zeros(2)), "too many"),
    "a tensor too few": (lambda tensors, document: tensors.__delitem__("key"), "missing"),
    "half a span": (lambda tensors, document: tensors.__delitem__("stop"), "do not belong together"),
    "heads over no key heads": (put("key", torch.zeros(2, 3, 11, 8)), "value_norms"),
    "no such rank": (lambda tensors, document: document.update(rank=2), "2 dimensions, 2 sequences"),
    "a cell of nothing": (lambda tensors, document: document.update(cell=0), "cell outside"),
    "a softcap of nothing": (lambda tensors, document: document["exact"].update(softcap=0.0), "softcap of 0.0"),
    "another place": (lambda tensors, document: document.update(position=0), "another place"),
}


@pytest.mark.parametrize("name", HARM)
def test_what_cannot_be_is_refused(name: str, run: Path) -> None:
    """What the kernels index by, and all that they rely on, is held to its limits though its checks fit."""
    change, says = HARM[name]
    resign(run, 1, change)
    with pytest.raises(RecordingFileError, match=f"calls/000001.safetensors.*{says}"):
        list(answers(regard.load(run)["exact"]))


@pytest.mark.parametrize("shape", [[1 << 39, 2, 0], [1 << 20, 1 << 20, 0], [1 << 62], [2, -1, 21], [1] * 9, "x"])
def test_sizes_are_checked_before_memory_is_taken(shape: Any, run: Path) -> None:
    """A tensor that says it is larger than its file, or is empty and vast, is refused when the recording is opened."""
    resign_header(run, 0, lambda header: header["entropy"].update(shape=shape))
    assert_refused(run, r"calls/000000\.safetensors")


def test_a_vast_call_of_no_sequence(tmp_path: Path) -> None:
    """Tensors without elements vouch for no size, so theirs are bounded."""
    recording_of(call=EXACT["no sequence"]()).save(tmp_path / "run")

    def vast(tensors: dict[str, Tensor], document: dict[str, Any]) -> None:
        for name, tensor in tensors.items():
            sizes = [1 << 30 if size == 20 else size for size in tensor.shape]
            tensors[name] = tensor.new_empty([0, *sizes[1:]])

    resign(tmp_path / "run", 0, vast)
    assert_refused(tmp_path / "run", "may then make up")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[" * 100_000, "no JSON"),
        ('{"crc32": 1, "document": ' + "[" * 100_000 + "]" * 100_000 + "}", "no JSON"),
        ('{"document": {"version": 1' + "0" * 5000 + "}}", "no JSON"),
        ('{"document": {"version": NaN}}', "NaN"),
        ('{"document": {"version": 1e999}}', "cannot be checked"),
        ('{"document": {"format": "other"}}', "changed"),
        ("\ufeff{}", "changed"),
        ("null", "no object"),
        ("", "no JSON"),
        (" " * (65 << 20), "at most 67,108,864"),
    ],
)
def test_documents_that_are_none(text: str, says: str, tmp_path: Path) -> None:
    """Deep, long, huge, empty: each is named."""
    (tmp_path / "recording.json").write_text(text, encoding="utf-8")
    assert_refused(tmp_path, f"recording.json.*{says}")


@pytest.mark.parametrize("length", [0, 7, 1 << 32, 2**64 - 1])
def test_headers_of_any_length(length: int, run: Path) -> None:
    """The length of a header is checked before it is read."""
    place = run / "calls/000000.safetensors"
    place.write_bytes(struct.pack("<Q", length) + place.read_bytes()[8:])
    assert_refused(run, r"calls/000000\.safetensors")


@pytest.mark.parametrize(
    "metadata",
    [{"regard": "\ud800"}, {"regard": "[]"}, {"regard": "{"}, {"regard": "{}"}, {"regard": 1}, {}, "x", None],
)
def test_metadata_of_any_kind(metadata: Any, tmp_path: Path) -> None:
    """What stands in the place of our document is refused, with a check that fits."""
    header = {"__metadata__": metadata}
    if isinstance(metadata, dict):
        header = {"__metadata__": metadata | {"crc32": str(check_of(header))}}
    text = json.dumps(header).encode()
    (tmp_path / "a").write_bytes(struct.pack("<Q", len(text)) + text)
    with pytest.raises(RecordingFileError, match="a call"):
        CallFile(Piece("a call", 8 + len(text), tmp_path / "a"), 0)


def test_other_versions_say_so(run: Path, tmp_path: Path) -> None:
    """What a later regard wrote is not guessed at; what an earlier one wrote is told from what is no recording."""
    sign_root(run, lambda root: root.update(version=3))
    assert_refused(run, r"version 3 of the format.* reads version 2")
    sign_root(run, lambda root: root.update(format="other"))
    assert_refused(run, "another format")
    (tmp_path / "old").mkdir()
    (tmp_path / "old/zarr.json").write_text("{}")
    with zipfile.ZipFile(tmp_path / "old.regard", "w") as archive:
        archive.writestr("zarr.json", "{}")
    for name in ("old", "old.regard"):
        assert_refused(tmp_path / name, "older version of regard")


def test_a_zip_is_read_where_it_lies(whole: tuple[Recording, Path], tmp_path: Path) -> None:
    """Zipped by hand without packing it opens; packed it is refused before anything is unpacked, with what helps."""
    recording, place = whole
    for kind in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        with zipfile.ZipFile(tmp_path / "hand.regard", "w", kind) as archive:
            for file in sorted((place / "run").rglob("*")):
                archive.write(file, file.relative_to(place / "run"))
        if kind == zipfile.ZIP_STORED:
            assert same(regard.load(tmp_path / "hand.regard"), recording)
    assert_refused(tmp_path / "hand.regard", r"recording.json of .*hand.regard.*zip -0")


def test_a_large_zip(whole: tuple[Recording, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond 2 GiB a zip has other fields: they are written and read, here from 1,000 bytes on."""
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 1000)
    whole[0].save(tmp_path / "run.regard")
    assert b"PK\6\6" in (tmp_path / "run.regard").read_bytes()
    assert same(regard.load(tmp_path / "run.regard"), whole[0])


def test_members_that_lead_elsewhere_are_not_touched(whole: tuple[Recording, Path], tmp_path: Path) -> None:
    """Nothing is unpacked, and only names that the reader makes are looked for: others do nothing."""
    shutil.copy(whole[1] / "run.regard", tmp_path / "run.regard")
    with zipfile.ZipFile(tmp_path / "run.regard", "a") as archive:
        for name in ("/etc/passwd", "calls/../../x", "C:\\x", "calls/000009.safetensors/..", "a" * 300):
            archive.writestr(name, b"0")
    assert same(regard.load(tmp_path / "run.regard"), whole[0])
    assert os.listdir(tmp_path) == ["run.regard"]


def test_bombs(whole: tuple[Recording, Path], tmp_path: Path) -> None:
    """Much packed into little, a member larger than the file, one name twice, a table of any size: refused."""
    bomb = tmp_path / "run.regard"
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("recording.json", bytes(100 << 20))
    assert_refused(bomb, "packed or encrypted")
    shutil.copy(whole[1] / "run.regard", bomb)
    with zipfile.ZipFile(bomb, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("recording.json", b"{}")
    assert_refused(bomb, "two members")
    data = bytearray((whole[1] / "run.regard").read_bytes())
    first = data.index(b"PK\1\2")
    struct.pack_into("<2L", data, first + 20, 1 << 30, 1 << 30)
    bomb.write_bytes(data)
    assert_refused(bomb, "says it has 1,073,741,824 bytes")
    struct.pack_into("<L", data, len(data) - 10, 1 << 31)
    bomb.write_bytes(data)
    assert_refused(bomb, "has a table of 2,147,483,648 bytes")


@pytest.mark.parametrize("what", OTHERS)
def test_what_is_no_recording(what: str, tmp_path: Path) -> None:
    """Each is told in one sentence with the path."""
    OTHERS[what](tmp_path / "run.regard")
    assert_refused(tmp_path / "run.regard", r"run\.regard")


def test_a_link_inside_is_refused(whole: tuple[Recording, Path], tmp_path: Path) -> None:
    """A folder that is a link leads elsewhere, so nothing below it is read; the recording itself may be one."""
    recording, place = whole
    shutil.copytree(place / "run", tmp_path / "run")
    shutil.rmtree(tmp_path / "run/calls")
    (tmp_path / "run/calls").symlink_to(place / "run/calls")
    assert_refused(tmp_path / "run", "is a link")
    (tmp_path / "link").symlink_to(place / "run")
    assert same(regard.load(tmp_path / "link"), recording)


def test_a_call_that_is_gone_is_missed(whole: tuple[Recording, Path], tmp_path: Path) -> None:
    """Each call of a run that ended is there, or the recording is refused; so is a gap in a run that died."""
    for ended in (True, False):
        for position in (0, 1):
            folder = tmp_path / f"{ended}{position}"
            shutil.copytree(whole[1] / "run", folder)
            (folder / f"calls/{position:06d}.safetensors").unlink()
            if not ended:
                sign_root(folder, lambda root: root.update(ended=False, calls=[]))
            if position == 0 or ended:
                assert_refused(folder, f"{position:06d}.safetensors .* is missing")
            else:
                assert list(regard.load(folder)) == ["summary"]


def test_a_call_that_is_cut_while_it_is_open(run: Path) -> None:
    """What becomes of a file after it was opened is told when it is read."""
    found = regard.load(run)
    place = run / "calls/000000.safetensors"
    place.write_bytes(place.read_bytes()[:-40])
    with pytest.raises(RecordingFileError, match=r"calls/000000.safetensors .* was cut"):
        found[0].entropy()
    place.unlink()
    with pytest.raises(RecordingFileError, match=r"calls/000000.safetensors .* cannot be read: No such file"):
        found[0].entropy()
