"""`regard train TASK --from MODEL`, `predict`, `evaluate` and `--push`, as a user calls them."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch
import transformers

from regard.cli import main
from regard.cli._card import write_card
from regard.tasks import Sentiment
from regard.training import Budget, TrainingSettings

from ..small import LABELLED
from .checkpoints import ENCODERS, write

SHORT = ("--steps", "3", "--epochs", "None", "--device", "cpu", "--precision", "fp32")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A small BERT."""
    return write(tmp_path_factory.mktemp("base") / "tiny-bert", ENCODERS["bert"], [one.text for one in LABELLED])


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A table of texts with labels."""
    path = tmp_path_factory.mktemp("data") / "places.csv"
    path.write_text("\n".join(["text,label", *(f"{one.text},{one.labels[0]}" for one in LABELLED[:120])]))
    return str(path)


def test_from_a_folder(
    tmp_path: Path, base: str, data: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run opens in transformers, has a card, answers, is evaluated, and can be gone on from."""
    run, more = tmp_path / "run", tmp_path / "more"
    words = ["train", "sentiment", "--from", base, "--train", data, "--out", str(run), *SHORT]
    monkeypatch.setattr("sys.argv", ["regard", *words])
    assert main(words) == 0
    assert "config.json, model.safetensors, README.md" in capsys.readouterr().out
    model = transformers.AutoModelForSequenceClassification.from_pretrained(run)
    assert model.config.id2label == {0: "negative", 1: "positive"}
    card = (run / "README.md").read_text("utf-8")
    assert card.startswith("---\npipeline_tag: ")
    assert "base_model" not in card  # a folder is no name of the hub
    for part in ("Fine-tuned from `tiny-bert`", "places.csv", "macro_f1", "this model", "--from", "from_pretrained"):
        assert part in card
    assert main(["predict", str(run), "the oslo was fine", "--json"]) == 0
    assert set(json.loads(capsys.readouterr().out)["probabilities"]) == {"negative", "positive"}
    assert main(["evaluate", str(run), data]) == 0
    assert "baseline" in capsys.readouterr().out
    assert main(["train", "sentiment", f"--from={run}", "--train", data, "--out", str(more), *SHORT]) == 0
    after = transformers.AutoModelForSequenceClassification.from_pretrained(more).state_dict()
    moved = [float((after[name] - weight).abs().max()) for name, weight in model.state_dict().items() if name in after]
    assert 0 < max(moved) < 0.01, "training did not begin at the weights of the run"
    assert torch.isfinite(torch.tensor(moved)).all()


def test_a_card_says_whose_figures_it_gives(base: str, tmp_path: Path) -> None:
    """Figures of a mix stand beside those of the transformer, which is all that transformers would load."""
    task = Sentiment(Sentiment.FineTuning(model=base, training=TrainingSettings(budget=Budget(epochs=None, steps=3))))
    task.fit(LABELLED[:40], LABELLED[40:60])
    whole, alone = dict.fromkeys(("accuracy", "macro_f1"), 0.75), dict.fromkeys(("accuracy", "macro_f1"), 0.5)
    found = dataclasses.replace(task.evaluate(LABELLED[60:80]), figures=whole, alone=alone, uses="mix")
    card = write_card(task, found, tmp_path, []).read_text("utf-8")
    assert "| this model mixed with the baseline, as `regard` answers | 0.75 | 0.75 |" in card
    assert "| the transformer alone | 0.5 | 0.5 |" in card
    assert "hold the transformer alone" in card
    plain = dataclasses.replace(found, alone={}, uses="model")
    card = write_card(task, plain, tmp_path, []).read_text("utf-8")
    assert "| this model | 0.75 | 0.75 |" in card
    assert "alone" not in card


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--embed-dim", "8"], "has no option --embed-dim"),
        (["--lora", "many"], "--lora is 'many'. It takes a whole number."),
        (["--push", "not a name"], "which is no name of the hub"),
        (["--push", "me/places"], "hf auth login"),
        (["--train-layers", "1", "--lora", "2"], "give one of them"),
    ],
)
def test_mistakes(
    base: str, data: str, tmp_path: Path, words: list[str], message: str, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """What cannot work is refused before training, in one line."""
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    assert main(["train", "sentiment", "--from", base, "--train", data, "--out", str(tmp_path / "x"), *words]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "x" / "task.json").exists()


@pytest.mark.parametrize(
    ("task", "message"),
    [("translation", "AutoModelForSeq2SeqLM"), ("image_classification", "AutoModelForImageClassification")],
)
def test_a_model_of_another_kind(base: str, task: str, message: str) -> None:
    """A model that has no such head is refused with what to take."""
    from regard.errors import ArgumentError
    from regard.tasks.pretrained._models import load_model

    head = {"translation": "AutoModelForSeq2SeqLM"}.get(task, "AutoModelForImageClassification")
    with pytest.raises(ArgumentError, match=rf"'bert'.* no {message} .*Take an encoder"):
        load_model(head, base)


def test_no_causal_model(base: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An encoder with a head for words sees the words to come."""
    text = tmp_path / "notes.txt"
    text.write_text("\n".join(one.text for one in LABELLED[:100]))
    words = ["train", "language_modeling", "--from", base, "--train", str(text), "--out", str(tmp_path / "x"), *SHORT]
    assert main(words) == 2
    assert "sees the tokens to come" in capsys.readouterr().err
