"""Sources: a path or several, each with options of its own (`b.csv:text=review,label=stars`)."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ...errors import DataError, nearest
from ._files import Read

Source = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]
Group = tuple[Path, ...]

TOLD = re.compile(r"(?P<path>.+?):(?P<options>\w+=.*)", re.DOTALL)


def as_paths(source: Source) -> Group:
    """Return the paths of a source as a tuple."""
    if isinstance(source, str | os.PathLike):
        return (Path(source),)
    return tuple(Path(one) for one in source)


def told(one: Path, options: Any) -> tuple[Path, Any]:
    """Return a path without the options behind it, and a reader's options with these.

    >>> from regard.tasks.reading import LabelledOptions
    >>> told(Path("b.csv:text=review,label=stars"), LabelledOptions())[1].text
    'review'
    """
    match = None if one.exists() else TOLD.fullmatch(str(one))
    if match is None:
        return one, options
    fields = {field.name: field for field in dataclasses.fields(options)}
    changes: dict[str, Any] = {}
    for part in re.split(r",(?=\w+=)", match["options"]):
        name, _, value = part.partition("=")
        name = name.replace("-", "_")
        if name not in fields:
            raise DataError(
                f"{one}: there is no option {name!r}.{nearest(name, fields)} There are: {', '.join(fields)}."
            )
        kind = str(fields[name].type)
        if "bool" in kind:
            if value.lower() not in ("true", "false"):
                raise DataError(f"{one}: {name} is {value!r}; it is True or False.")
            changes[name] = value.lower() == "true"
        else:
            changes[name] = Path(value) if "Path" in kind else value
    return Path(match["path"]), dataclasses.replace(options, **changes)


def read_each(
    source: Source,
    options: Any,
    together: Callable[[Group], list[Group]],
    read: Callable[[Group, Any], Read[list[Any]]],
) -> Read[list[Any]]:
    """Read a source of several paths, and join what was read in order.

    `together` puts paths that are one source into one group: parallel files, a file for each label.
    """
    given = [told(path, options) for path in as_paths(source)]
    own = dict(given)
    groups = together(tuple(path for path, _ in given)) if len(given) > 1 else [(given[0][0],)] if given else []
    if not groups:
        raise DataError("No file was given.")
    found = [read(group, own[group[0]]) for group in groups]
    return found[0] if len(found) == 1 else joined(found, [", ".join(path.name for path in group) for group in groups])


def joined(found: Sequence[Read[list[Any]]], names: Sequence[str]) -> Read[list[Any]]:
    """Return several readings as one; what is said of one names it."""
    readings: dict[str, list[str]] = {}
    for one, name in zip(found, names, strict=True):
        readings.setdefault(one.reading, []).append(name)
    said = [f"{'' if len(readings) == 1 else ', '.join(of) + ': '}{reading}" for reading, of in readings.items()]
    return Read(
        [example for one in found for example in one.examples],
        tuple(row for one in found for row in one.left_out),
        tuple(f"{name}: {remark}" for one, name in zip(found, names, strict=True) for remark in one.remarks),
        f"{len(found)} files, {'; '.join(said)}",
        found[0].form,
        found[0].columns,
    )
