"""The report of a run and of an evaluation: text, JSON and page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from regard.cli import main
from regard.cli._pace import Pace
from regard.cli._sections import sections
from regard.tasks import Report, Translation, TranslationSettings
from regard.tasks._report import Bin, LabelRow, Mistake
from regard.training import Budget, Started, Stepped, TrainingSettings

from ..tasks.small import LABELLED


def table(path: Path, examples: Any) -> Path:
    """Write labelled texts."""
    path.write_text("text,label\n" + "".join(f"{one.text},{one.labels[0]}\n" for one in examples), encoding="utf-8")
    return path


def test_a_run_without_a_transformer_has_a_report_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """--only baseline trains in no time; train and evaluate write text, JSON and page, with the same figures."""
    train, test = table(tmp_path / "train.csv", LABELLED[:200]), table(tmp_path / "test.csv", LABELLED[200:])
    out = tmp_path / "run"
    command = ["train", "sentiment", "--train", str(train), "--test", str(test), "--out", str(out)]
    assert main([*command, "--only", "baseline"]) == 0
    said = capsys.readouterr().out
    assert "precision  recall" in said
    assert "are in the training data too" in said
    assert main(["evaluate", str(out), str(test)]) == 0
    assert "precision  recall" in capsys.readouterr().out
    first = json.loads((out / "evaluation.json").read_text())
    again = json.loads((out / "evaluations" / "test.csv" / "evaluation.json").read_text())
    assert {**first, "data": ""} == again
    for folder in (out, out / "evaluations" / "test.csv"):
        assert "<h2>Labels</h2>" in (folder / "report.html").read_text("utf-8")
        assert "are in the training data too" in (folder / "report.txt").read_text("utf-8")
    assert main(["evaluate", str(out), str(test), "--out", str(tmp_path / "elsewhere"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["report"]["labels"][0]["support"] > 0
    assert (tmp_path / "elsewhere" / "report.html").exists()


def test_a_text_of_many_errors_is_written_once() -> None:
    """Errors in one text, one after another, repeat their labels and not the text."""
    texts = ["a long text", "a long text", "another", "a long text"]
    page = "".join(sections(Report(mistakes=tuple(Mistake(text, "x", "y", 0.9) for text in texts))))
    assert page.count("a long text") == 2
    assert page.count("the same text") == 1
    assert page.count("90%") == 4


def test_the_page_escapes_what_it_shows() -> None:
    """Texts and labels are data: no tag in them becomes one of the page; many labels are listed, not tabled."""
    evil = "<script>alert(1)</script>"
    report = Report(
        (LabelRow(evil, 1.0, 0.5, 0.66, 2, 1),), ((evil, "b", 3), ("b", "b", 4)), "texts",
        (Mistake(evil, "b", evil, 0.9),), (Bin(0.85, 0.5, 4),), 0.35, (evil,),
    )  # fmt: skip
    page = "".join(sections(report))
    assert "<script" not in page
    assert page.count("&lt;script&gt;") >= 5
    assert "85% sure, 50% right, of 4" in page
    many = Report(confusion=tuple((f"label {number}", "other", 1) for number in range(30)))
    assert "<th>times</th>" in "".join(sections(many))


def test_the_budget_in_epochs_is_said_after_the_first_steps(capsys: pytest.CaptureFixture[str]) -> None:
    """Sequence to sequence: epochs that the minutes hold, or minutes that the epochs take, once."""
    for budget, wanted in (
        (Budget(epochs=None, minutes=2), "2 minutes hold about 1.2 epochs, of 1:40 each"),
        (Budget(epochs=3), "3 epochs take about 5:00"),
        (Budget(epochs=None, steps=9), "an epoch takes about 1:40"),
    ):
        pace = Pace(Translation(TranslationSettings(training=TrainingSettings(budget=budget))))
        pace(Started(0, None, 50, 10, 10, 1))
        for step in range(1, 10):
            pace(Stepped(step, step / 50, 1.0, 1.0, 1e-3, 10, 5.0 + 2.0 * step, 5.0, 0.0))
        said = capsys.readouterr().err
        assert said.count("At this speed") == 1
        assert wanted in said
        assert "Elsewhere 3 epochs" in said
