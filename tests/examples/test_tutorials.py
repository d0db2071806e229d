"""Each tutorial runs as a script, with every claim that it checks, and becomes a valid notebook."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import jupytext
import nbformat
import pytest

FOLDER = Path(__file__).parents[2] / "examples"
TUTORIALS = sorted(FOLDER.glob("[0-9][0-9]_*.py"))
tutorials = pytest.mark.parametrize("tutorial", TUTORIALS, ids=lambda path: path.stem)


def test_all_tutorials_are_found() -> None:
    """There are ten, numbered without a gap, and the list of them names each."""
    assert [path.name[:2] for path in TUTORIALS] == [f"{number:02}" for number in range(1, 11)]
    listed = re.findall(r"\]\((\d\d_\w+\.py)\)", (FOLDER / "README.md").read_text("utf-8"))
    assert listed == [path.name for path in TUTORIALS]


@tutorials
def test_tutorial_runs(tutorial: Path, tmp_path: Path) -> None:
    """As a script, on the small budget: no check in it fails, nothing warns, its pictures are there."""
    settings = {"REGARD_TUTORIAL_BUDGET": "small", "MPLBACKEND": "Agg", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-W", "error", str(tutorial)], cwd=tmp_path, env={**os.environ, **settings},
        capture_output=True, text=True, check=False, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, f"{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    named = set(re.findall(rf'"({tutorial.name[:2]}_\w+)"\)', tutorial.read_text("utf-8")))
    made = {picture.stem for picture in (tmp_path / "runs" / "tutorials").glob("*.png")}
    assert named
    assert named == made


@tutorials
def test_tutorial_becomes_a_notebook(tutorial: Path) -> None:
    """Jupytext reads the cells, the notebook is valid, its code is Python, and it has exercises with answers."""
    notebook = jupytext.read(tutorial)
    nbformat.validate(notebook)
    code = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    text = [cell.source for cell in notebook.cells if cell.cell_type == "markdown"]
    for source in code:
        ast.parse(source)
    assert text[0].startswith(f"# {int(tutorial.name[:2])}. ")
    assert "arXiv:" in text[0]
    assert sum("Change this and see" in cell for cell in text) >= 2
    assert any("assert" in source for source in code)
