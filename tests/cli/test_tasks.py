"""The commands that train and use tasks, called as by a user."""

from __future__ import annotations

import dataclasses
import html
import io
import json
import os
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import regard
from regard import corpora
from regard.cli import COMMANDS, main
from regard.cli._report import shown_answers
from regard.cli.demo import PLANS
from regard.cli.predict import describe, legend
from regard.cli.train import summary
from regard.corpora import TaggedWords
from regard.corpora._windows import DEDENT, INDENT, NEWLINE
from regard.tasks import TASKS, Evaluation, NamedEntities, NamedEntitySettings, Sentence, load
from regard.training import Budget, TrainingResult, TrainingSettings

from ..tasks.small import IMAGES, LABELLED, PAIRS, TAGGED

SMALL = ("--embed-dim", "32", "--num-heads", "2", "--num-layers", "1", "--dropout", "0", "--lr", "5e-3")


def conll(path: Path, count: int) -> Path:
    """Write tagged sentences in columns."""
    lines = ["\n".join(f"{w}\t{t}" for w, t in zip(one.words, one.tags, strict=True)) for one in TAGGED[:count]]
    path.write_text("\n\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def ner(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained task, made by the command."""
    folder = tmp_path_factory.mktemp("ner")
    data = conll(folder / "train.conll", 250)
    status = main(["train", "ner", "--train", str(data), "--out", str(folder / "run"), "--epochs", "25", *SMALL])
    assert status == 0
    return folder / "run"


def test_train_writes_everything(ner: Path) -> None:
    """A run's folder has the task, the log, the curves, and the figures beside the baseline's."""
    found = {path.name for path in ner.iterdir()}
    assert {"task.json", "model", "log.csv", "curves.png", "evaluation.json", "source.json", "checkpoints"} <= found
    figures = json.loads((ner / "evaluation.json").read_text())
    assert figures["data"] == "development"
    assert figures["figures"]["f1"] > 0.9
    assert figures["baseline"]["f1"] > 0


def test_predict(
    ner: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Texts are arguments, lines of a file or of standard input; answers are lines or JSON."""
    text = "dr ada went to oslo"
    assert main(["predict", str(ner), text]) == 0
    assert capsys.readouterr().out == "dr [ada]person went to [oslo]place\n"
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{text}\n{text}\n"))
    assert main(["predict", str(ner), "--json"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(lines) == 2
    found = lines[0]["entities"][0]
    assert found.items() >= {"label": "person", "start": 1, "stop": 2, "text": "ada", "start_char": 3}.items()
    assert text[found["start_char"] : found["end_char"]] == "ada"
    assert 0.5 < found["confidence"] <= 1
    (tmp_path / "in.txt").write_text(f"{text}\n")
    assert main(["predict", str(ner), "--file", str(tmp_path / "in.txt")]) == 0
    assert "[oslo]place" in capsys.readouterr().out
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    assert main(["predict", str(ner)]) == 2
    assert "nothing to predict" in capsys.readouterr().err


class Bytes:
    """A stand-in for standard input, as bytes."""

    def __init__(self, contents: bytes) -> None:
        self.buffer = io.BytesIO(contents)

    def isatty(self) -> bool:
        """Return False: not a terminal."""
        return False


def test_a_line_out_for_a_line_in(
    ner: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Only LF and CRLF end a line of a file and of standard input; a blank line has an answer, a BOM has none."""
    contents = "\ufeffdr ada\u2028went\n\nto\x0coslo\r\nand\x85saw\rred\n".encode()
    texts = ["dr ada\u2028went", "", "to\x0coslo", "and\x85saw\rred"]
    (tmp_path / "in.txt").write_bytes(contents)
    for given in (["--file", str(tmp_path / "in.txt")], []):
        monkeypatch.setattr("sys.stdin", Bytes(contents))
        assert main(["predict", str(ner), *given, "--json"]) == 0
        answers = [json.loads(line) for line in capsys.readouterr().out.removesuffix("\n").split("\n")]
        assert [answer["input"] for answer in answers] == texts
        monkeypatch.setattr("sys.stdin", Bytes(contents))
        assert main(["predict", str(ner), *given]) == 0
        lines = capsys.readouterr().out.removesuffix("\n").split("\n")
        assert len(lines) == 4
        assert lines[1] == ""


def test_what_predict_cannot_read(
    ner: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Invalid UTF-8 is reported with its line, in a file, on standard input and in an argument."""
    (tmp_path / "in.txt").write_bytes(b"dr ada\nM\xfcller\n")
    monkeypatch.setattr("sys.stdin", Bytes(b"dr ada\nM\xfcller\n"))
    for given, where in (
        (["--file", str(tmp_path / "in.txt")], "in.txt, line 2: byte 0xfc is not UTF-8"),
        ([], "standard input, line 2: byte 0xfc is not UTF-8"),
        (["dr ada", "M\udcfcller"], "Argument 2 cannot be read: byte 0xfc is not UTF-8"),
        (["--file", str(tmp_path / "none.txt")], "none.txt cannot be read: No such file"),
        (["dr ada", "--file", str(tmp_path / "in.txt")], "the inputs are one or the other"),
    ):
        assert main(["predict", str(ner), *given]) == 2
        assert where in capsys.readouterr().err


def test_answers_of_several_lines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A language model trains on one file; each answer is printed on one line, even if it contains line ends."""
    (tmp_path / "a.txt").write_text("a\nb\n" * 400)
    out = str(tmp_path / "run")
    command = ["train", "language_modeling", "--train", str(tmp_path / "a.txt"), "--out", out, "--steps", "30"]
    assert main([*command, "--context", "16", "--max-new-tokens", "12", *SMALL]) == 0
    capsys.readouterr()
    (tmp_path / "in.txt").write_text("a\n\nb\n")
    assert main(["predict", out, "--file", str(tmp_path / "in.txt")]) == 0
    lines = capsys.readouterr().out.removesuffix("\n").split("\n")
    assert len(lines) == 3
    assert any("\\n" in line for line in lines)
    assert main(["predict", out, "a"]) == 0
    assert "\n" in capsys.readouterr().out.removesuffix("\n")


def test_pictures_are_predicted_as_they_were_learnt(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Test pictures of another size, and a rotated one to predict, are converted to the form of the training data."""
    for number, (pixels, label) in enumerate(zip(IMAGES.pixels, IMAGES.labels, strict=True)):
        for part, size in (("train", (8, 8)), ("test", (16, 16))):
            if part == "train" or number < 20:
                (tmp_path / part / label).mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels[..., 0]).resize(size).save(tmp_path / part / label / f"{number}.png")
    out = str(tmp_path / "run")
    command = ["train", "image_classification", "--train", str(tmp_path / "train"), "--test", str(tmp_path / "test")]
    assert main([*command, "--out", out, "--epochs", "3", "--patch-size", "2", "--shift", "0", *SMALL]) == 0
    assert "read as" in capsys.readouterr().err
    lying = Image.open(tmp_path / "train" / "left" / "1.png").transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[0x0112] = 6
    lying.save(tmp_path / "lying.png", exif=exif)
    assert main(["predict", out, str(tmp_path / "train" / "left" / "1.png"), str(tmp_path / "lying.png")]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("left")
    assert first.split("  ")[1] == second.split("  ")[1]
    assert main(["evaluate", out, str(tmp_path / "test"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["count"] == 20
    (tmp_path / "list.txt").write_text(f"{tmp_path / 'lying.png'}\n\n")
    assert main(["predict", out, "--file", str(tmp_path / "list.txt")]) == 2
    assert "Line 2 of the inputs is blank" in capsys.readouterr().err


def test_predict_ends_in_the_page(ner: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """--page writes the attention of the first input, --open opens it; without a browser its path is printed."""
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", lambda address: not opened.append(address))
    page = tmp_path / "seen.html"
    assert main(["predict", str(ner), "Ada wrote this", "--page", str(page), "--open"]) == 0
    assert opened == [page.as_uri()]
    text = page.read_text("utf-8")
    assert '<main id="regard" data-host="page">' in text
    assert 'id="tokens/0"' in text


def test_watch(ner: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """The attention of a trained task's model on one text, as a table and as a picture."""
    picture = tmp_path / "a.png"
    assert main(["watch", str(ner), "dr ada went to oslo", "--out", str(picture)]) == 0
    out = capsys.readouterr().out
    assert out.startswith("1 of 1 attention calls of the task's model")
    assert "x 5 x 5" in out
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert main(["watch", str(ner), "dr ada", "--layers", "0", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["calls"]) == 1
    head = tmp_path / "head.svg"
    assert main(["watch", str(ner), "dr ada went to oslo", "--layer", "0", "--head", "1", "--out", str(head)]) == 0
    drawn = head.read_text("utf-8")
    assert all(f">{word}</text>" in drawn for word in (*"dr ada went to oslo".split(), "person", "place"))
    assert "head 1</text>" in drawn
    capsys.readouterr()
    for words, expected in (
        (["--out", "x.png", "--head", "2", "--layer", "0"], "--head is 2; there are 2, counted from 0."),
        (["--out", "x.png", "--layer", "4"], "There is no layer '4'. There are: encoder.layers.0.self_attention."),
        (["--head", "0"], "give --out head.png, or --open"),
        (["--head", "0", "--out", "x.regard"], "A recording (.regard) takes --layers."),
    ):
        assert main(["watch", str(ner), "dr ada", *words]) == 2
        assert expected in capsys.readouterr().err
    for words, expected in ((["a", "b"], "one text at a time"), (["a", "--layers", "7"], "no layer 7")):
        assert main(["watch", str(ner), *words]) == 2
        assert expected in capsys.readouterr().err


@pytest.mark.parametrize("keep", [None, "summary"])
def test_watch_records_a_task(ner: Path, keep: str | None, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """A task's attention is saved as .regard with tokens and labels, which `regard view` draws; --keep is honoured."""
    file, picture = tmp_path / "run.regard", tmp_path / "run.svg"
    kept = [] if keep is None else ["--keep", keep]
    assert main(["watch", str(ner), "dr ada went to oslo", "--out", str(file), *kept]) == 0
    found = regard.load(file)
    assert list(found.texts.tokens or ()) == "dr ada went to oslo".split()
    assert list(found.texts.labels or ()) == ["O", "B-person", "O", "O", "B-place"]
    assert bool(found[0].kept_cell) == (keep == "summary")
    assert main(["view", str(file), "--out", str(picture)]) == 0
    drawn = picture.read_text("utf-8")
    assert all(f">{word}</text>" in drawn for word in ("ada", "went", "person", "place"))
    capsys.readouterr()
    page = tmp_path / "run.html"
    assert main(["view", str(file), "--layer", "0", "--head", "1", "--out", str(page)]) == 0
    assert f"{page.as_uri()}#view=head&map=0&head=1" in capsys.readouterr().out


def test_evaluate(ner: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """The figures of new data are compared with the saved baseline, which gives the figures that training printed."""
    data = conll(tmp_path / "test.conll", 30)
    assert main(["evaluate", str(ner), str(data), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["count"] == 30
    assert found["baseline"]["f1"] > 0
    assert main(["evaluate", str(ner), str(data)]) == 0
    printed = capsys.readouterr()
    assert found["baseline_name"] in printed.out
    trained = json.loads((ner / "evaluation.json").read_text())
    held = tmp_path / "dev.conll"
    task = load(ner)
    examples = task.set_aside(TAGGED[:250])[1]
    held.write_text(
        "\n\n".join("\n".join(map("\t".join, zip(one.words, one.tags, strict=True))) for one in examples), "utf-8"
    )
    assert main(["evaluate", str(ner), str(held), "--json"]) == 0
    again = json.loads(capsys.readouterr().out)
    assert again["baseline"] == trained["baseline"]
    assert again["figures"] == trained["figures"]
    assert "Note" not in printed.err
    data.write_text("ada B-person\nsaw I-place\noslo I-place\n", encoding="utf-8")
    assert main(["evaluate", str(ner), str(data)]) == 0
    assert f"Note: {data}, line 2: 'I-place' goes on with no entity of its label;" in capsys.readouterr().err


def test_a_second_call_goes_on(ner: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The same command again ends at once; with other settings it is refused, naming the difference."""
    data = ner.parent / "train.conll"
    command = ["train", "ner", "--train", str(data), "--out", str(ner), "--epochs", "25"]
    assert main([*command, *SMALL]) == 0
    assert "goes on after step" in capsys.readouterr().err
    assert main([*command, *SMALL[:-1], "1e-3"]) == 2
    assert "lr was 0.005 and is now 0.001" in capsys.readouterr().err
    assert main([*command, "--embed-dim", "64", *SMALL[2:]]) == 2
    said = capsys.readouterr().err
    assert "holds a run of another model: embed_dim was 32 and is now 64. Go on" in said
    assert "--out FOLDER" in said


def test_the_figure_that_is_watched(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """--metric selects the figure, whose name is in the progress, in task.json and in the evaluation."""
    data, out = conll(tmp_path / "train.conll", 120), tmp_path / "run"
    command = ["train", "ner", "--train", str(data), "--out", str(out), "--epochs", "2", *SMALL]
    assert main([*command, "--metric", "token_accuracy"]) == 0
    captured = capsys.readouterr()
    assert "development token_accuracy" in captured.err
    assert "development f1" not in captured.err
    assert json.loads((out / "evaluation.json").read_text())["headline"] == "token_accuracy"
    assert f'predict {out} "..." --open' in captured.out


def test_what_helps_where_the_baseline_is_better() -> None:
    """The advice names too few steps within the minutes and how to resume; otherwise data, epochs and size."""
    task = NamedEntities(NamedEntitySettings(training=TrainingSettings(budget=Budget(epochs=None, minutes=0.5))))
    result = TrainingResult(11, 30.2, "budget", 11, {"f1": 0.06}, 0.036, True)
    task.training_ = result
    evaluation = Evaluation("ner", 20, "f1", "max", {"f1": 0.06}, {"f1": 0.58}, "most frequent tag")
    text = summary(task, evaluation, Path("my run"))
    assert "only 11 steps (0.036 epochs) fitted into 0.5 minutes; the same command with more, --minutes 1 say" in text
    assert "predict 'my run' \"...\" --open" in text
    assert "use more" in summary(task, evaluation, Path("x"), "use more.")
    task.training_ = dataclasses.replace(result, seconds=12.0)
    text = summary(task, evaluation, Path("x"))
    assert "more data, epochs or another size" in text
    assert "--epochs N" not in text
    task = NamedEntities(NamedEntitySettings(training=TrainingSettings(budget=Budget(epochs=20, minutes=0.5))))
    task.training_ = dataclasses.replace(result, seconds=12.0, epochs=20.0)
    assert "The 20 epochs took 0.2 of the 0.5 minutes; more of them may do better" in summary(
        task, evaluation, Path("x")
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["train", "ner", "--train", "nowhere.conll", "--out", "x"], "There is no file or folder nowhere.conll"),
        (["predict", "nowhere", "text"], "task.json is missing"),
        (["evaluate", "nowhere", "x"], "task.json is missing"),
        (["trian"], "Did you mean 'train'?"),
    ],
)
def test_mistakes(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A mistake is one sentence and status 2."""
    assert main(words) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error


def test_bad_rows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An invalid row is an error with file, line and rule; with --skip-bad-rows it is counted and named."""
    rows = [json.dumps({"text": one.text, "label": one.labels[0]}) for one in LABELLED[:120]]
    path = tmp_path / "train.jsonl"
    path.write_text("\n".join([rows[0], "{bad", *rows[1:]]))
    command = ["train", "sentiment", "--train", str(path), "--out", str(tmp_path / "run"), "--epochs", "1", *SMALL]
    assert main(command) == 2
    assert f"{path}, line 2: this is no JSON" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
    assert main([*command, "--skip-bad-rows"]) == 0
    assert "1 text left out" in capsys.readouterr().err


def test_help(capsys: pytest.CaptureFixture[str]) -> None:
    """Every command has help, and the list of commands names each."""
    assert main([]) == 0
    listed = capsys.readouterr().out
    for name in COMMANDS:
        assert f"regard {name}" in listed
        with pytest.raises(SystemExit) as ended:
            main([name, "--help"])
        assert ended.value.code == 0
        assert "usage: regard" in capsys.readouterr().out
    for name in TASKS:
        with pytest.raises(SystemExit):
            main(["train", name, "--help"])
        text = capsys.readouterr().out
        assert "--tokens-per-step" in text
        assert "--skip-bad-rows" in text


def test_pairs_in_two_files_and_a_folder_of_pictures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Translation reads two files line by line; pictures come in a folder for each label, and are predicted by name."""
    (tmp_path / "a.txt").write_text("\n".join(one.source for one in PAIRS[:200]))
    (tmp_path / "b.txt").write_text("\n".join(one.target for one in PAIRS[:200]))
    files = [str(tmp_path / "a.txt"), str(tmp_path / "b.txt")]
    out = str(tmp_path / "pairs")
    assert main(["train", "translation", "--train", *files, "--out", out, "--epochs", "1", "--beams", "1", *SMALL]) == 0
    for number, (pixels, label) in enumerate(zip(IMAGES.pixels, IMAGES.labels, strict=True)):
        (tmp_path / "pictures" / label).mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels[..., 0]).save(tmp_path / "pictures" / label / f"{number}.png")
    out = str(tmp_path / "images")
    command = ["train", "image_classification", "--train", str(tmp_path / "pictures"), "--out", out, "--epochs", "3"]
    assert main([*command, "--patch-size", "2", "--shift", "0", *SMALL]) == 0
    capsys.readouterr()
    assert main(["predict", out, str(tmp_path / "pictures" / "left" / "1.png")]) == 0
    assert capsys.readouterr().out.startswith("left")
    shown = str(tmp_path / "a.png")
    assert main(["watch", out, "--image", str(tmp_path / "pictures" / "left" / "1.png"), "--out", shown]) == 0
    assert capsys.readouterr().out.startswith("1 of 1 attention calls of the task's model")
    drawn = tmp_path / "pairs.svg"
    assert main(["watch", str(tmp_path / "pairs"), PAIRS[0].source, "--out", str(drawn)]) == 0
    assert "cross" in capsys.readouterr().out
    assert ">decoder.layers.0.cross_attention</text>" in drawn.read_text("utf-8")
    assert ">encoder.layers.0.self_attention</text>" in drawn.read_text("utf-8")
    assert main(["watch", str(tmp_path / "pairs"), PAIRS[0].source, "--layer", "0", "--out", str(drawn)]) == 2
    assert "--layer 0 fits several" in capsys.readouterr().err
    assert main(["watch", str(tmp_path / "pairs"), PAIRS[0].source, "--layer", "cross", "--out", str(drawn)]) == 0


def test_what_was_chosen_for_the_data_of_a_demo_is_for_that_data() -> None:
    """The user's own data is trained with the task's settings; only what keeps a demo short remains."""
    for plan in PLANS.values():
        shown, own = plan.settings(1.0), plan.settings(1.0, own_data=True)
        for name in plan.fit:
            assert getattr(own, name) == getattr(plan.task.Settings(), name) != getattr(shown, name)
        for name, value in plan.pace.items():
            assert getattr(own, name) == getattr(shown, name) == value


def test_a_demo_on_own_data_has_a_folder_of_its_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each file, and each version of it, has its own folder, so that runs do not share checkpoints."""
    monkeypatch.chdir(tmp_path)
    for count in (200, 210):
        data = conll(tmp_path / "my words.conll", count)
        assert main(["demo", "--minutes", "0.01", "--data", data.name]) == 0
    folders = sorted(path.name for path in (tmp_path / "build" / "demo").iterdir())
    assert len(folders) == 2
    assert all(name.startswith("ner-my-words-") for name in folders)
    assert main(["demo", "--minutes", "0.01", "--data", data.name]) == 0
    assert "goes on after step" in capsys.readouterr().err
    assert len(list((tmp_path / "build" / "demo").iterdir())) == 2


def test_signs_of_code_are_explained() -> None:
    """The explanation names the special signs in windows of code."""
    task, window = NamedEntities(), TaggedWords(("x", NEWLINE), ("B-variable", "O"))
    assert all(sign in legend(task, [window], 1) for sign in (NEWLINE, INDENT, DEDENT))


def test_bench(capsys: pytest.CaptureFixture[str]) -> None:
    """`regard bench` prints ratios to torch's times."""
    assert main(["bench", "--lengths", "32", "--repeats", "1", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["results"]
    assert len(rows) == 8
    assert all(row["ratio"] > 0 and row["backend"] for row in rows)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stopped(tmp_path: Path, number: signal.Signals) -> None:
    """Ctrl-C and SIGTERM end the command with their status, and the same command resumes to the end."""
    data = conll(tmp_path / "train.conll", 250)
    out = tmp_path / "run"
    command = [sys.executable, "-m", "regard", "train", "ner", "--train", str(data), "--out", str(out), *SMALL]
    process = subprocess.Popen([*command, "--epochs", "400"], stderr=subprocess.PIPE, text=True, env=os.environ)
    deadline = time.monotonic() + 300
    while not list(out.glob("checkpoints/step-*")) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(number)
    _, errors = process.communicate()
    assert process.returncode == 128 + number, errors
    assert "run the same command to go on" in errors
    assert not (out / "task.json").exists()
    done = subprocess.run([*command, "--epochs", "1"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "goes on after step" in done.stderr


@pytest.mark.skipif(os.name != "posix", reason="a terminal is made by openpty")
@pytest.mark.parametrize(
    ("command", "doing", "number", "said"),
    [
        ("predict", "predicting", signal.SIGTERM, "ended by SIGTERM"),
        ("evaluate", "evaluating", signal.SIGINT, "interrupted"),
    ],
)
def test_long_answers_are_seen_and_broken_off(
    ner: Path, tmp_path: Path, command: str, doing: str, number: signal.Signals, said: str
) -> None:
    """A bar on the terminal; then the signal, one line, its status, the cursor back; what was in --out stays."""
    out = tmp_path / "out"
    out.mkdir()
    before = out / ("data.conll" if command == "predict" else "report.txt")
    before.write_text("as before")
    data = tmp_path / "data.conll"
    conll(data, 250)
    data.write_text(f"{data.read_text()}\n" * 160)
    words = [str(data), "--out", str(before if command == "predict" else out)]
    master, terminal = os.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "regard", command, str(ner), *words], stdout=subprocess.PIPE, stderr=terminal,
        env={**os.environ, "TERM": "xterm"}, text=True,
    )  # fmt: skip
    os.close(terminal)
    shown = _until(master, " of 40,000")
    process.send_signal(number)
    shown += _until(master, "regard: ")
    output, _ = process.communicate(timeout=120)
    shown += _until(master, "\n")
    os.close(master)
    assert process.returncode == 128 + number, shown
    assert f"regard: {said}" in shown
    assert f"{doing} " in shown
    assert shown.count("\x1b[?25l") == shown.count("\x1b[?25h") > 0
    assert "Traceback" not in shown
    assert output == ""
    assert before.read_text() == "as before"
    assert list(out.iterdir()) == [before]


def _until(terminal: int, text: str) -> str:
    """Read from a terminal until it shows a text or is closed."""
    shown, deadline = b"", time.monotonic() + 300
    while text.encode() not in shown and time.monotonic() < deadline:
        try:
            shown += os.read(terminal, 4096) if select.select([terminal], [], [], 1)[0] else b""
        except OSError:  # nobody writes to it any more
            break
    return shown.decode()


def test_nothing_of_a_bar_in_a_pipe(ner: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Errors that are not read on a terminal hold no progress; a special file is written to, not replaced."""
    data = conll(tmp_path / "data.conll", 5)
    assert main(["evaluate", str(ner), str(data), "--out", str(tmp_path / "out")]) == 0
    assert main(["predict", str(ner), str(data), "--out", os.devnull]) == 0
    errors = capsys.readouterr().err
    assert not any(sign in errors for sign in ("evaluating", "predicting", "\x1b"))
    assert not Path(os.devnull).is_file()
    assert main(["predict", str(ner), str(data), "--out", str(tmp_path)]) == 2
    assert "cannot be written" in capsys.readouterr().err


class Knowing(NamedEntities):
    """A task that returns the true answers, so that their display can be tested without training."""

    def __init__(self, examples: Sequence[TaggedWords]) -> None:
        super().__init__()
        self.truth = {one.words: one.tags for one in examples}
        self.tags_ = sorted({tag for tags in self.truth.values() for tag in tags})

    def predict(self, inputs: Any) -> list[Sentence]:
        """Return the tags that were given."""
        return [Sentence(words, self.truth[words]) for words in inputs]


def test_answers_on_a_terminal_and_in_the_report() -> None:
    """Terminal colours are not in the report; it underlines names and restores the lines of code, completely."""
    examples = corpora.code_entities().test[:5]
    task = Knowing(examples)
    assert "\x1b[" in describe(task, examples, 5, colour=True)[0]
    page = shown_answers(task, examples)
    assert "\x1b" not in page
    for text, example in zip(re.findall("<pre>(.*?)</pre>", page, re.DOTALL), examples, strict=True):
        marks = re.findall('<mark style="border-color: #[0-9A-F]{6}">(.*?) <small>([a-z]+)</small></mark>', text)
        found = [(entity.text, entity.label) for entity in Sentence(example.words, example.tags).entities]
        assert [(html.unescape(name), label) for name, label in marks] == found
        plain = html.unescape(re.sub("<.*?>", "", re.sub(" <small>.*?</small>", "", text)))
        assert plain.split() == [word for word in example.words if word not in (NEWLINE, INDENT, DEDENT)]
        assert plain.count("\n") > 3
    assert "\n    return" in page
    hostile = [TaggedWords(("<b>", "→", "&amp;"), ("B-x", "O", "O"))]
    text = shown_answers(Knowing(hostile), hostile)
    assert "&lt;b&gt; <small>x</small></mark> → &amp;amp;</pre>" in text


def test_demo(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A demo trains, shows answers, and writes a page with pictures of the attention."""
    out = tmp_path / "demo"
    data = conll(tmp_path / "mine.conll", 300)
    assert main(["demo", "--minutes", "0.05", "--out", str(out), "--data", str(data)]) == 0
    text = capsys.readouterr().out
    assert "baseline" in text
    page = (out / "report.html").read_text(encoding="utf-8")
    for picture in ("curves.png", "heads.png", "head.png"):
        assert picture in page
        assert (out / picture).stat().st_size > 5_000
    assert "<script" not in page
    assert "[words]label is what the model found" in text
    assert "⏎" not in text
    assert main(["demo", "image_classification", "--minutes", "0.03", "--out", str(tmp_path / "digits")]) == 0
    assert '<main id="regard"' in (out / "attention.html").read_text("utf-8")
    assert "<a href='attention.html'>" in page
    printed = capsys.readouterr().out
    assert "report.html" in printed
    assert "attention.html" in printed
