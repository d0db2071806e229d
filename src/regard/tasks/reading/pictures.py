"""Labelled pictures: folders of image files, and IDX files (the format of MNIST)."""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ...corpora import Images
from ...errors import DataError
from ._columns import Columns
from ._files import Notes, Read, first_accepting, open_bytes
from ._folders import class_folders, is_shown
from ._judging import judge_classes
from ._picture import Fit, Header, decode, fitted, read_header
from ._separated import cells_text
from ._tables import is_cells, rows, text_value, value, why_no_table
from .sources import Source, as_paths, told

if TYPE_CHECKING:
    from PIL.Image import Image

SUFFIXES = (
    ".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".avif", ".ppm", ".pgm", ".pbm",
)  # fmt: skip
# Usual names of the column of paths; `file_name` is that of the Hugging Face hub.
PATHS = ("path", "file", "filename", "file_name", "filepath", "file_path", "image", "image_path", "picture")
Labelled = tuple[list[Path], list[str]]
LARGEST = 2**31
"""Most bytes of pixels that may be read into memory."""
HUGE = 160 * 160
"""Number of pixels of a picture above which training is slow."""


@dataclass(frozen=True)
class PictureOptions:
    """How pictures are read."""

    size: tuple[int, int] | None = None
    """Height and width to which every picture is scaled; unless given, those of most pictures."""
    grey: bool | None = None
    """Whether pictures are converted to grey; unless given, only if all of them are grey."""
    fit: Fit = "pad"
    """How a picture of another aspect ratio is fitted: scaled with white margins (pad), scaled and cropped (crop), or
    distorted (stretch)."""
    skip_bad_rows: bool = False
    """Leave out pictures that cannot be read, and say how many."""
    path: str = "path"
    """Column of the pictures' paths in a table, relative to the table; its name, or its number from 0."""
    label: str = "label"
    """Column of the labels in a table of pictures."""
    header: bool | None = None
    """Whether the first line of such a CSV or TSV names the columns; unless given, as it looks."""
    as_told: bool = False
    """Accept the folders' names as labels even if they look like something else."""


def read_images(source: Source, options: PictureOptions | None = None) -> Read[Images]:
    """Read labelled pictures.

    Sources: a folder with a folder of pictures for each label; a table of `path` and `label` (CSV, TSV, JSONL, JSON,
    Parquet), its paths relative to it; several of these; two IDX files, pictures and labels
    (`train-images-idx3-ubyte.gz train-labels-idx1-ubyte.gz`). A picture is read as an image viewer shows it: rotated
    by its EXIF orientation, transparency on white, the first of several frames.

    Raises:
        DataError: with the file and the rule.
    """
    options = options or PictureOptions()
    notes = Notes(options.skip_bad_rows)
    given = [told(path, options) for path in as_paths(source)]
    paths = tuple(path for path, _ in given)
    groups = [paths] if len(paths) == 2 and _why_no_idx(paths) is None else [(path,) for path in paths]
    own, files, labels, forms, ready = dict(given), [], [], [], []
    for group in groups:
        form, run = first_accepting("labelled pictures", group, PICTURES)
        found = run(group, own[group[0]], notes)
        forms.append(form)
        if isinstance(found, Images):
            ready.append(found)
        else:
            files += found[0]
            labels += found[1]
    if ready:
        return Read(ready[0], tuple(notes.left_out), tuple(notes.remarks), notes.reading, forms[0])
    said = "a table of pictures" if forms[0].startswith("table") else "a folder of pictures for each label"
    stack, kept = _stack(files, options, notes)
    notes.reading = f"{said}, each picture {notes.reading}"
    images = Images(stack, tuple(labels[i] for i in kept))
    return Read(images, tuple(notes.left_out), tuple(notes.remarks), notes.reading, forms[0], notes.columns)


def read_pictures(files: Sequence[Path], options: PictureOptions, notes: Notes | None = None) -> NDArray[np.uint8]:
    """Read picture files as one array (N, H, W, C) of bytes, all scaled to one size."""
    stack, _ = _stack(files, options, notes or Notes(skip=False))
    return stack


def open_picture(file: Path) -> Image:
    """Return a decoded Pillow picture: rotated by EXIF, in RGB, transparency on white.

    Raises:
        DataError: it is no picture, or a damaged one.
    """
    return decode(file, grey=False)


def _why_no_folder(source: tuple[Path, ...]) -> str | None:
    if len(source) != 1 or not source[0].is_dir():
        return "it is a folder with a folder of pictures for each label"
    folders = [entry for entry in source[0].iterdir() if entry.is_dir() and is_shown(entry)]
    if not folders:
        return f"{source[0]} holds 0 folders; there is one for each label"
    return None


def _folder(source: tuple[Path, ...], options: PictureOptions, notes: Notes) -> Labelled:
    files, labels = [], []
    for label, found in class_folders(source[0], notes, as_told=options.as_told).items():
        for file in found:
            if file.suffix.lower() not in SUFFIXES:
                notes.bad(file, 0, f"it is no picture by its name, which may end in {', '.join(SUFFIXES)}.")
                continue
            files.append(file)
            labels.append(label)
    if not files:
        raise DataError(f"{source[0]} holds no pictures ({', '.join(SUFFIXES)}) in its folders.")
    return files, labels


def path_column(path: Path, options: PictureOptions) -> str:
    """Return the column of the paths: as told, else the first that has a usual name."""
    if options.path != "path":
        return options.path
    if is_cells(path):
        return cells_text(path, PATHS) or options.path
    first = next(iter(rows(path, (), Columns(), Notes(skip=True))), None)
    return next((name for name in PATHS if first is not None and name in first[2]), options.path)


def _table(source: tuple[Path, ...], options: PictureOptions, notes: Notes) -> Labelled:
    files, labels = [], []
    column = path_column(source[0], options)
    for row in rows(source[0], (column, options.label), Columns(options.header, ("path", "label")), notes):
        path, label = text_value(row, column, notes), value(row, options.label, notes)
        if path is None or label is None:
            continue
        file = source[0].parent / path
        if not file.is_file():
            notes.bad(row[0], row[1], f"there is no picture {file}; paths are relative to the table.")
            continue
        files.append(file)
        labels.append(str(label).strip())
    if not files:
        raise notes.nothing(source[0], "names no picture.")
    if not options.as_told:
        judge_classes(source[0], labels)
    return files, labels


def _stack(files: Sequence[Path], options: PictureOptions, notes: Notes) -> tuple[NDArray[np.uint8], list[int]]:
    """Return the readable pictures as an array, and their indices."""
    looks = {
        place: seen for place, file in enumerate(files) if (seen := _or_bad(notes, file, read_header, file)) is not None
    }
    if not looks:
        raise _none(files, notes)
    sizes = Counter(seen.size for seen in looks.values())
    size = options.size or sizes.most_common(1)[0][0]
    grey = all(seen.grey for seen in looks.values()) if options.grey is None else options.grey
    if len(looks) * size[0] * size[1] * (1 if grey else 3) > LARGEST:
        raise DataError(f"{len(looks)} pictures of {size[0]} x {size[1]} do not fit in memory; give a smaller --size.")
    pictures, kept = [], []
    for place in looks:
        picture = _or_bad(notes, files[place], decode, files[place], grey=grey)
        if picture is not None:
            pixels = np.asarray(fitted(picture, size, options.fit), dtype=np.uint8)
            pictures.append(pixels[..., None] if grey else pixels)
            kept.append(place)
    if not pictures:
        raise _none(files, notes)
    seen = [looks[place] for place in kept]
    notes.reading = _said(seen, size, grey, options)
    notes.remarks += _remarks(seen, size)
    return np.stack(pictures), kept


def _none(files: Sequence[Path], notes: Notes) -> DataError:
    return DataError(f"None of {len(files)} pictures can be read, the first for this: {notes.left_out[0]}")


def _or_bad(notes: Notes, file: Path, read: Callable[..., Any], *args: Any, **options: Any) -> Any:
    """Return the result of reading a picture; None if it cannot be read and may be left out."""
    try:
        return read(*args, **options)
    except DataError as error:
        notes.bad(file, 0, str(error).removeprefix(f"{file}: "))
        return None


def _said(seen: Sequence[Header], size: tuple[int, int], grey: bool, options: PictureOptions) -> str:
    """Describe how the pictures were converted."""
    done = ["grey" if grey else "in colour", f"{size[0]} x {size[1]}"]
    turned = sum(one.turned for one in seen)
    other = [one.size for one in seen if one.size != size]
    bent = sum(height * size[1] != width * size[0] for height, width in other)
    if turned:
        done.append(f"{turned:,} turned upright as their files say")
    if other:
        done.append(f"{len(other):,} of another size scaled")
    if bent:
        how = {"pad": "with white beside them", "crop": "and cut at two sides", "stretch": "and squeezed"}[options.fit]
        done.append(f"{bent:,} of another shape {how}")
    for count, what in (
        (sum(one.clear for one in seen), "transparent laid on white"),
        (sum(one.frames > 1 for one in seen), "of several frames, the first read"),
        (0 if grey else sum(one.grey for one in seen), "grey among colours"),
        (sum(not one.grey for one in seen) if grey else 0, "of colours made grey"),
    ):
        done += [f"{count:,} {what}"] if count else []
    return ", ".join(done)


def _remarks(seen: Sequence[Header], size: tuple[int, int]) -> list[str]:
    """Return warnings: sizes that differ, or are too large to learn from."""
    found = []
    sizes = {one.size for one in seen}
    if len(sizes) > 1 and size in sizes:
        least, most = min(sizes), max(sizes)
        found.append(
            f"the pictures have {len(sizes):,} sizes, {least[0]} x {least[1]} to {most[0]} x {most[1]}; "
            f"all were brought to {size[0]} x {size[1]}, which most of them have. --size chooses another, --fit how."
        )
    if size[0] * size[1] > HUGE:
        found.append(f"pictures of {size[0]} x {size[1]} take long to learn from; --size 64 64 is a beginning.")
    return found


def _why_no_idx(source: tuple[Path, ...]) -> str | None:
    if len(source) != 2:
        return f"it is two IDX files, pictures and labels; {len(source)} was given{_idx_in(source)}"
    missing = [str(path) for path in source if not path.is_file()]
    return f"there is no file {missing[0]}" if missing else None


def _idx_in(source: tuple[Path, ...]) -> str:
    """Return advice to name the two IDX files of a folder; of MNIST's files those for training."""
    found = [path for folder in source if folder.is_dir() for path in sorted(folder.glob("*idx[13]-ubyte*"))[::-1]]
    pictures = next((path for path in found if "idx3" in path.name), None)
    labels = next((path for path in found if "idx1" in path.name), None)
    return f". Name them both, as in: {pictures} {labels}" if pictures and labels else ""


def _idx(source: tuple[Path, ...], options: PictureOptions, notes: Notes) -> Images:
    pixels, labels = (read_idx(path) for path in source)
    if pixels.ndim not in (3, 4) or labels.ndim != 1 or len(pixels) != len(labels):
        raise DataError(
            f"{source[0]} has the shape {pixels.shape} and {source[1]} {labels.shape}; the rule is (N, H, W) pictures "
            "and N labels."
        )
    notes.reading = "IDX, a file of pictures and one of labels"
    pixels = pixels[..., None] if pixels.ndim == 3 else pixels
    asked = (*(options.size or pixels.shape[1:3]), pixels.shape[3] if options.grey is None else 3 - 2 * options.grey)
    if pixels.shape[1:] != asked:
        raise DataError(
            f"{source[0]} holds pictures of {pixels.shape[1:]}, and {asked} was asked for (height, width, channels). "
            "IDX is read as it is: leave --size and --grey out, or give pictures of that shape."
        )
    return Images(pixels, tuple(str(label) for label in labels))


def read_idx(path: Path) -> NDArray[np.uint8]:
    """Read an IDX file of bytes, compressed or not.

    Raises:
        DataError: it is not an IDX file, or is truncated.
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
    return np.frombuffer(contents, np.uint8, offset=4 + 4 * rank).reshape(shape).copy()  # one that may be written


PICTURES = (
    ("table of path and label (CSV, TSV, JSONL, JSON, Parquet)", partial(why_no_table, tabs=False), _table),
    ("folder with a folder of pictures for each label", _why_no_folder, _folder),
    ("IDX files", _why_no_idx, _idx),
)
