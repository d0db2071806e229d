"""Pictures: folders and IDX files are read, and what cannot be read is named or counted."""

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from regard.errors import DataError
from regard.tasks.reading import PictureOptions, read_images


def folder_of_pictures(path: Path) -> np.ndarray:
    """Write two pictures for each of two labels and return their pixels, in the order of reading."""
    pixels = np.random.default_rng(0).integers(0, 256, (4, 3, 5, 3), dtype=np.uint8)
    for place, name in enumerate(("cat/1.png", "cat/2.png", "dog/1.png", "dog/2.bmp")):
        file = path / name
        file.parent.mkdir(exist_ok=True)
        Image.fromarray(pixels[place]).save(file)
    return pixels


def idx(array: np.ndarray) -> bytes:
    """Write bytes as IDX."""
    return b"\0\0\x08" + bytes([array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def test_folder(tmp_path: Path) -> None:
    """Each picture has the name of its folder; what systems put beside pictures is no picture."""
    pixels = folder_of_pictures(tmp_path)
    (tmp_path / "cat" / "Thumbs.db").write_bytes(b"x")
    found = read_images(tmp_path).examples
    np.testing.assert_array_equal(found.pixels, pixels)
    assert found.labels == ("cat", "cat", "dog", "dog")


def test_size_and_grey(tmp_path: Path) -> None:
    """Pictures are brought to the size and the channels asked for."""
    folder_of_pictures(tmp_path)
    assert read_images(tmp_path, PictureOptions(size=(6, 2), grey=True)).examples.pixels.shape == (4, 6, 2, 1)


def test_sixteen_bits_are_scaled(tmp_path: Path) -> None:
    """A grey picture of 16 bits keeps its levels, scaled to bytes."""
    levels = np.array([[0, 257 * 7], [257 * 128, 65535]], np.uint16)
    for label in ("a", "b"):
        (tmp_path / label).mkdir()
        Image.fromarray(levels).save(tmp_path / label / "1.png")
    np.testing.assert_array_equal(read_images(tmp_path).examples.pixels[0, ..., 0], [[0, 7], [128, 255]])


@pytest.mark.parametrize(("name", "contents"), [("3.png", b"not a picture"), ("notes.txt", b"text"), ("3.png", b"")])
def test_unreadable_picture(tmp_path: Path, name: str, contents: bytes) -> None:
    """A file that is no picture is named; skipped, it is counted and its label goes with it."""
    pixels = folder_of_pictures(tmp_path)
    (tmp_path / "cat" / name).write_bytes(contents)
    with pytest.raises(DataError, match=name):
        read_images(tmp_path)
    found = read_images(tmp_path, PictureOptions(skip_bad_rows=True))
    np.testing.assert_array_equal(found.examples.pixels, pixels)
    assert found.examples.labels == ("cat", "cat", "dog", "dog")
    assert [Path(left_out.file).name for left_out in found.left_out] == [name]


def test_cut_picture(tmp_path: Path) -> None:
    """A picture of which the end is missing is named."""
    folder_of_pictures(tmp_path)
    file = tmp_path / "dog" / "1.png"
    file.write_bytes(file.read_bytes()[:-30])
    with pytest.raises(DataError, match=r"1\.png: the picture cannot be read"):
        read_images(tmp_path)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("shape", [(3, 4, 5), (3, 4, 5, 2)])
def test_idx(tmp_path: Path, packed: bool, shape: tuple[int, ...]) -> None:
    """Two IDX files, packed or not, are pictures and their labels."""
    pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    files = [tmp_path / ("images" + ".gz" * packed), tmp_path / ("labels" + ".gz" * packed)]
    for file, array in zip(files, (pixels, np.array([2, 0, 1], np.uint8)), strict=True):
        file.write_bytes(gzip.compress(idx(array)) if packed else idx(array))
    found = read_images(files).examples
    np.testing.assert_array_equal(found.pixels, pixels.reshape(*shape, 1) if len(shape) == 3 else pixels)
    assert found.labels == ("2", "0", "1")


@pytest.mark.parametrize(
    ("contents", "rule"),
    [
        (b"", "no IDX file"),
        (b"\0\0\x0d\x01", "no IDX file"),
        (b"\0\0\x08\x03\0\0", "head is not whole"),
        (idx(np.zeros((2, 2, 2), np.uint8))[:-1], "has 23 bytes; a shape of"),
        (idx(np.zeros((3, 2, 2), np.uint8)), "the rule is"),
    ],
)
def test_bad_idx(tmp_path: Path, contents: bytes, rule: str) -> None:
    """A file that is no IDX, is cut, or has another number of pictures says so."""
    (tmp_path / "images").write_bytes(contents)
    (tmp_path / "labels").write_bytes(idx(np.zeros(2, np.uint8)))
    with pytest.raises(DataError, match=rule):
        read_images([tmp_path / "images", tmp_path / "labels"])


def test_no_pictures(tmp_path: Path) -> None:
    """A folder without folders for labels has the reason of each reader."""
    with pytest.raises(DataError, match=r"(?s)holds 0 folders.*two IDX files"):
        read_images(tmp_path)
