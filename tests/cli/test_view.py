"""`regard view`: from files to a page or picture, and confirmation before others can connect."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import regard
from regard.cli import main
from regard.cli.view import ViewCommand, read_weights
from regard.errors import ArgumentError
from tests.viewer.examples import short_script

__all__ = ["short_script"]

WORDS = ["The", "cat", "</script>"]


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """Return a file with twelve layers of two heads."""
    matrix = torch.softmax(torch.randn(12, 1, 2, 3, 3), -1)
    file = tmp_path / "run.safetensors"
    save_file({f"layers.{number}": one.clone() for number, one in enumerate(matrix)}, file)
    return file


@pytest.mark.usefixtures("short_script")
def test_writes_a_page(saved: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The page has every layer in order, and the tokens."""
    tokens = saved.with_name("tokens.json")
    tokens.write_text(json.dumps(WORDS))
    page = saved.with_name("a.html")
    assert main(["view", str(saved), "--tokens", str(tokens), "--out", str(page)]) == 0
    assert capsys.readouterr().out.strip() == str(page)
    assert 'id="manifest"' in page.read_text("utf-8")
    manifest = ViewCommand(saved, tokens).view().source.manifest()
    assert [entry["name"] for entry in manifest["maps"]] == [f"layers.{number}" for number in range(12)]
    assert manifest["title"] == "run.safetensors"


@pytest.mark.usefixtures("short_script")
@pytest.mark.parametrize("form", ["run.regard", "run"])
def test_shows_a_recording(form: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A saved recording is opened by its path; another file is refused in one sentence."""
    layer = torch.nn.TransformerEncoderLayer(8, 2, batch_first=True).eval()
    with regard.watch(layer, keep="exact") as recording:
        layer(torch.randn(1, 3, 8))
    recording.save(tmp_path / form)
    assert main(["view", str(tmp_path / form), "--out", str(tmp_path / "a.html")]) == 0
    assert 'id="manifest"' in (tmp_path / "a.html").read_text("utf-8")
    manifest = ViewCommand(tmp_path / form).view().source.manifest()
    assert [entry["name"] for entry in manifest["maps"]] == ["self_attn"]
    (tmp_path / "other.regard").write_bytes(b"x")
    assert main(["view", str(tmp_path / "other.regard")]) == 2
    assert "is no recording" in capsys.readouterr().err


def test_writes_a_picture(saved: Path) -> None:
    """A picture by its ending, with tokens of a text file."""
    tokens = saved.with_name("tokens.txt")
    tokens.write_text("\ufeff" + "\n".join([f"{WORDS[0]}\u2028x", *WORDS[1:]]), encoding="utf-8")  # one token a line
    assert main(["view", str(saved), "--tokens", str(tokens), "--out", str(saved.with_name("a.png"))]) == 0
    assert saved.with_name("a.png").read_bytes().startswith(b"\x89PNG")


def test_arrays_of_numpy(tmp_path: Path) -> None:
    """An .npz holds layers, an .npy one; numbers arrive as they are."""
    array = np.full((2, 4, 4), 0.25, np.float32)
    np.savez(tmp_path / "a.npz", x=array, y=array)
    np.save(tmp_path / "b.npy", array)
    assert list(read_weights(tmp_path / "a.npz")) == ["x", "y"]
    assert torch.equal(read_weights(tmp_path / "b.npy")["b"], torch.tensor(array))


def test_bad_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A missing file, a wrong ending, rubbish, pickled objects, tokens that are no list: one sentence each."""
    (tmp_path / "rubbish.safetensors").write_bytes(b"\xff" * 100)
    np.save(tmp_path / "pickled.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    for name in ("none.npz", "x.pt", "rubbish.safetensors", "pickled.npy"):
        with pytest.raises(ArgumentError, match=name.split(".")[0]):
            read_weights(tmp_path / name)
    np.save(tmp_path / "w.npy", np.full((3, 3), 1 / 3))
    (tmp_path / "t.json").write_text("3")
    assert main(["view", str(tmp_path / "w.npy"), "--tokens", str(tmp_path / "t.json")]) == 2
    assert "must be a list" in capsys.readouterr().err


@pytest.mark.usefixtures("short_script")
def test_other_hosts_ask(saved: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """If others could connect, the command explains the risk and serves only after "yes"."""
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    served: list[str] = []
    monkeypatch.setattr("regard.viewer.server.Served.run", lambda self: served.append(self.url))
    for typed, count in (("no", 0), ("", 0), ("yes", 1)):
        monkeypatch.setattr("builtins.input", lambda _, typed=typed: typed)
        assert main(["view", str(saved), "--host", "0.0.0.0", "--no-open"]) == (0 if count else 1)
        assert len(served) == count
    captured = capsys.readouterr()
    assert "nothing is encrypted" in captured.err
    assert "token=" in captured.out


@pytest.mark.usefixtures("short_script")
def test_nobody_to_ask(saved: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Without a terminal nobody can confirm, so it is refused."""
    monkeypatch.setattr("sys.stdin.isatty", lambda: False, raising=False)
    assert main(["view", str(saved), "--host", "0.0.0.0"]) == 1
    assert "Nobody is here" in capsys.readouterr().err
