"""`regard watch`: from a model in a folder, and texts or a picture, to coverage, a table and a page."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import regard
from regard.cli import main
from regard.cli.watch import WatchCommand
from tests.viewer.examples import short_script

__all__ = ["short_script"]

transformers = pytest.importorskip("transformers")
_WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "cat", "play", "##ed", "guitar"]


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a small BERT and a tokenizer that cuts words into pieces."""
    folder = tmp_path_factory.mktemp("bert")
    (folder / "vocab.txt").write_text("\n".join(_WORDS))
    tokenizer: Any = transformers.BertTokenizer(vocab=str(folder / "vocab.txt"))
    config = transformers.BertConfig(
        vocab_size=len(_WORDS), hidden_size=16, num_hidden_layers=3, num_attention_heads=2, intermediate_size=16
    )
    torch.manual_seed(0)
    transformers.BertModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def seer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a small ViT and its image processor."""
    folder = tmp_path_factory.mktemp("vit")
    config = transformers.ViTConfig(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=16, image_size=32, patch_size=8
    )
    transformers.ViTModel(config).save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(
        json.dumps({"image_processor_type": "ViTImageProcessor", "size": {"height": 32, "width": 32}})
    )
    return folder


def test_prints_coverage_and_a_table(reader: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every call is a line with shape, entropy and the first key's share."""
    assert main(["watch", str(reader), "the cat played"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("3 of 3 attention calls recorded (3 layers x 1 passes); 0 took another path")
    assert "entropy (nats)" in out
    assert out.count("1 x 2 x 6 x 6") == 3


def test_writes_a_recording(reader: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """--out run.regard keeps calls and tokens, which `regard view` makes a page of."""
    file, page = tmp_path / "run.regard", tmp_path / "run.html"
    assert main(["watch", str(reader), "the cat played", "--keep", "exact", "--out", str(file)]) == 0
    assert capsys.readouterr().out.endswith(f"{file}\n")
    found = regard.load(file)
    assert len(found) == 3
    assert list(found.texts.tokens or ()) == ["[CLS]", "the", "cat", "play", "##ed", "[SEP]"]
    assert main(["view", str(file), "--out", str(page)]) == 0
    assert 'id="tokens/0"' in page.read_text("utf-8")


def test_json_and_layers(reader: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """For scripts: one object, with the layers asked for."""
    assert main(["watch", str(reader), "the cat", "--layers", "0", "2", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [call["name"].split(".")[2] for call in found["calls"]] == ["0", "2"]
    assert 0 < found["calls"][0]["entropy"] <= np.log(4) + 1e-4
    assert 0 < found["calls"][0]["first_key"] < 1
    assert "1 not asked for" in found["coverage"]


def test_entropy_leaves_padding_out(reader: Path) -> None:
    """A short text beside a long one has the entropy that it has alone."""
    both = WatchCommand(str(reader), ("the cat", "the cat played guitar")).seen()
    assert both.real is not None
    alone = WatchCommand(str(reader), ("the cat",)).seen()
    name = next(iter(alone.weights))
    assert torch.allclose(both.weights[name].entropy()[0][:, both.real[0]], alone.weights[name].entropy()[0], atol=1e-5)


@pytest.mark.usefixtures("short_script")
def test_a_page_with_words(reader: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The page holds the tokens, and which of them are one word; single weights with keep=dense."""
    page = tmp_path / "run.html"
    assert main(["watch", str(reader), "the cat played", "--keep", "dense", "--out", str(page)]) == 0
    assert str(page) in capsys.readouterr().out
    text = page.read_text("utf-8")
    assert 'id="manifest"' in text
    texts = WatchCommand(str(reader), ("the cat played",)).seen().weights.texts
    assert texts.tokens is not None
    assert len(texts.tokens) == 6
    assert texts.words == [None, 0, 1, 2, 2, None]


def test_a_picture(seer: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A ViT reads a picture; its patches follow the class token."""
    image = pytest.importorskip("PIL.Image")
    file = tmp_path / "a.png"
    image.fromarray(np.zeros((40, 40, 3), np.uint8)).save(file)
    assert main(["watch", str(seer), "--image", str(file)]) == 0
    assert "2 of 2 attention calls recorded" in capsys.readouterr().out
    grid = WatchCommand(str(seer), image=file).seen().weights.texts.grid
    assert grid is not None
    assert (grid.rows, grid.columns, grid.first, grid.media_type) == (4, 4, 1, "image/png")


def test_mistakes_are_one_sentence(
    reader: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No input, both inputs, no folder, a layer that is not there, an unknown name without a network."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    for words, expected in (
        ([str(reader)], "give texts, or --image"),
        ([str(reader), "the", "--image", "a.png"], "one of the two"),
        ([str(tmp_path / "missing"), "the"], "There is no folder"),
        ([str(reader), "the", "--layers", "9"], "no layer 9"),
        (["no-such-model-anywhere", "the"], "cannot be loaded from the hub or as a folder"),
    ):
        assert main(["watch", *words]) == 2
        found = capsys.readouterr().err
        assert expected in found
        assert "Traceback" not in found


def test_a_mistyped_folder_is_told_before_the_hub_is_asked(
    reader: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name below an existing folder, or one that is invalid on the hub, is reported as a missing folder."""
    shutil.copytree(reader, tmp_path / "runs" / "bert")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(transformers.AutoModel, "from_pretrained", lambda name: pytest.fail(f"asked for {name}"))
    for name, expected in (
        ("runs/bertt", "There is no folder runs/bertt. Did you mean 'runs/bert'? The hub was not asked, for runs is a"),
        ("runs/a/b", "There is no folder runs/a/b."),
        ("no where", "There is no folder no where."),
        ("../bert", "There is no folder ../bert."),
    ):
        assert main(["watch", name, "the"]) == 2
        assert expected in capsys.readouterr().err
