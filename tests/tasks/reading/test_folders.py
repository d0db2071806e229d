"""A folder for each label: names of data parts are not labels, and files created by systems are not examples."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from regard.errors import DataError
from regard.tasks.reading import (
    LabelledOptions,
    PictureOptions,
    TextOptions,
    read_documents,
    read_images,
    read_labelled,
)


def write(folder: Path, *names: str) -> Path:
    """Write a text or a picture, by the end of its name, into each file."""
    for number, name in enumerate(names):
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        if file.suffix == ".png":
            Image.fromarray(np.full((4, 4, 3), number, np.uint8)).save(file)
        else:
            file.write_text(f"a text, the number {number}\n")
    return folder


def read(kind: str, folder: Path, **options: Any) -> Any:
    """Read a folder of texts or of pictures."""
    if kind == "txt":
        return read_labelled(folder, LabelledOptions(**options))
    return read_images(folder, PictureOptions(**options))


def labels(found: Any) -> list[str]:
    """Return the label of each example."""
    return list(getattr(found.examples, "labels", ())) or [one.labels[0] for one in found.examples]


KINDS = pytest.mark.parametrize("kind", ["txt", "png"])


@KINDS
@pytest.mark.parametrize(
    ("parts", "given"),
    [
        (("train", "val"), "--train {0}/train --dev {0}/val. "),
        (("train", "test"), "--train {0}/train --test {0}/test. "),
        (("Training", "Validation", "Testing"), "--train {0}/Training --dev {0}/Validation --test {0}/Testing. "),
        (("train",), "--train {0}/train. "),
        (("train", "test", "unsup"), "--train {0}/train --test {0}/test. "),
    ],
)
def test_parts_are_no_labels(tmp_path: Path, kind: str, parts: tuple[str, ...], given: str) -> None:
    """Folders named as parts are refused with the command for the parts, and with the one for labels."""
    write(tmp_path, *(f"{part}/{label}/{n}.{kind}" for part in parts for label in ("a", "b") for n in "12"))
    with pytest.raises(DataError) as refused:
        read(kind, tmp_path)
    assert given.format(tmp_path) in str(refused.value)
    assert "--as-told" in str(refused.value)
    assert set(labels(read(kind, tmp_path, as_told=True))) == set(parts)
    assert set(labels(read(kind, tmp_path / parts[0]))) == {"a", "b"}


@KINDS
def test_a_class_may_be_called_train(tmp_path: Path, kind: str) -> None:
    """Among other labels, and without folders of its own, one such name is a label."""
    write(tmp_path, f"train/1.{kind}", f"car/1.{kind}", f"plane/1.{kind}")
    assert labels(read(kind, tmp_path)) == ["car", "plane", "train"]


@KINDS
def test_what_has_no_label_is_left_out(tmp_path: Path, kind: str) -> None:
    """`unsup` beside labels is left out and counted, unless it is meant."""
    write(tmp_path, f"pos/1.{kind}", f"neg/1.{kind}", f"unsup/1.{kind}", f"unsup/2.{kind}")
    found = read(kind, tmp_path)
    assert labels(found) == ["neg", "pos"]
    assert "2 files of unsup were left out" in found.remarks[0]
    assert labels(read(kind, tmp_path, as_told=True)) == ["neg", "pos", "unsup", "unsup"]


@KINDS
def test_what_systems_write_is_no_example(tmp_path: Path, kind: str) -> None:
    """Hidden files and folders, also in a label's folder, are passed over; an empty folder and loose files are said."""
    names = [f"a/1.{kind}", f"b/1.{kind}"]
    write(tmp_path, *names)
    write(
        tmp_path, f".ipynb_checkpoints/1.{kind}", f"a/.ipynb_checkpoints/1-checkpoint.{kind}", f"__MACOSX/a/._1.{kind}",
        f"a/._1.{kind}", f".git/x.{kind}", f"a/@eaDir/x.{kind}",
    )  # fmt: skip
    (tmp_path / "a" / ".DS_Store").write_bytes(b"\0")
    (tmp_path / "b" / "Thumbs.db").write_bytes(b"\0")
    (tmp_path / "c").mkdir()
    (tmp_path / "notes.md").write_text("x")
    found = read(kind, tmp_path)
    assert labels(found) == ["a", "b"]
    assert any("the folder c is empty" in remark for remark in found.remarks)
    assert any("notes.md" in remark for remark in found.remarks)


@KINDS
def test_folders_in_a_label(tmp_path: Path, kind: str) -> None:
    """Which of two levels is the label is asked; each answer reads."""
    write(tmp_path, *(f"{outer}/{inner}/1.{kind}" for outer in ("animal", "plant") for inner in ("x", "y")))
    with pytest.raises(DataError, match=r"is the label 'animal' or 'x'\?.*--as-told"):
        read(kind, tmp_path)
    assert labels(read(kind, tmp_path, as_told=True)) == ["animal", "animal", "plant", "plant"]
    assert labels(read(kind, tmp_path / "animal")) == ["x", "y"]


def test_pictures_and_their_masks(tmp_path: Path) -> None:
    """Folders of pictures and of segmentation masks are not classes."""
    write(tmp_path, "images/1.png", "masks/1.png")
    with pytest.raises(DataError, match="kinds of files, not labels"):
        read_images(tmp_path)


def test_files_named_as_parts(tmp_path: Path) -> None:
    """Files train.txt and test.txt in one folder are no labels either."""
    write(tmp_path, "train.txt", "test.txt")
    with pytest.raises(DataError, match=r"--train .*train.txt --test .*test.txt"):
        read_labelled(tmp_path)


def test_a_label_that_cannot_be_written(tmp_path: Path) -> None:
    """A folder whose name is no UTF-8 is refused before training, which would end in an error when it saves."""
    write(tmp_path, "a/1.txt")
    try:
        os.mkdir(os.fsencode(tmp_path) + b"/caf\xe9")
    except OSError:
        pytest.skip("this file system has names in UTF-8 alone")
    write(tmp_path / os.fsdecode(b"caf\xe9"), "1.txt")
    with pytest.raises(DataError, match="Rename the folder"):
        read_labelled(tmp_path)
    assert len(read_documents(tmp_path).examples) == 2
    read_documents(tmp_path).examples[1].name.encode("utf-8")


def test_documents_pass_over_what_is_hidden(tmp_path: Path) -> None:
    """A folder of running text has the user's own files alone."""
    write(tmp_path, "a/1.txt", "a/.ipynb_checkpoints/1.txt", "__MACOSX/._1.txt", ".hidden.txt")
    assert [one.name for one in read_documents(tmp_path, TextOptions()).examples] == [os.path.join("a", "1.txt")]
