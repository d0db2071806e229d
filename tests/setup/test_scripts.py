"""The shell scripts of the project: each parses, so that a slip in a line near the end shows before it is reached."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PLACES = (".ci", "tools", "tests", "web")


def _scripts() -> Iterator[Path]:
    for path in sorted(path for place in PLACES for path in (ROOT / place).rglob("*")):
        if path.is_file() and "node_modules" not in path.parts:
            with path.open("rb") as file:
                first = file.readline(80)
            if first.startswith(b"#!") and first.rstrip().endswith(b"sh"):
                yield path


@pytest.mark.parametrize("script", list(_scripts()), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_parses(script: Path) -> None:
    done = subprocess.run(["bash", "-n", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_they_are_found() -> None:
    assert {ROOT / ".ci/run", ROOT / "web/check"} <= set(_scripts())
