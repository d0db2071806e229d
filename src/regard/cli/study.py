"""`regard study NAME`: an experiment about attention, with a table, a picture and findings."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from ..errors import ArgumentError
from ..studies import STUDIES, Progress, Size

# Seconds between plain lines.
PAUSE = 5.0


@dataclass(frozen=True)
class StudyCommand:
    """Prints a table and the findings; writes the picture (PNG, SVG), the table (Markdown) and all figures (JSON).

    Exit status: 0 done, 2 wrong arguments or input, 130 stopped by Ctrl-C.
    """

    quick: bool = False
    """Under a minute on two cores; the default."""
    full: bool = False
    """More seeds, sizes and steps."""
    out: Path = Path("build/studies")
    """Folder for the files."""
    json: bool = False
    """Print one JSON object at the end, for scripts."""

    def run(self) -> int:
        """Run the study, save it, print the findings."""
        if self.quick and self.full:
            raise ArgumentError("--quick and --full were both given; give one.")
        name = type(self).__name__.removeprefix("Study_").replace("_", "-")
        entry = STUDIES[name]
        values = {one.name: getattr(self, one.name) for one in dataclasses.fields(entry.settings)}
        settings = entry.settings(**{**values, "size": "full" if self.full else "quick"})
        start = time.monotonic()
        with shown_progress() as progress:
            study = entry.run(settings, progress=progress)
        paths = study.save(self.out)
        if self.json:
            print(json.dumps({**study.to_dict(), "files": [str(path) for path in paths]}, allow_nan=False))
            return 0
        print(study.question)
        for table in study.tables:
            print(f"\n{table.title}:\n{table.text()}")
        print()
        print("\n".join(f"- {sentence}" for sentence in study.reading))
        names = ", ".join(path.name for path in paths)
        print(f"\nSaved in {self.out}: {names} ({time.monotonic() - start:.0f} s).")
        return 0


@contextmanager
def shown_progress() -> Iterator[Progress]:
    """Show a study's progress on standard error: a bar in a terminal, a line every few seconds elsewhere."""
    if not sys.stderr.isatty() or importlib.util.find_spec("rich") is None:
        yield _Lines()
        return
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (BarColumn(), TimeElapsedColumn(), TimeRemainingColumn(), TextColumn("{task.description}", markup=False))
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=1.0)
        yield lambda share, text: bar.update(task, completed=share, description=text)


class _Lines:
    """Prints a line every few seconds."""

    def __init__(self) -> None:
        self._last = 0.0

    def __call__(self, share: float, text: str) -> None:
        """Print the progress, if the last line is old enough."""
        if time.monotonic() - self._last >= PAUSE:
            self._last = time.monotonic()
            print(f"{share:4.0%}  {text}", file=sys.stderr, flush=True)


def _command(name: str) -> type[StudyCommand]:
    """Return the command of one study: `StudyCommand` with the study's own settings."""
    made = dataclasses.make_dataclass(
        f"Study_{name.replace('-', '_')}",
        [("size", Annotated[Size, tyro.conf.Suppress], dataclasses.field(default="quick"))],
        bases=(StudyCommand, STUDIES[name].settings),
        frozen=True,
    )
    made.__doc__ = f"{STUDIES[name].text[0].upper()}{STUDIES[name].text[1:]}.\n\n{StudyCommand.__doc__}"
    command: type[StudyCommand] = made
    return command


STUDY = {name: _command(name) for name in STUDIES}
"""The command of each study."""
