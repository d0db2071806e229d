"""Which reader reads a task's data, from the options that a person gives."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ArgumentError
from ..tasks.reading import (
    LabelledOptions,
    PairOptions,
    PictureOptions,
    TaggedOptions,
    TextOptions,
    read_documents,
    read_images,
    read_labelled,
    read_pairs,
    read_tagged,
)
from ..tasks.reading import read_pictures as read_picture_files

__all__ = ["OPTIONS", "read", "read_pictures", "remember", "remembered"]

READERS: dict[str, tuple[Any, Any]] = {
    "ner": (read_tagged, TaggedOptions),
    "sentiment": (read_labelled, LabelledOptions),
    "summarization": (read_pairs, PairOptions),
    "translation": (read_pairs, PairOptions),
    "language_modeling": (read_documents, TextOptions),
    "image_classification": (read_images, PictureOptions),
}
OPTIONS: dict[str, Any] = {name: options for name, (_, options) in READERS.items()}
"""The reading options of each task."""

SOURCE = "source.json"


def read(task: str, source: Sequence[str], options: Any) -> Any:
    """Read a task's examples, and say on standard error what was left out or looks wrong; None without a source."""
    if not source:
        return None
    reader, _ = READERS[task]
    found = reader(tuple(source), options)
    if found.left_out:
        print(f"{len(found.left_out)} rows were left out of {', '.join(source)}:", file=sys.stderr)
        for row in found.left_out[:10]:
            print(f"  {row}", file=sys.stderr)
        if len(found.left_out) > 10:
            print(f"  and {len(found.left_out) - 10} more", file=sys.stderr)
    for remark in found.remarks:
        print(f"Note: {remark}", file=sys.stderr)
    return found.examples


def read_pictures(files: Sequence[str], shape: tuple[int, int, int]) -> NDArray[np.uint8]:
    """Read picture files for a model of (height, width, channels)."""
    options = PictureOptions(size=shape[:2], grey=shape[2] == 1)
    return read_picture_files([Path(file) for file in files], options)


def remember(folder: Path, source: Sequence[str], options: Any) -> None:
    """Note beside a trained task what it learnt from, for the baseline of a later evaluation."""
    values = {
        "train": [str(Path(one).resolve()) if Path(one).exists() else one for one in source],
        "options": {name: str(x) if isinstance(x, Path) else x for name, x in dataclasses.asdict(options).items()},
    }
    (folder / SOURCE).write_text(json.dumps(values, indent=1), encoding="utf-8")


def remembered(folder: Path, task: str) -> tuple[list[str], Any]:
    """Return what `remember` noted; without a note no source and the reader's own defaults."""
    kind = OPTIONS[task]
    try:
        values = json.loads((folder / SOURCE).read_text(encoding="utf-8"))
        options = values["options"]
        if options.get("label_names"):
            options["label_names"] = Path(options["label_names"])
        return list(values["train"]), kind(**options)
    except FileNotFoundError:
        return [], kind()
    except (ValueError, KeyError, TypeError) as error:
        raise ArgumentError(f"{folder / SOURCE} cannot be read: {error}. Remove it to read with defaults.") from error
