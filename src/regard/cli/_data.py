"""Reading a task's data with the reader that its options select."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro
from numpy.typing import NDArray

from ..corpora import Images
from ..errors import ArgumentError, DataError
from ..tasks import Task, read_description
from ..tasks.reading import (
    LabelledOptions,
    Notes,
    PairOptions,
    PictureOptions,
    TaggedOptions,
    TextOptions,
    account,
    doubts_between,
    labels,
    read_documents,
    read_images,
    read_labelled,
    read_pairs,
    read_tagged,
    told,
)
from ..tasks.reading import read_pictures as read_picture_files

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


def read(
    task: str, parts: Mapping[str, Sequence[str]], options: Any, folder: Path | None = None, given: str = ""
) -> list[Any]:
    """Read a task's examples, a source for each part (`training`, `test`), and report on standard error what was read.

    Returns the examples of each part in order, None for a part without a source. If a folder is given, the report is
    also written there as JSON. `given` is the path of a file that stands for standard input.
    """
    reader, _ = READERS[task]
    found = {}
    for part, source in parts.items():
        if source:
            found[part] = reader(tuple(source), options)
            examples = found[part].examples
            options = fitting(options, examples.pixels.shape[1:] if isinstance(examples, Images) else None)
    if int(os.environ.get("RANK", "0")) == 0:
        accounts = {
            part: account(one, [x if x != given else "standard input" for x in parts[part]])
            for part, one in found.items()
        }
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


def read_pictures(
    files: Sequence[str | Path], folder: Path, shape: Sequence[int], notes: Notes | None = None
) -> NDArray[np.uint8]:
    """Read picture files in the same way as the training data of the model in a folder; `shape` is its input shape."""
    _, options = remembered(folder, "image_classification")
    return read_picture_files([Path(file) for file in files], fitting(options, shape), notes)


def learnt_from(folder: Path) -> dict[str, Any]:
    """Return what was found in the training data of a run: `form`, `columns` and `multiline`; nothing without it."""
    try:
        found = json.loads((folder / ACCOUNT).read_text(encoding="utf-8"))["training"]
        return {name: found[name] for name in ("form", "columns", "multiline") if name in found}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


class WithReading:
    """A command that reads data as the run did that it is given."""

    @classmethod
    def of_run(cls, words: Sequence[str]) -> type[Any]:
        """Return the command with the options of a reader: those of the run that the words name, as defaults."""
        folder = next((Path(word) for word in words if (Path(word) / "task.json").is_file()), None)
        if folder is None:
            return cls
        name = read_description(folder)["task"]
        if name not in OPTIONS:
            return cls
        _, options = remembered(folder, name)
        kind: Any = Annotated[OPTIONS[name], tyro.conf.OmitArgPrefixes]
        made = dataclasses.make_dataclass(
            cls.__name__, [("reading", kind, dataclasses.field(default=options))], bases=(cls,), frozen=True
        )
        made.__doc__ = cls.__doc__
        return made


def reading_of(command: Any, task: str) -> Any:
    """Return the reader's options of a command; those of the run it names where it has none of its own."""
    given = getattr(command, "reading", None)
    return remembered(command.folder, task)[1] if given is None else given


def check_known(task: Task[Any, Any], examples: Any, source: Sequence[str]) -> None:
    """Refuse examples with labels that a task has not learnt.

    Raises:
        DataError: with the labels, how often they occur, and those it knows.
    """
    known = {tag[2:] for tag in getattr(task, "tags_", ()) if tag != "O"} | set(getattr(task, "labels_", ()))
    counted = labels(examples)
    strange = {label: count for label, count in counted.items() if label not in known} if known else {}
    if strange:
        named = ", ".join(f"{label!r} ({count:,})" for label, count in list(strange.items())[:5])
        more = f" and {len(strange) - 5:,} more" if len(strange) > 5 else ""
        raise DataError(
            f"{', '.join(source)}: the model has not learnt {named}{more}; it knows {', '.join(sorted(known)[:12])}"
            f"{', ...' if len(known) > 12 else ''}. Give data with its labels; --as-told counts the others as errors."
        )


def remember(folder: Path, source: Sequence[str], options: Any) -> None:
    """Record the training data's source beside a trained task, for the baseline of a later evaluation."""
    values = {
        "train": [_absolute(one, options) for one in source],
        "options": {name: str(x) if isinstance(x, Path) else x for name, x in dataclasses.asdict(options).items()},
    }
    (folder / SOURCE).write_text(json.dumps(values, indent=1), encoding="utf-8")


def _absolute(one: str, options: Any) -> str:
    """Return a source that is valid from every folder; its own options stay behind it."""
    path, _ = told(Path(one), options)
    return str(path.resolve()) + one.removeprefix(str(path)) if path.exists() else one


def remembered(folder: Path, task: str) -> tuple[list[str], Any]:
    """Return what `remember` recorded; without a record, no source and the reader's defaults."""
    kind = OPTIONS[task]
    try:
        values = json.loads((folder / SOURCE).read_text(encoding="utf-8"))
        options = values["options"]
        if options.get("label_names"):
            options["label_names"] = Path(options["label_names"])
        if isinstance(options.get("size"), list):
            options["size"] = tuple(options["size"])
        return list(values["train"]), kind(**options)
    except FileNotFoundError:
        return [], kind()
    except (ValueError, KeyError, TypeError) as error:
        raise ArgumentError(f"{folder / SOURCE} cannot be read: {error}. Remove it to read with defaults.") from error
