"""The arguments and the result of every study: settings; tables, sentences, and a picture that can be redrawn."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from .._values import check_fields, described, instance, whole
from ..errors import ArgumentError, ArgumentTypeError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Size = Literal["quick", "full"]
Cell = str | int | float | None
Progress = Callable[[float, str], None]
"""Called with the share of the study that is done, 0 to 1, and a description of the current part."""


def silent(share: float, text: str) -> None:
    """Do nothing."""


def part(progress: Progress, start: float, stop: float) -> Progress:
    """Return a progress for a part of a study, mapped to the range between two shares of the whole.

    >>> part(lambda share, text: print(share, text), 0.5, 1.0)(0.5, "half of the second half")
    0.75 half of the second half
    """

    def told(share: float, text: str) -> None:
        progress(start + (stop - start) * share, text)

    return told


@dataclass(frozen=True)
class StudySettings:
    """Settings of every study."""

    seed: int = 0
    """Seed of every random number; the same seed gives the same figures on one machine."""
    size: Size = "quick"
    """`quick` ends within a minute on two cores; `full` takes more seeds, sizes and steps."""

    def __post_init__(self) -> None:
        check_fields(self)
        whole("seed", self.seed, 0, 2**63 - 1)

    def pick(self, quick: Any, full: Any) -> Any:
        """Return the first value for the quick size, the second for the full one."""
        return quick if self.size == "quick" else full


SettingsT = TypeVar("SettingsT", bound=StudySettings)


def settings_for(given: SettingsT | None, kind: type[SettingsT], progress: Progress) -> SettingsT:
    """Return the given settings, validated, or the study's defaults."""
    if not callable(progress):
        raise ArgumentTypeError(f"progress is {described(progress)}; it must be a function of a share and a text.")
    settings = kind() if given is None else instance("settings", given, kind, f"{kind.__name__}(...)")
    progress(0.0, "begins")
    return settings


@dataclass(frozen=True)
class Table:
    """Named columns and rows of words and numbers.

    >>> print(Table("Squares", ("n", "square"), ((2, 4), (100, 10_000))).text())
      n  square
      2       4
    100  10,000
    """

    title: str
    """Title, in a few words."""
    columns: tuple[str, ...]
    """A name for each column."""
    rows: tuple[tuple[Cell, ...], ...]
    """One cell for each column; None leaves it empty."""

    def __post_init__(self) -> None:
        check_fields(self)
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ArgumentError(f"rows holds {row} of {len(row)} cells; the table has {len(self.columns)} columns.")

    def lines(self) -> list[list[str]]:
        """Return the cells as formatted text, the names of the columns first."""
        return [list(self.columns), *([number(cell) for cell in row] for row in self.rows)]

    def markdown(self) -> str:
        """Return the table in Markdown."""
        head, *rows = ("| " + " | ".join(cells) + " |" for cells in self.lines())
        return "\n".join([head, "|" + "---|" * len(self.columns), *rows])

    def text(self) -> str:
        """Return the table for a terminal: words left-aligned, numbers right-aligned."""
        lines = self.lines()
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        words = [
            all(isinstance(row[place], str) or row[place] is None for row in self.rows) for place in range(len(widths))
        ]
        return "\n".join(
            "  ".join(
                cell.ljust(width) if word else cell.rjust(width)
                for cell, width, word in zip(line, widths, words, strict=True)
            ).rstrip()
            for line in lines
        )


def number(cell: Cell) -> str:
    """Format a cell: four significant digits, thousands separators in integers, empty for None.

    >>> [number(cell) for cell in (0.0123456, 12.3456, 65536, "words", None)]
    ['0.01235', '12.35', '65,536', 'words', '']
    """
    if cell is None:
        return ""
    if isinstance(cell, str):
        return cell
    if isinstance(cell, int):
        return f"{cell:,}"
    if not math.isfinite(cell):
        return str(cell)
    return f"{cell:,.0f}" if abs(cell) >= 10_000 else f"{cell:.4g}"


def mean(values: Sequence[float]) -> float:
    """Return the mean."""
    return sum(values) / len(values)


def deviation(values: Sequence[float]) -> float:
    """Return the standard deviation over seeds (divided by one less than their number); 0 of a single value."""
    middle = mean(values)
    return math.sqrt(sum((value - middle) ** 2 for value in values) / max(1, len(values) - 1))


@dataclass(frozen=True)
class Study:
    """The result of a study. In a notebook it is shown as its picture."""

    name: str
    """The name of the study, as on the command line."""
    question: str
    """The question, in one sentence."""
    settings: Mapping[str, Any]
    """The settings, as plain values."""
    tables: tuple[Table, ...]
    """The tables of figures."""
    reading: tuple[str, ...]
    """The findings, in short sentences generated from the figures."""
    data: Mapping[str, Any]
    """The data of the picture, as plain values."""
    picture: Callable[[Mapping[str, Any]], Figure] = field(repr=False, compare=False)
    """The function that draws `data`."""

    def figure(self) -> Figure:
        """Draw the picture, a matplotlib `Figure`. Raises `MissingExtraError` without matplotlib."""
        return self.picture(self.data)

    def _repr_png_(self) -> bytes:
        from io import BytesIO

        stream = BytesIO()
        self.figure().savefig(stream, format="png", dpi=120)
        return stream.getvalue()

    def markdown(self) -> str:
        """Return the question, the table and the reading as Markdown."""
        reading = "\n".join(f"- {sentence}" for sentence in self.reading)
        options = ", ".join(f"{name} {value}" for name, value in self.settings.items() if value is not None)
        tables = "\n\n".join(f"{table.title}:\n\n{table.markdown()}" for table in self.tables)
        picture = f"![{self.name}]({self.stem}.png)"
        return f"# {self.name}\n\n{self.question}\n\n{tables}\n\n{reading}\n\n{picture}\n\nSettings: {options}.\n"

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values, from which the study can be restored."""
        values = {entry.name: getattr(self, entry.name) for entry in dataclasses.fields(self)}
        del values["picture"]
        return {**values, "tables": [dataclasses.asdict(table) for table in self.tables]}

    @property
    def stem(self) -> str:
        """The name of its files, without a suffix."""
        return self.name.replace("-", "_")

    def save(self, folder: str | Path) -> tuple[Path, ...]:
        """Write `NAME.json`, `.png`, `.svg` and `.md` into a folder, created if necessary; return their paths."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps(self.to_dict(), allow_nan=False)
        paths = tuple(folder / f"{self.stem}.{ending}" for ending in ("json", "png", "svg", "md"))
        paths[0].write_text(text + "\n", encoding="utf-8")
        figure = self.figure()
        figure.savefig(paths[1], dpi=160)
        from matplotlib import rc_context

        with rc_context({"svg.hashsalt": self.name}):  # makes the ids in the SVG reproducible
            figure.savefig(paths[2], metadata={"Date": None})
        paths[3].write_text(self.markdown(), encoding="utf-8")
        return paths


def from_dict(values: Mapping[str, Any], picture: Callable[[Mapping[str, Any]], Figure]) -> Study:
    """Restore a study from what `to_dict` returned."""
    tables = tuple(
        Table(one["title"], tuple(one["columns"]), tuple(tuple(row) for row in one["rows"])) for one in values["tables"]
    )
    rest = {name: values[name] for name in ("name", "question", "settings", "data")}
    return Study(**rest, tables=tables, reading=tuple(values["reading"]), picture=picture)
