"""A model on disk: the round trip, and the error of each kind of damage."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from regard.errors import MissingExtraError, ModelFileError
from regard.models import LanguageModel, TokenClassifier
from tests.models.examples import KINDS, language_model, token_classifier


@pytest.mark.parametrize("kind", KINDS)
def test_round_trip(kind: str, tmp_path: Path) -> None:
    """What was saved comes back with its config and computes the same bits; other files stay."""
    example = KINDS[kind]()
    (tmp_path / "tokenizer.json").write_text("{}")
    example.model.save_pretrained(tmp_path)
    again = type(example.model).from_pretrained(tmp_path)
    assert again.config == example.model.config
    assert not again.training
    assert torch.equal(example(again), example())
    assert sorted(file.name for file in tmp_path.iterdir()) == ["config.json", "model.safetensors", "tokenizer.json"]


def test_tuples_and_tables_survive(tmp_path: Path) -> None:
    """Tags are a tuple again; a table that serves twice is stored once."""
    tags = ("O", "B-x", "I-x")
    token_classifier(tags=tags, crf=True).model.save_pretrained(tmp_path)
    assert TokenClassifier.from_pretrained(tmp_path).config.tags == tags
    language_model().model.save_pretrained(tmp_path)
    tables = [name for name, tensor in load_file(tmp_path / "model.safetensors").items() if 11 in tensor.shape]
    assert tables == ["embedding.weight"]


def _change(folder: Path, change: dict[str, Any]) -> None:
    described = json.loads((folder / "config.json").read_text())
    described.update(change)
    described["config"] = {name: value for name, value in described["config"].items() if value != "gone"}
    (folder / "config.json").write_text(json.dumps(described))


def test_damage_is_named(tmp_path: Path) -> None:
    """Each kind of damage is one clear error that names the file and the part."""
    model = language_model().model
    settings = model.save_pretrained(tmp_path) or json.loads((tmp_path / "config.json").read_text())["config"]
    for change, words in (
        ({"config": {**settings, "embed_dims": 16}}, "'embed_dims'.*Did you mean 'embed_dim'"),
        ({"config": {**settings, "vocab_size": "gone"}}, "lacks the setting 'vocab_size'"),
        ({"config": {**settings, "num_heads": 3}}, "config.json: embed_dim is 16"),
        ({"config": {**settings, "embed_dim": 32}}, r"embedding.weight has shape \(11, 16\) in place of \(11, 32\)"),
        ({"config": {**settings, "num_layers": 3}}, r"decoder.layers.2.* is missing.* more"),
        ({"config": {**settings, "num_layers": 1}}, r"decoder.layers.1.* is unknown"),
        ({"config": [1]}, "no config of a regard model"),
        ({"format": 2}, "has format 2"),
        ({"model": "TokenClassifier"}, "describes a TokenClassifier"),
    ):
        model.save_pretrained(tmp_path)
        if isinstance(change.get("config", {}), dict):
            _change(tmp_path, change)
        else:
            (tmp_path / "config.json").write_text(json.dumps({"format": 1, "model": "LanguageModel", **change}))
        with pytest.raises(ModelFileError, match=words):
            LanguageModel.from_pretrained(tmp_path)


def test_torn_files_are_named(tmp_path: Path) -> None:
    """A file that is truncated, not JSON, or missing."""
    model = language_model().model
    model.save_pretrained(tmp_path)
    content = (tmp_path / "model.safetensors").read_bytes()
    for cut in (0, 5, 100, len(content) - 1):
        (tmp_path / "model.safetensors").write_bytes(content[:cut])
        with pytest.raises(ModelFileError, match=r"model.safetensors cannot be read"):
            LanguageModel.from_pretrained(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(ModelFileError, match=r"model.safetensors does not exist"):
        LanguageModel.from_pretrained(tmp_path)
    (tmp_path / "config.json").write_text('{"format": 1,')
    with pytest.raises(ModelFileError, match=r"config.json cannot be read"):
        LanguageModel.from_pretrained(tmp_path)
    (tmp_path / "config.json").unlink()
    with pytest.raises(ModelFileError, match=r"config.json does not exist"):
        LanguageModel.from_pretrained(tmp_path)
    with pytest.raises(ModelFileError, match=r"no folder '\./nowhere'"):
        LanguageModel.from_pretrained("./nowhere")


def test_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If writing fails, the previous model stays, and no partial file."""
    old = language_model().model
    old.save_pretrained(tmp_path)

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        language_model().model.save_pretrained(tmp_path)
    assert len(list(tmp_path.iterdir())) == 2
    again = LanguageModel.from_pretrained(tmp_path)
    assert torch.equal(again.embedding.weight, old.embedding.weight)


@pytest.mark.skipif(os.name != "posix", reason="modes are POSIX")
@pytest.mark.parametrize("umask", [0o022, 0o077])
def test_modes_are_those_of_the_umask(umask: int, tmp_path: Path) -> None:
    """Both files have the mode that any new file has."""
    before = os.umask(umask)
    try:
        language_model().model.save_pretrained(tmp_path)
    finally:
        os.umask(before)
    assert {file.stat().st_mode & 0o777 for file in tmp_path.iterdir()} == {0o666 & ~umask}


def test_weights_of_another_precision_are_taken(tmp_path: Path) -> None:
    """A file in bfloat16 fills a float32 model."""
    model = language_model().model
    model.save_pretrained(tmp_path)
    file = tmp_path / "model.safetensors"
    save_file({name: tensor.bfloat16() for name, tensor in load_file(file).items()}, file)
    again = LanguageModel.from_pretrained(tmp_path)
    assert torch.equal(again.embedding.weight, model.embedding.weight.bfloat16().float())


class _Hub(SimpleNamespace):
    """A stand-in for `huggingface_hub` that keeps repositories in a folder."""

    def __init__(self, place: Path) -> None:
        super().__init__(place=place, HfApi=lambda: self, asked=[])

    def snapshot_download(self, name: str, *, revision: str | None, allow_patterns: list[str]) -> str:
        self.asked.append((name, revision, allow_patterns))
        if not (self.place / name).is_dir():
            raise OSError("Cannot reach huggingface.co\nwith details")
        return str(self.place / name)

    def create_repo(self, name: str, *, private: bool, exist_ok: bool) -> str:
        if name == "not/mine":
            raise OSError("403 Forbidden")
        (self.place / name).mkdir(parents=True, exist_ok=exist_ok)
        return f"https://hub/{name}"

    def upload_folder(self, *, folder_path: str, repo_id: str, commit_message: str, ignore_patterns: list[str]) -> None:
        for file in Path(folder_path).iterdir():
            (self.place / repo_id / file.name).write_bytes(file.read_bytes())


def test_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pushed model is loaded by its name; if the hub refuses or is unreachable, the error is one sentence."""
    hub = _Hub(tmp_path)
    monkeypatch.setitem(sys.modules, "huggingface_hub", hub)
    example = language_model()
    assert example.model.push_to_hub("me/model") == "https://hub/me/model"
    again = LanguageModel.from_pretrained("me/model", revision="v1")
    assert torch.equal(example(again), example())
    assert hub.asked == [("me/model", "v1", ["config.json", "model.safetensors"])]
    with pytest.raises(ModelFileError, match=r"no folder 'me/other'.*Cannot reach huggingface.co$"):
        LanguageModel.from_pretrained("me/other")
    with pytest.raises(ModelFileError, match="could not be uploaded to 'not/mine': OSError: 403"):
        example.model.push_to_hub("not/mine")


def test_hub_without_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without `huggingface_hub` the error prints what to install."""
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(MissingExtraError, match=r'pip install "\.\[hf\]"'):
        LanguageModel.from_pretrained("me/model")
