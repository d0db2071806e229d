"""Labelled pictures: folders of image files, and IDX files (the format of MNIST)."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...corpora import Images
from ...errors import DataError, MissingExtraError, install_line
from ._files import Notes, Read, first_accepting, open_bytes
from .sources import Source, as_paths

__all__ = ["PictureOptions", "read_images", "read_pictures"]

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm")
BESIDE = ("thumbs.db", "desktop.ini")  # what systems put beside pictures
LARGEST = 2**31
"""Most bytes of pixels that are read into memory."""


@dataclass(frozen=True)
class PictureOptions:
    """How pictures are read."""

    size: tuple[int, int] | None = None
    """Height and width that every picture is brought to; unless given, that of the first."""
    grey: bool | None = None
    """Whether pictures become grey; unless given, if the first is."""
    skip_bad_rows: bool = False
    """Leave out pictures that cannot be read, and say how many."""


def read_images(source: Source, options: PictureOptions | None = None) -> Read[Images]:
    """Read labelled pictures.

    Sources: a folder with a folder of pictures for each label; two IDX files, pictures and labels
    (`train-images-idx3-ubyte.gz train-labels-idx1-ubyte.gz`).

    Raises:
        DataError: with the file and the rule.
    """
    paths, options = as_paths(source), options or PictureOptions()
    notes = Notes(options.skip_bad_rows)
    run: Any = first_accepting("labelled pictures", paths, PICTURES)
    images: Images = run(paths, options, notes)
    return Read(images, tuple(notes.left_out))


def read_pictures(files: Sequence[Path], options: PictureOptions, notes: Notes | None = None) -> NDArray[np.uint8]:
    """Read picture files as one stack (N, H, W, C) of bytes, each brought to one size."""
    stack, _ = _stack(files, options, notes or Notes(skip=False))
    return stack


def _why_no_folder(source: tuple[Path, ...]) -> str | None:
    if len(source) != 1 or not source[0].is_dir():
        return "it is a folder with a folder of pictures for each label"
    folders = [entry for entry in source[0].iterdir() if entry.is_dir() and not entry.name.startswith(".")]
    return None if len(folders) >= 2 else f"{source[0]} holds {len(folders)} folders; there is one for each label"


def _folder(source: tuple[Path, ...], options: PictureOptions, notes: Notes) -> Images:
    files, labels = [], []
    for folder in sorted(entry for entry in source[0].iterdir() if entry.is_dir() and not entry.name.startswith(".")):
        for file in sorted(folder.rglob("*")):
            if not file.is_file() or file.name.startswith(".") or file.name.lower() in BESIDE:
                continue
            if file.suffix.lower() not in SUFFIXES:
                notes.bad(file, 0, f"it is no picture by its name, which may end in {', '.join(SUFFIXES)}.")
                continue
            files.append(file)
            labels.append(folder.name)
    if not files:
        raise DataError(f"{source[0]} holds no pictures ({', '.join(SUFFIXES)}) in its folders.")
    stack, kept = _stack(files, options, notes)
    return Images(stack, tuple(labels[i] for i in kept))


def _stack(files: Sequence[Path], options: PictureOptions, notes: Notes) -> tuple[NDArray[np.uint8], list[int]]:
    """Return the pictures that can be read, and which they are."""
    try:
        from PIL import Image, UnidentifiedImageError
    except ImportError:
        raise MissingExtraError(f"Pictures need Pillow: {install_line('train')}.") from None
    size, grey = options.size, options.grey
    pictures, kept = [], []
    for number, file in enumerate(files):
        try:
            with Image.open(file) as opened:
                grey = opened.mode in ("1", "L", "I;16", "I;16B") if grey is None else grey
                picture = _in_bytes(opened).convert("L" if grey else "RGB")
        except (OSError, UnidentifiedImageError, Image.DecompressionBombError, ValueError, SyntaxError) as error:
            notes.bad(file, 0, f"the picture cannot be read: {error}.")
            continue
        size = size or (picture.height, picture.width)
        if (picture.height, picture.width) != size:
            picture = picture.resize((size[1], size[0]), Image.Resampling.BILINEAR)
        pixels = np.asarray(picture, dtype=np.uint8)
        pictures.append(pixels[..., None] if grey else pixels)
        kept.append(number)
        if len(files) * pixels.size > LARGEST:
            raise DataError(
                f"{len(files)} pictures of {size[0]} x {size[1]} do not fit in memory; give a smaller --size."
            )
    if not pictures:
        raise DataError(f"None of {len(files)} pictures can be read.")
    return np.stack(pictures), kept


def _in_bytes(opened: Any) -> Any:
    """Return a picture whose levels are bytes: 16 bits are scaled, where Pillow would cut them off at 255."""
    from PIL import Image

    if opened.mode in ("I;16", "I;16B", "I;16L"):
        return Image.fromarray((np.asarray(opened).astype(np.uint32) // 257).astype(np.uint8))
    if opened.mode in ("I", "F"):
        raise ValueError(f"its levels are of mode {opened.mode}, without a known range; save it with 8 or 16 bits")
    return opened


def _why_no_idx(source: tuple[Path, ...]) -> str | None:
    if len(source) != 2:
        return f"it is two IDX files, pictures and labels; {len(source)} was given"
    missing = [str(path) for path in source if not path.is_file()]
    return f"there is no file {missing[0]}" if missing else None


def _idx(source: tuple[Path, ...], options: PictureOptions, notes: Notes) -> Images:
    pixels, labels = (read_idx(path) for path in source)
    if pixels.ndim not in (3, 4) or labels.ndim != 1 or len(pixels) != len(labels):
        raise DataError(
            f"{source[0]} has the shape {pixels.shape} and {source[1]} {labels.shape}; the rule is (N, H, W) pictures "
            "and N labels."
        )
    return Images(pixels[..., None] if pixels.ndim == 3 else pixels, tuple(str(label) for label in labels))


def read_idx(path: Path) -> NDArray[np.uint8]:
    """Read an IDX file of bytes, packed or not.

    Raises:
        DataError: it is none, or is cut.
    """
    contents = open_bytes(path)
    if len(contents) < 4 or contents[:3] != b"\0\0\x08":
        raise DataError(
            f"{path} is no IDX file of bytes: it begins with {contents[:4].hex() or 'nothing'}, not 000008."
        )
    rank = contents[3]
    if not rank or len(contents) < 4 + 4 * rank:
        raise DataError(f"{path} is cut: its head is not whole.")
    shape = struct.unpack(f">{rank}I", contents[4 : 4 + 4 * rank])
    size = int(np.prod([int(side) for side in shape], dtype=object))
    if len(contents) != 4 + 4 * rank + size:
        raise DataError(f"{path} has {len(contents)} bytes; a shape of {shape} needs {4 + 4 * rank + size}.")
    return np.frombuffer(contents, np.uint8, offset=4 + 4 * rank).reshape(shape)


PICTURES = (
    ("folder with a folder of pictures for each label", _why_no_folder, _folder),
    ("IDX files", _why_no_idx, _idx),
)
