"""Plain text, a text a line or a file; folders of texts or pictures; lists of pictures."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Sequence
from pathlib import Path

from ...errors import DataError
from ..reading import Notes, files_below, given_lines, open_bytes, read_idx, whole_text
from ._inputs import Fields, Inputs, cell_text, row_text, shown_fields

FASTTEXT = "__label__"


def read_lines(path: Path, line: Callable[[str, Fields], str], *, whole: bool, labelled: bool = False) -> Inputs:
    """Read plain text, a text a line, blank ones too, or one text in all; `line` writes an answer.

    `labelled` takes the labels of fastText off the lines.
    """
    texts = given_lines(open_bytes(path), str(path))
    if whole:
        texts = ["\n".join(texts)] if texts else []
    if labelled:
        texts = [" ".join(word for word in text.split(" ") if not word.startswith(FASTTEXT)).strip() for text in texts]
    notes = Notes(skip=False)
    notes.reading = "one text" if whole else f"{len(texts):,} lines, each a text"

    def write(answers: Sequence[Fields]) -> bytes:
        return "".join(line(text, one) + "\n" for text, one in zip(texts, answers, strict=True)).encode()

    return Inputs(texts, write, notes, lines=True)


def files_of(path: Path, suffixes: Sequence[str]) -> list[Path]:
    """Return a file, or the files below a folder that end so; without suffixes all of them.

    Raises:
        DataError: the folder holds none.
    """
    if not path.is_dir():
        return [path]
    found = [file for file in files_below(path) if not suffixes or file.suffix.lower() in suffixes]
    if not found:
        raise DataError(f"{path} holds no file{' that ends in ' + ', '.join(suffixes) if suffixes else ''}.")
    return found


def read_pixels(path: Path) -> Inputs | None:
    """Read the pictures of an IDX file; None if it is none. Labels are written as IDX if they are numbers."""
    contents = open_bytes(path)
    if contents[:3] != b"\0\0\x08":
        return None
    pixels = read_idx(path)
    notes = Notes(skip=False)
    notes.reading = f"IDX, {len(pixels):,} pictures"

    def write(answers: Sequence[Fields]) -> bytes:
        labels = [str(one["label"]) for one in answers]
        if all(label.isdecimal() and int(label) < 256 for label in labels):
            return struct.pack(">4BI", 0, 0, 8, 1, len(labels)) + bytes(map(int, labels))
        return "".join(
            f"{label}\t{one['confidence']:.4f}\n" for label, one in zip(labels, answers, strict=True)
        ).encode()

    return Inputs([one if one.ndim == 3 else one[..., None] for one in pixels], write, notes, lines=True)


def read_files(files: Sequence[Path], base: Path, *, texts: bool) -> Inputs:
    """Read one text a file, or name pictures; answers are a table whose paths are relative to the folder `base`."""
    notes = Notes(skip=False)
    values = [whole_text(file, notes) or "" for file in files] if texts else list(files)
    notes.reading = f"{len(files):,} {'text' if texts else 'picture'}{'' if len(files) == 1 else 's'}, a file each"

    def write(answers: Sequence[Fields]) -> bytes:
        names = shown_fields(answers)
        lines = [row_text(["path", *names], ",", True)]
        for file, one in zip(files, answers, strict=True):
            path = Path(os.path.relpath(file, base)).as_posix()
            lines.append(row_text([path, *(cell_text(one[name]) for name in names)], ",", True))
        return ("\n".join(lines) + "\n").encode("utf-8", errors="backslashreplace")

    return Inputs(values, write, notes)
