"""What predict and evaluate make of files: their columns, sentences, texts of several lines, mistakes."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from regard.cli import main

from ..tasks.small import LABELLED
from .test_formats import SMALL, Write, columns, table


def trained(folder: Path, task: str, write: Write, *options: str) -> str:
    """Train a small task and return its folder."""
    source, run = write(folder), str(folder / "run")
    assert main(["train", task, "--train", *source, "--out", run, "--epochs", "4", *options, *SMALL]) == 0
    return run


@pytest.fixture(scope="module")
def ner(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A tagger that learnt from columns."""
    return trained(tmp_path_factory.mktemp("ner"), "ner", lambda d: columns(d / "a.conll", "{w}\t{t}"), "--no-crf")


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A classifier that learnt from a CSV with a header."""
    rows = [{"text": one.text, "label": one.labels[0]} for one in LABELLED[:120]]
    return trained(tmp_path_factory.mktemp("texts"), "sentiment", lambda d: table(d / "a.csv", rows))


def predicted(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """Return what predict prints."""
    capsys.readouterr()
    assert main(["predict", *words]) == 0
    return capsys.readouterr().out


COLUMNS = {
    "words alone": ("dr\nada\n\n\nsaw\n#1\n", 4, "tag"),
    "a document mark and a comment": ("-DOCSTART- O\n\n# id 1\ndr O\nada O\n\nsaw O\n", 2, "tag"),
    "ranges": ("1\tdr\tO\n2-3\tadax\t_\n2\tada\tO\n3\tx\tO\n\n1\tsaw\tO\n", 3, "tag"),
    "features": ("1\tdr\tner=O|a=b\n2\tada\tner=S-person\n\n1\tsaw\ta=c\n", 3, "feature"),
    "names, no tags": ("nr;word;pos\n1;dr;NN\n2;ada;NN\n\n1;saw;VB\n", 3, "tag"),
    "a tag without a word": ("dr\tO\n\tO\nada\tO\n\nsaw\tO\n", 2, "tag"),
}


@pytest.mark.parametrize("name", COLUMNS)
def test_lines_of_columns_stay_where_they_are(
    name: str, ner: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every line comes back in its place: marks and comments as they were, words with a tag and their characters."""
    text, _, kind = COLUMNS[name]
    path = tmp_path / "in.conll"
    path.write_text(text)
    before, after = text.splitlines(), predicted(capsys, ner, "--file", str(path)).splitlines()
    assert len(after) == len(before)
    for old, new in zip(before, after, strict=True):
        first = old.replace(";", "\t").replace(" ", "\t").split("\t")
        assert new.replace(";", "\t").replace(" ", "\t").split("\t")[: len(first) - 1] == first[:-1]
    line = next(one for one in after if "ada" in one and "adax" not in one)
    start = 3
    assert (
        (f"start_char={start}|end_char={start + 3}" in line)
        if kind == "feature"
        else (line.replace(";", "\t").replace(" ", "\t").split("\t")[-3:-1] == [str(start), str(start + 3)])
    )


def test_entities_are_places_in_the_text(ner: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Texts come back with their rows and the characters of each entity; a text of several lines is one."""
    text = 'dr  ada,\nwent to\t"oslo".'
    (tmp_path / "a.jsonl").write_text(json.dumps({"id": 7, "text": text}) + '\n{"id": 8, "text": ""}\n')
    first, second = map(json.loads, predicted(capsys, ner, "--file", str(tmp_path / "a.jsonl")).splitlines())
    assert (first["id"], first["text"], second) == (7, text, {"id": 8, "text": "", "entities": []})
    assert [text[one["start"] : one["end"]] for one in first["entities"]] == [one["text"] for one in first["entities"]]
    file = str(tmp_path / "doc.txt")
    Path(file).write_text(text)
    for words, count in (([file], 1), (["--file", file], 2), (["--whole", "True", "--file", file], 1)):
        assert len(predicted(capsys, ner, "--json", *words).splitlines()) == count
    assert main(["predict", ner, text]) == 0
    assert "text is cut into words as the training data was" in capsys.readouterr().err


def test_rows_of_a_table(texts: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A header is no input, a cell of several lines is one text, an empty one has no confident answer."""
    (tmp_path / "a.csv").write_text('id,text,label\n1,"the oslo\nwas fine",?\n2,,?\n')
    out = predicted(capsys, texts, str(tmp_path / "a.csv"))
    assert out.startswith('id,text,label,confidence\n1,"the oslo\nwas fine",')
    assert out.endswith("\n2,,,0.0000\n")
    (tmp_path / "b.tsv").write_text("title\tbody\nthe oslo\twas fine\n")
    joined = predicted(capsys, texts, f"{tmp_path / 'b.tsv'}:text=title+body")
    assert joined.splitlines()[1].split("\t")[:2] == ["the oslo", "was fine"]
    assert joined.splitlines()[1].split("\t")[2:] == out.splitlines()[2].split(",")[-2:]
    predicted(capsys, texts, str(tmp_path / "a.csv"), f"{tmp_path / 'b.tsv'}:text=body", "--out", str(tmp_path / "out"))
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.csv", "b.tsv"]


def test_standard_input(
    ner: str, texts: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its format is told by its contents; evaluate reads it too."""
    for run, given, expected in (
        (texts, "text,n\nthe oslo was fine,1\n", "text,n,label,confidence"),
        (texts, '{"text": "the oslo was fine"}\n', '{"text": "the oslo was fine", "label"'),
        (ner, "dr O\nada O\n", "dr O 0 2"),
        (ner, '{"tokens": ["dr", "ada"]}\n', '{"tokens": ["dr", "ada"], "tags": ['),
    ):
        monkeypatch.setattr("sys.stdin", io.StringIO(given))
        assert predicted(capsys, run).startswith(expected)
    monkeypatch.setattr("sys.stdin", io.StringIO("text,label\nthe oslo was fine,positive\n"))
    assert main(["evaluate", texts, "-", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["count"] == 1


def test_folders_of_texts(texts: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each file is a text; the table that is written names them, and evaluate reads it."""
    for label in ("positive", "negative"):
        (tmp_path / "docs" / label).mkdir(parents=True)
        (tmp_path / "docs" / label / "1.txt").write_text(f"the oslo\n\nwas {'fine' if label == 'positive' else 'bad'}")
    assert predicted(capsys, texts, str(tmp_path / "docs"), "--out", str(tmp_path / "x.csv")) == ""
    rows = (tmp_path / "x.csv").read_text().splitlines()
    assert [row.split(",")[0] for row in rows] == ["path", "docs/negative/1.txt", "docs/positive/1.txt"]
    assert main(["evaluate", texts, str(tmp_path / "x.csv"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["figures"]["accuracy"] == 1


def test_what_is_refused(ner: str, texts: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Unknown labels, columns that are not there, files that are not there, an output that is the input."""
    (tmp_path / "strange.conll").write_text("dr O\nada B-drug\n")
    (tmp_path / "labels.csv").write_text("text,label\nthe oslo was fine,5\nthe oslo was bad,negative\n")
    (tmp_path / "names.csv").write_text("review,stars\nthe oslo was fine,positive\nit was bad,negative\n")
    (tmp_path / "wide.csv").write_text("text,label\nthe oslo, was fine,positive\n,\n")
    strange, labels, names, wide = (str(tmp_path / x) for x in ("strange.conll", "labels.csv", "names.csv", "wide.csv"))
    for words, expected in (
        (["evaluate", ner, strange], r"the model has not learnt 'drug' (1); it knows person, place."),
        (["evaluate", texts, labels], "the model has not learnt '5' (1); it knows negative, positive."),
        (["evaluate", texts, names], "it has no text or label"),
        (["predict", texts, names], "--text review"),
        (["predict", texts, "--file", wide], "--skip-bad-rows"),
        (["predict", texts, "nowhere.csv"], "There is no file nowhere.csv."),
        (["predict", texts, labels, "--out", labels], "is the input itself"),
        (["evaluate", texts, f"{names}:txt=review"], "there is no option 'txt'. Did you mean 'text'?"),
    ):
        capsys.readouterr()
        assert main(words) == 2
        assert expected in capsys.readouterr().err
    assert main(["evaluate", ner, strange, "--as-told"]) == 0
    assert main(["evaluate", texts, names, "--text", "review", "--label", "stars"]) == 0
    assert main(["evaluate", texts, f"{names}:text=review,label=stars"]) == 0
    assert predicted(capsys, texts, "--file", wide, "--skip-bad-rows") == "text,label,confidence\n,,0.0000\n"


def test_several_files_for_each_part(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Files with columns of their own are learnt as one and tested on others; one has no header, and labels first."""
    rows = [(one.text, one.labels[0]) for one in LABELLED[:90]]
    (tmp_path / "a.csv").write_text("text,label\n" + "".join(f"{text},{label}\n" for text, label in rows[:30]))
    (tmp_path / "b.csv").write_text("stars;review\n" + "".join(f"{label};{text}\n" for text, label in rows[30:60]))
    (tmp_path / "c.tsv").write_text("".join(f"{label}\t{text}\n" for text, label in rows[60:]))
    other = f"{tmp_path / 'b.csv'}:text=review,label=stars"
    parts = ["--train", str(tmp_path / "a.csv"), other, str(tmp_path / "c.tsv"), "--dev", other, "--test", other]
    run = tmp_path / "run"
    assert main(["train", "sentiment", *parts, "--out", str(run), "--steps", "2", *SMALL]) == 0
    said = json.loads((run / "read.json").read_text())
    assert (said["training"]["count"], said["test"]["count"]) == (90, 30)
    assert said["training"]["labels"].keys() == {"positive", "negative"}
    assert "column 0 was read as the label and 1 as the text" in capsys.readouterr().err


def test_what_an_option_takes_and_what_a_task_is_called(capsys: pytest.CaptureFixture[str]) -> None:
    """A wrong number of values names how many; names of other libraries lead to the task."""
    for words, expected in (
        (
            ["image_classification", "--train", "x", "--out", "y", "--size", "64"],
            "It takes 2 values, each a whole number",
        ),
        (["text_classification"], "That is `regard train sentiment` here."),
        (["token-classification"], "That is `regard train ner` here."),
        (["summarisation"], "Did you mean 'summarization'?"),
    ):
        assert main(["train", *words]) == 2
        assert expected in capsys.readouterr().err
