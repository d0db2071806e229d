"""Inputs, and the way their answers are written."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...errors import DataError, needed
from ..reading import Notes, plain_suffix

Fields = Mapping[str, Any]
"""One answer, by the names of its fields."""


@dataclass
class Inputs:
    """The inputs of one source."""

    values: list[Any]
    """What the task answers to: texts, lists of words, or the paths of pictures."""
    write: Callable[[Sequence[Fields]], bytes]
    """Returns the source with the answers in it; takes one answer for each value."""
    notes: Notes = field(default_factory=lambda: Notes(skip=False))
    """How the source was interpreted, and what was left out."""
    lines: bool = False
    """Whether they are lines of plain text, which are answered for people unless a file is asked for."""


def shown_fields(answers: Sequence[Fields]) -> list[str]:
    """Return the fields that a table with a text a row shows: of tagged words the entities, not each word."""
    names = list(answers[0]) if answers else []
    return ["entities"] if "entities" in names else names


def cell_text(value: Any) -> str:
    """Return a field as the text of a cell."""
    if isinstance(value, float):
        return f"{value:.4f}"
    if isinstance(value, list | tuple) and (not value or not isinstance(value[0], str)):
        return json.dumps(value, ensure_ascii=False) if value else ""
    return ",".join(value) if isinstance(value, list | tuple) else str(value)


def row_text(cells: Sequence[str], separator: str, quoted: bool) -> str:
    r"""Return cells as one row of a table; without quotes a tab or line end in a cell is written as `\t`, `\n`."""
    if separator == "\t" and not quoted:
        return "\t".join(cell.replace("\t", "\\t").replace("\n", "\\n") for cell in cells)
    always = separator == "\t"  # quotes of TSV are known by a column that wears them throughout
    signs = (separator, '"', "\n", "\r")
    return separator.join(
        '"' + cell.replace('"', '""') + '"' if always or any(s in cell for s in signs) or cell != cell.strip() else cell
        for cell in cells
    )


def record_bytes(path: Path, rows: Sequence[Any]) -> bytes:
    """Return records in the format that a file's name says: Parquet, a JSON list, or JSON lines."""
    suffix = plain_suffix(path)
    if suffix == ".parquet":
        return _parquet(path, rows)
    if suffix == ".json":
        return (json.dumps(rows, ensure_ascii=False, indent=1) + "\n").encode()
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def _parquet(path: Path, rows: Sequence[Any]) -> bytes:
    with needed("Parquet needs pyarrow:", "train"):
        import pyarrow
        from pyarrow import parquet
    out = io.BytesIO()
    try:
        parquet.write_table(pyarrow.Table.from_pylist(list(rows)), out)
    except pyarrow.ArrowException as error:
        raise DataError(f"The answers to {path} cannot be written as Parquet: {error}. Give --out x.jsonl.") from error
    return out.getvalue()
