"""Reading a task's data with the reader that its options select."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..corpora import Images
from ..errors import ArgumentError
from ..tasks.reading import (
    LabelledOptions,
    PairOptions,
    PictureOptions,
    TaggedOptions,
    TextOptions,
    account,
    doubts_between,
    read_documents,
    read_images,
    read_labelled,
    read_pairs,
    read_tagged,
)
from ..tasks.reading import read_pictures as read_picture_files

__all__ = ["OPTIONS", "fitting", "read", "read_pictures", "read_quietly", "remember", "remembered"]

READERS: dict[str, tuple[Any, Any]] = {
    "ner": (read_tagged, TaggedOptions),
    "sentiment": (read_labelled, LabelledOptions),
    "summarization": (read_pairs, PairOptions),
    "translation": (read_pairs, PairOptions),
    "language_modeling": (read_documents, TextOptions),
    "image_classification": (read_images, PictureOptions),
}
OPTIONS: dict[str, Any] = {name: options for name, (_, options) in READERS.items()}
"""The reader's options of each task."""

SOURCE, ACCOUNT = "source.json", "read.json"


def read(task: str, parts: Mapping[str, Sequence[str]], options: Any, folder: Path | None = None) -> list[Any]:
    """Read a task's examples, a source for each part (`training`, `test`), and report on standard error what was read.

    Returns the examples of each part in order, None for a part without a source. If a folder is given, the report is
    also written there as JSON.
    """
    reader, _ = READERS[task]
    found = {}
    for part, source in parts.items():
        if source:
            found[part] = reader(tuple(source), options)
            examples = found[part].examples
            options = fitting(options, examples.pixels.shape[1:] if isinstance(examples, Images) else None)
    if int(os.environ.get("RANK", "0")) == 0:
        accounts = {part: account(one, parts[part]) for part, one in found.items()}
        for part, said in accounts.items():
            if part != "training" and "training" in found:
                beside = doubts_between(found["training"].examples, found[part].examples, part)
                said = accounts[part] = dataclasses.replace(said, remarks=(*said.remarks, *beside))
            print(f"Read for {part}: {', '.join(said.source)}", *said.lines(), sep="\n", file=sys.stderr, flush=True)
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            text = json.dumps({part: said.to_dict() for part, said in accounts.items()}, ensure_ascii=False, indent=1)
            # Undecodable bytes in a file name are escaped as in JSON.
            (folder / ACCOUNT).write_text(text, encoding="utf-8", errors="backslashreplace")
    return [found[part].examples if part in found else None for part in parts]


def read_quietly(task: str, source: Sequence[str], options: Any) -> Any:
    """Read a task's examples again, without a report; None without a source."""
    return READERS[task][0](tuple(source), options).examples if source else None


def fitting(options: Any, shape: Sequence[int] | None) -> Any:
    """Return options that scale pictures to a shape, (height, width, channels); unchanged without one."""
    if shape is None:
        return options
    return dataclasses.replace(options, size=(shape[0], shape[1]), grey=shape[2] == 1)


def read_pictures(files: Sequence[str], folder: Path, shape: Sequence[int]) -> NDArray[np.uint8]:
    """Read picture files in the same way as the training data of the model in a folder; `shape` is its input shape."""
    _, options = remembered(folder, "image_classification")
    return read_picture_files([Path(file) for file in files], fitting(options, shape))


def remember(folder: Path, source: Sequence[str], options: Any) -> None:
    """Record the training data's source beside a trained task, for the baseline of a later evaluation."""
    values = {
        "train": [str(Path(one).resolve()) if Path(one).exists() else one for one in source],
        "options": {name: str(x) if isinstance(x, Path) else x for name, x in dataclasses.asdict(options).items()},
    }
    (folder / SOURCE).write_text(json.dumps(values, indent=1), encoding="utf-8")


def remembered(folder: Path, task: str) -> tuple[list[str], Any]:
    """Return what `remember` recorded; without a record, no source and the reader's defaults."""
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
