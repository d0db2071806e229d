"""A mistake on the command line is reported in one sentence, with status 2 and without the list of options."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from regard.cli import main
from regard.cli._parsing import parse
from regard.cli._program import program
from regard.cli.evaluate import Evaluate

TRAIN = ["train", "ner", "--train", "x.conll", "--out", "x"]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (
            ["train", "nre", *TRAIN[2:]],
            "There is no `regard train nre`. Did you mean 'ner'? There are: ner, sentiment,",
        ),
        (["train"], "`regard train` needs a name behind it, one of: ner, sentiment"),
        (["study", "scalling"], "There is no `regard study scalling`. Did you mean 'scaling'?"),
        ([*TRAIN, "--lr", "-1"], "lr is -1.0; it must be greater than 0, and finite."),
        ([*TRAIN, "--epoch", "3"], "`regard train ner` has no option --epoch. Did you mean '--epochs'?"),
        ([*TRAIN, "--embed_dimm=3"], "has no option --embed_dimm. Did you mean '--embed-dim'?"),
        (["train", "ner", "--trian", "x.conll", "--out", "x"], "has no option --trian. Did you mean '--train'?"),
        ([*TRAIN, "--epochs", "three"], "--epochs is 'three'. It takes auto, a number or None."),
        ([*TRAIN, "--num-heads=two"], "--num-heads is 'two'. It takes a whole number."),
        ([*TRAIN, "--device", "tpux"], "--device is 'tpux'. Did you mean 'cpu'? It takes auto, cpu or cuda."),
        (
            [*TRAIN, "--metric", "f2"],
            "--metric is 'f2'. Did you mean 'f1'? It takes f1, precision, recall, macro_f1 or",
        ),
        ([*TRAIN, "--goal", "min"], "has no option --goal."),
        ([*TRAIN, "--positions", "rotory"], "--positions is 'rotory'. Did you mean 'rotary'?"),
        ([*TRAIN, "--crf", "no"], "--crf takes no value, 'no' was given; there are --crf and --no-crf."),
        (TRAIN[:4], "`regard train ner` needs --out."),
        ([*TRAIN, "--test"], "There is no file or folder x.conll"),
        ([*TRAIN, "--seed"], "--seed is there without a value; it takes a whole number."),
        (["doctor", "--shape", "1", "2"], "--shape takes 4 values, each a whole number."),
        (["watch"], "`regard watch` needs MODEL."),
        (["predict", "--opn"], "`regard predict` has no option --opn. Did you mean '--open'?"),
        (["evaluate", "x", "y", "-q"], "has no option -q."),
    ],
)
def test_one_sentence(words: list[str], expected: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Each kind of mistake is reported with what was given, the rule, and the most similar valid choice."""
    assert main(words) == 2
    said = capsys.readouterr().err
    assert said.startswith("regard: ")
    assert expected in said
    assert len(said.splitlines()) == 1
    assert not {"tyro", "NoneType", "╭"} & set(said.replace(".", " ").split())


def test_a_tyro_without_the_hook_still_refuses(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The hook is private to tyro; if it does not exist, tyro reports the mistake itself."""
    monkeypatch.setitem(sys.modules, "tyro._errors", None)
    with pytest.raises(SystemExit) as ended:
        parse(Evaluate, "regard evaluate", ["x", "y", "--jsn"])
    assert ended.value.code == 2
    assert "--jsn" in capsys.readouterr().err


def test_choices_and_defaults_in_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    """The help of a task lists its figures and choices with its defaults, and no goal."""
    for name, expected in (
        ("ner", ("--metric {f1,precision,recall,macro_f1,token_accuracy}", "(default: f1)", "{rotary,sinusoidal,")),
        (
            "language_modeling",
            ("--metric {nats_per_token,", "(default: nats_per_token)", "{bpe,words,characters,bytes}"),
        ),
    ):
        with pytest.raises(SystemExit):
            main(["train", name, "--help"])
        text = " ".join(capsys.readouterr().out.split())
        assert all(part in text for part in expected)
        assert "--goal" not in text
    with pytest.raises(SystemExit):
        main(["demo", "ner", "--help"])
    text = capsys.readouterr().out
    assert "Without a task" not in text
    assert "Tags every word" in text


def test_what_to_type_next(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Messages name the command as it can be called: by name if it is on the PATH, else by its path."""
    script = tmp_path / ".venv" / "bin" / "regard"
    script.parent.mkdir(parents=True)
    script.touch(0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", [".venv/bin/regard", "train"])
    monkeypatch.setenv("PATH", "/nowhere")
    assert program() == ".venv/bin/regard"
    monkeypatch.setenv("PATH", str(script.parent))
    assert program() == "regard"
    monkeypatch.setattr("sys.argv", ["/somewhere/regard/__main__.py"])
    monkeypatch.setattr("sys.executable", str(script.parent / "python"))
    assert program() == ".venv/bin/python -m regard"
