"""Pictures: folders and IDX files are read, and what cannot be read is named or counted."""

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from regard.errors import DataError
from regard.tasks.reading import PictureOptions, open_picture, read_images, read_pictures


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


def test_what_is_no_folder_of_pictures(tmp_path: Path) -> None:
    """A path that is not there is named as such; a folder of IDX files, with the two that would be given."""
    with pytest.raises(DataError, match=r"There is no file or folder .*flowers\. It cannot be read as labelled"):
        read_images(tmp_path / "flowers")
    for name in ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte.gz"):
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(DataError, match=r"Name them both, as in: \S*/t10k-images-idx3-ubyte \S*/t10k-labels-idx1"):
        read_images(tmp_path)


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


UPRIGHT = np.zeros((6, 4, 3), np.uint8)
UPRIGHT[0, :, 0], UPRIGHT[:, 0, 1], UPRIGHT[4, 2] = 200, 120, 250
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_90, 7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}  # fmt: skip


def one(folder: Path, picture: Image.Image, name: str = "1.png", **saved: object) -> np.ndarray:
    """Save a picture in a folder of its own, beside one that is plain, and return it as it is read."""
    for label in ("a", "b"):
        (folder / label).mkdir(parents=True, exist_ok=True)
    picture.save(folder / "a" / name, **saved)
    Image.fromarray(UPRIGHT).save(folder / "b" / "1.png")
    found = read_images(folder)
    assert found.examples.labels == ("a", "b")
    np.testing.assert_array_equal(read_pictures([folder / "a" / name], PictureOptions(size=(6, 4), grey=False))[0],
                                  found.examples.pixels[0])  # fmt: skip
    np.testing.assert_array_equal(found.examples.pixels[1], UPRIGHT)
    return found.examples.pixels[0]


@pytest.mark.parametrize("turn", TURNS)
@pytest.mark.parametrize(("name", "saved"), [("1.png", {}), ("1.webp", {"lossless": True}), ("1.tif", {}),
                                             ("1.jpg", {"quality": 100, "subsampling": 0})])  # fmt: skip
def test_turned_upright(tmp_path: Path, turn: int, name: str, saved: dict[str, object]) -> None:
    """A picture that lies in its file is read as its file says it is seen: all seven turns, in every format."""
    lying = Image.fromarray(UPRIGHT).transpose(TURNS[turn])
    exif = Image.Exif()
    exif[0x0112] = turn
    found = one(tmp_path, lying, name, exif=exif, **saved)
    np.testing.assert_allclose(found.astype(int), UPRIGHT, atol=40 if name.endswith("jpg") else 0)
    assert "1 turned upright" in read_images(tmp_path).reading
    np.testing.assert_array_equal(np.asarray(open_picture(tmp_path / "a" / name)), found)


def test_what_is_transparent_is_white(tmp_path: Path) -> None:
    """Alpha, a clear colour of a palette and half-clear colours lie on white, as on paper."""
    layer = np.zeros((6, 4, 4), np.uint8)
    layer[:3] = (200, 0, 0, 255)
    layer[3] = (0, 0, 0, 51)
    found = one(tmp_path / "rgba", Image.fromarray(layer))
    assert found[0, 0].tolist() == [200, 0, 0]
    assert found[3, 0].tolist() == [204, 204, 204]
    assert found[5, 0].tolist() == [255, 255, 255]
    palette = Image.new("P", (4, 6), 1)
    palette.putpalette([255, 0, 0, 0, 0, 200])
    palette.putpixel((0, 0), 0)
    found = one(tmp_path / "palette", palette, "1.gif", transparency=0)
    assert found[0, 0].tolist() == [255, 255, 255]
    assert found[1, 1].tolist() == [0, 0, 200]
    assert "transparent laid on white" in read_images(tmp_path / "palette").reading


def test_grey_colours_and_cmyk(tmp_path: Path) -> None:
    """One picture in colour makes all of them pictures in colour; CMYK is the colours it is seen in."""
    found = one(tmp_path / "grey", Image.fromarray(np.full((6, 4), 77, np.uint8)))
    assert found.shape == (6, 4, 3)
    assert set(found.flatten().tolist()) == {77}
    ink = Image.new("CMYK", (4, 6), (0, 255, 255, 0))
    found = one(tmp_path / "cmyk", ink, "1.jpg")
    assert (found[0, 0] > (200, -1, -1)).all()
    assert (found[0, 0] < (256, 90, 90)).all()
    Image.fromarray(UPRIGHT).convert("L").save(tmp_path / "grey" / "b" / "1.png")
    assert read_images(tmp_path / "grey").examples.pixels.shape == (2, 6, 4, 1)


def test_colours_of_another_profile(tmp_path: Path) -> None:
    """A profile with red and blue exchanged is undone; one that cannot be read says nothing."""
    plain = Image.fromarray(UPRIGHT)
    known = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    np.testing.assert_allclose(one(tmp_path / "known", plain, icc_profile=known).astype(int), UPRIGHT, atol=1)
    np.testing.assert_array_equal(one(tmp_path / "broken", plain, icc_profile=b"not a profile"), UPRIGHT)
    red, blue = known.find(b"rXYZ"), known.find(b"bXYZ")
    exchanged = bytearray(known)
    exchanged[red : red + 4], exchanged[blue : blue + 4] = b"bXYZ", b"rXYZ"
    found = one(tmp_path / "exchanged", plain, icc_profile=bytes(exchanged))
    np.testing.assert_allclose(found[0, 1].astype(int), UPRIGHT[0, 1, ::-1], atol=2)


def test_the_first_of_several_frames(tmp_path: Path) -> None:
    """An animation is its first frame, and that is said."""
    frames = [Image.new("RGB", (4, 6), colour) for colour in ((200, 0, 0), (0, 0, 200))]
    found = one(tmp_path, frames[0], "1.gif", save_all=True, append_images=frames[1:])
    assert found[0, 0].tolist() == [200, 0, 0]
    assert "1 of several frames, the first read" in read_images(tmp_path).reading


def test_pictures_keep_their_shape(tmp_path: Path) -> None:
    """One of another shape is scaled whole with white beside it, cut or squeezed as asked, and that is said."""
    wide = np.full((6, 12, 3), 50, np.uint8)
    wide[:, :4] = 150
    Image.fromarray(wide).save(tmp_path / "1.png")
    for label, count in (("a", 1), ("b", 2)):
        (tmp_path / label).mkdir()
        for number in range(count):
            Image.fromarray(np.full((6, 6, 3), 50, np.uint8)).save(tmp_path / label / f"{number}.png")
    Image.fromarray(wide).save(tmp_path / "a" / "wide.png")
    found = read_images(tmp_path)
    padded = found.examples.pixels[1, :, :, 0]
    assert padded.shape == (6, 6)
    assert (padded[0] == 255).all()
    assert (padded[-1] == 255).all()
    assert padded[3].tolist()[0] > 140
    assert "1 of another shape with white beside them" in found.reading
    assert "2 sizes" in found.remarks[-1]
    cut = read_images(tmp_path, PictureOptions(fit="crop")).examples.pixels[1, :, :, 0]
    assert cut[:, 0].tolist() == [150] * 6
    assert cut[:, 2:].max() == 50
    stretched = read_images(tmp_path, PictureOptions(fit="stretch"))
    assert stretched.examples.pixels[1, :, :, 0].max() < 255
    assert "squeezed" in stretched.reading


def test_idx_is_read_as_it_is(tmp_path: Path) -> None:
    """A size that IDX files do not have is refused, not ignored."""
    (tmp_path / "images").write_bytes(idx(np.zeros((2, 3, 4), np.uint8)))
    (tmp_path / "labels").write_bytes(idx(np.zeros(2, np.uint8)))
    files = [tmp_path / "images", tmp_path / "labels"]
    assert len(read_images(files, PictureOptions(size=(3, 4), grey=True)).examples) == 2
    with pytest.raises(DataError, match=r"pictures of \(3, 4, 1\), and \(5, 5, 1\) was asked for"):
        read_images(files, PictureOptions(size=(5, 5)))
