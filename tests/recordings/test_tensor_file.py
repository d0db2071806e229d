"""The file of a call: what safetensors reads of it, what is read for a part, and that no part is read unchecked."""

import re
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save
from torch import Tensor

import regard
from regard.errors import RecordingFileError
from regard.recordings._pieces import Piece
from regard.recordings._tensor_file import TensorFile, tensor_file
from tests.recordings.recordings import attend, recording_of


def numbers() -> dict[str, Tensor]:
    """A tensor of each dtype, among them an empty one, one with a repeated size and one that lies crosswise."""
    return {
        "a": torch.randn(2, 3, 5), "wide": torch.randn(3).double(), "half": torch.randn(3).half(),
        "brain": torch.randn(7).bfloat16(), "long": torch.arange(4), "int": torch.arange(4, dtype=torch.int32),
        "bool": torch.rand(9) > 0.5, "empty": torch.empty(2, 0, 3), "crosswise": torch.randn(4, 6).T,
        "repeated": torch.randn(1).expand(5), "one": torch.arange(1).expand(1, 1)[:, :1],
    }  # fmt: skip


def opened(tensors: dict[str, Tensor], path: Path, **document: Any) -> TensorFile:
    parts, check = tensor_file(tensors, document)
    path.write_bytes(b"".join(parts))
    return TensorFile(Piece(str(path), path.stat().st_size, path), check)


def test_safetensors_reads_what_is_written(tmp_path: Path) -> None:
    """The same names, shapes, dtypes and numbers, through safetensors and through us; aligned as it wants it."""
    tensors, path = numbers(), tmp_path / "a.safetensors"
    file, theirs = opened(tensors, path, what="a test"), load_file(path)
    assert theirs.keys() == tensors.keys()
    for name, tensor in tensors.items():
        for found in (theirs[name], file.read(name)):
            assert (found.dtype, found.shape) == (tensor.dtype, tensor.shape)
            assert torch.equal(found, tensor)
    with safe_open(path, "pt") as opened_by_them:
        assert '"what":"a test"' in opened_by_them.metadata()["regard"]
        assert torch.equal(opened_by_them.get_slice("a")[1:2], tensors["a"][1:2])
    assert file.document.text("what") == "a test"


def test_a_file_of_others_is_none_of_ours(tmp_path: Path) -> None:
    """Without our checks nothing is read."""
    path = tmp_path / "a.safetensors"
    path.write_bytes(save({"a": torch.zeros(3)}, {"format": "pt"}))
    with pytest.raises(RecordingFileError, match="changed"):
        TensorFile(Piece("a file", path.stat().st_size, path))


def test_another_order_of_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a machine that has the last byte first each number is turned round, in both directions."""
    tensors = {"a": torch.tensor([1.0, 2.0]), "b": torch.tensor([True])}
    little = b"".join(tensor_file(tensors, {})[0])
    monkeypatch.setattr(sys, "byteorder", "big")
    file = opened(tensors, tmp_path / "a")
    assert torch.equal(file.read("a"), tensors["a"])
    assert (tmp_path / "a").read_bytes()[-9:] == little[-9:-5][::-1] + little[-5:-1][::-1] + little[-1:]


def test_a_part_is_read_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One head of a large array takes the blocks that hold it; each index gives what it does in memory."""
    tensors, read = {"a": torch.randn(2, 3, 100_000), "b": torch.randn(7)}, []
    file = opened(tensors, tmp_path / "a")
    plain = Piece.read

    def counted(piece: Piece, first: int = 0, count: int | None = None) -> bytearray:
        data = plain(piece, first, count)
        read.append(len(data))
        return data

    monkeypatch.setattr(Piece, "read", counted)
    for place in [(0,), (1,), (0, 0), (1, 2), (1, 1)]:
        assert torch.equal(file.read("a", place), tensors["a"][place])
    assert torch.equal(file.read("b", (3,)), tensors["b"][3])
    assert max(read[2:5]) <= 400_000 + 2 * (1 << 18)
    with pytest.raises(IndexError, match="outside"):
        file.read("a", (2,))
    with pytest.raises(IndexError, match="outside"):
        file.read("a", (0, -1))


def test_damage_in_one_block_leaves_the_others(tmp_path: Path) -> None:
    """What is read is checked, and nothing else is."""
    tensors, path = {"a": torch.randn(4, 100_000)}, tmp_path / "a"
    file = opened(tensors, path)
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    assert torch.equal(file.read("a", (0,)), tensors["a"][0])
    for place in [(3,), ()]:
        with pytest.raises(RecordingFileError, match=f"{re.escape(str(path))} holds other numbers of a"):
            file.read("a", place)


@pytest.mark.parametrize("name", ["run", "run.regard"])
def test_one_head_of_a_recording(name: str, tmp_path: Path) -> None:
    """A call on disk gives its tensors by name, from a folder and from a zip."""
    weights = attend(70, 70, causal=True)
    recording_of(call=weights).save(tmp_path / name)
    file = regard.load(tmp_path / name).calls[0].file  # type: ignore[attr-defined]
    assert torch.equal(file.read("entropy", (1, 2)), weights.entropy()[1, 2])
    assert torch.equal(file.read("query"), weights._source.inputs.query)
    assert file.read("map", (0, 3)).shape == file.summary().map.shape[2:]
    assert file.exact
    assert set(file.names) >= {"map", "entropy", "query", "key", "start", "stop"}
