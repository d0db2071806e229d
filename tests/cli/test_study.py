"""`regard study`: what it prints and writes, for each study."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from regard.cli import main
from regard.studies import STUDIES, load

TINY = {
    "scaling": ["--widths", "4", "8", "--keys", "8", "--calls", "1", "--steps", "1", "--embed-dim", "8"],
    "regularization": ["--rates", "0", "0.2", "--runs", "1", "--steps", "1", "--embed-dim", "8"],
    "positions": ["--length", "4", "--steps", "1", "--embed-dim", "8"],
    "linear": ["--shortest", "16", "--longest", "32", "--steps", "1", "--head-dim", "8", "--embed-dim", "8"],
    "heads": ["--length", "16", "--windows", "2", "--steps", "1", "--embed-dim", "8"],
    "long-range": ["--lengths", "8", "30", "--examples", "50", "--steps", "1", "--embed-dim", "8", "--tokens", "256"],
}
# Studies that train on code have a setting for the number of files.
FILES = {name: [] if name in ("linear", "long-range") else ["--files", "8"] for name in TINY}


@pytest.mark.parametrize("name", TINY)
def test_contract(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`--json` prints one object with table, reading, data and the files that were written."""
    out = tmp_path / "out"
    given = ["--quick", *FILES[name], *TINY[name], "--seed", "3", "--out", str(out), "--json"]
    assert main(["study", name, *given]) == 0
    values = json.loads(capsys.readouterr().out)
    assert values["name"] == name
    assert (values["settings"]["seed"], values["settings"]["size"]) == (3, "quick")
    assert values["tables"][0]["rows"]
    assert all(isinstance(sentence, str) for sentence in values["reading"])
    assert [Path(path).suffix for path in values["files"]] == [".json", ".png", ".svg", ".md"]
    assert all(Path(path).stat().st_size > 0 for path in values["files"])
    saved = load(values["files"][0])
    assert saved.reading == tuple(values["reading"])


def test_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without `--json` the question, the tables, the findings and the paths of the files are printed."""
    assert main(["study", "scaling", "--files", "8", *TINY["scaling"], "--out", str(tmp_path)]) == 0
    text = capsys.readouterr().out
    study = load(tmp_path / "scaling.json")
    assert study.question in text
    assert all(sentence in text for sentence in study.reading)
    assert "scaling.svg" in text


def test_sizes(capsys: pytest.CaptureFixture[str]) -> None:
    """Either size may be given, not both; the help of each study offers exactly these two."""
    assert main(["study", "scaling", "--quick", "--full"]) == 2
    assert "give one" in capsys.readouterr().err
    for name in STUDIES:
        with pytest.raises(SystemExit):
            main(["study", name, "--help"])
        text = capsys.readouterr().out
        assert all(option in text for option in ("--quick", "--full", "--seed", "--out", "--json"))
        assert "--size" not in text
