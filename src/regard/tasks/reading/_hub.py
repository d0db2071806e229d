"""Data sets of the Hugging Face hub, by name: `owner/name`, `name`, each with `:split`."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path

from ...errors import DataError, install_line, needed
from ._tables import Row, named

NAME = re.compile(r"(?P<name>[\w.-]+(?:/[\w.-]+)?)(?::(?P<split>[\w\[\]%:+.-]+))?")


def why_no_hub(source: tuple[Path, ...]) -> str | None:
    """Return why a source cannot be a name on the hub; None if it can."""
    if len(source) != 1 or source[0].exists() or not NAME.fullmatch(str(source[0])):
        return "it is the name of a data set, owner/name:split, that is no path here"
    if source[0].suffix.lower() in (".txt", ".csv", ".tsv", ".json", ".jsonl", ".parquet", ".conll", ".gz", ".zip"):
        return f"{source[0]} looks like a file and does not exist"
    if importlib.util.find_spec("datasets") is None:
        return f"no such path; a name of the hub needs the package datasets: {install_line('train')}"
    return None


def hub_rows(source: tuple[Path, ...]) -> Iterator[Row]:
    """Yield the rows of a data set, with label names instead of numbers.

    Raises:
        DataError: the hub cannot be reached, or has no such data set.
    """
    with needed("Names of the hub need datasets:", "train"):
        import datasets
    match = NAME.fullmatch(str(source[0]))
    name, split = (match["name"], match["split"] or "train") if match else (str(source[0]), "train")
    try:
        found = datasets.load_dataset(name, split=split)
    except Exception as error:
        why = (str(error) or "-").splitlines()[0].rstrip(".")
        raise DataError(
            f"There is no file or folder {source[0]} here, and the data set {name!r} (split {split!r}) could not be "
            f"read from the hub: {type(error).__name__}: {why}. Check path, name and network."
        ) from error
    for number, values in enumerate(found, start=1):
        yield source[0], number, {key: named(found.features[key], value) for key, value in values.items()}
