"""Recordings on disk: what comes back, what other programs see, and what is left when a run or a disk gives out."""

import dataclasses
import os
import shutil
import signal
import subprocess
import sys
import time
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from regard.recorder._writer import FolderWriter
from torch import nn

import regard
from regard.errors import ArgumentError, MissingExtraError, RecordingFileError
from regard.recorder import NotRecordedWarning, Recording, Texts
from regard.weights import AttentionWeights, StoredWeights, summarise
from tests.recorder.recordings import EXACT, TEXTS, alike, attend, kept, recording_of, same, small

FORMS = ["run.regard", "run.zarr"]


def again(recording: Recording, place: Path) -> Recording:
    """Save and load."""
    recording.save(place)
    return regard.load(place)


@pytest.mark.parametrize("name", EXACT)
def test_exact_weights_come_back(name: str, tmp_path: Path) -> None:
    """Every kind of call: summaries to the bit, every entry within rounding of another order of memory."""
    weights = EXACT[name]()
    assert not alike(again(recording_of(call=weights), tmp_path / "run.regard")["call"], weights)


@pytest.mark.parametrize("form", FORMS)
def test_summaries_coverage_and_names_come_back(form: str, tmp_path: Path) -> None:
    """A saved recording is the one that was saved, and so is what is saved of it again."""
    recording = small()
    found = again(recording, tmp_path / form)
    assert same(found, recording)
    assert isinstance(found["summary"], StoredWeights)
    assert same(again(found, tmp_path / f"again-{form}"), recording)
    with pytest.raises(ArgumentError, match='keep="exact"'):
        found["summary"].dense()


def test_heads_and_devices_of_what_came_back(tmp_path: Path) -> None:
    """A head is still lazy, has the summaries as recorded, and computes what the original's head does."""
    weights = attend(causal=True)
    found = again(recording_of(call=weights), tmp_path / "run.regard")["call"]
    torch.testing.assert_close(found.head(1, -1).dense(), weights.head(1, -1).dense())
    assert torch.equal(found.head(1, 2).entropy(), weights.entropy()[1, 2])
    assert torch.equal(found.to("cpu")[0, 1, 3:5], found[0, 1, 3:5])
    torch.testing.assert_close(
        found.value_weighted(normalise=True).head(0, 3).dense(),
        weights.value_weighted(normalise=True).head(0, 3).dense(),
    )
    assert not found.requires_grad
    with pytest.raises(IndexError, match="outside"):
        found.head(2, 0)
    with pytest.raises(ArgumentError, match="output_weight"):
        found.value_weighted(torch.zeros(8, 32))


@pytest.mark.parametrize("form", FORMS)
def test_a_recording_gives_the_same_bytes_twice(form: str, tmp_path: Path) -> None:
    """Nothing of the time, the machine or the name is in a recording."""
    recording = small()
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        recording.save(tmp_path / name / form)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


def contents(folder: Path) -> dict[str, bytes]:
    """Each file below a folder."""
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_zarr_opens_a_recording(tmp_path: Path) -> None:
    """Zarr itself reads folder and file, checks the chunks, and finds names for the dimensions."""
    zarr = pytest.importorskip("zarr")
    weights = attend(700, 700, causal=True)
    recording = recording_of(call=weights)
    recording.save(tmp_path / "run.zarr")
    recording.save(tmp_path / "run.regard")
    with zarr.storage.ZipStore(tmp_path / "run.regard", mode="r") as store:
        for root in (zarr.open(tmp_path / "run.zarr", mode="r"), zarr.open(store, mode="r")):
            call = root["calls/000000"]
            assert call.attrs["regard"]["key"] == "call"
            np.testing.assert_array_equal(call["entropy"][:], weights.entropy().numpy())
            np.testing.assert_array_equal(call["exact/query"][:], weights._source.inputs.query.numpy())
            assert call["entropy"].metadata.dimension_names == ("batch", "head", "query")
            assert call["counts"].metadata.dimension_names == ("any_batch", "any_head", "key")
            levels = sorted(call["map"].array_keys())
            np.testing.assert_allclose(call["map/0"][:], weights.pooled(128).numpy(), rtol=1e-5)
            sides = [call[f"map/{level}"].shape[2] for level in levels]
            assert sides == sorted(sides)
            assert sides[-1] == -(-700 // call.attrs["regard"]["map_cells"][-1])
    damaged = next((tmp_path / "run.zarr/calls/000000/entropy").glob("c.*"))
    damaged.write_bytes(b"\0" + damaged.read_bytes()[1:])
    with pytest.raises(ValueError, match="checksum"):
        zarr.open(tmp_path / "run.zarr", mode="r")["calls/000000/entropy"][:]


def test_zarr_writes_the_same_chunks(tmp_path: Path) -> None:
    """Zarr's own writer gives the chunks that ours does, several of them and padded at the edge."""
    zarr = pytest.importorskip("zarr")
    recording = recording_of(call=StoredWeights(summarise(attend(70, 70))))
    recording.calls[0].weights.summary.__dict__["entropy"] = torch.randn(2, 4, 70_000)  # type: ignore[attr-defined]
    recording.save(tmp_path / "run.zarr")
    ours = tmp_path / "run.zarr/calls/000000/entropy"
    array = zarr.open(ours, mode="r")
    assert len(list(ours.glob("c.*"))) > 1
    copy = zarr.create_array(
        tmp_path / "copy", shape=array.shape, chunks=array.chunks, dtype=array.dtype, compressors=array.compressors,
        fill_value=array.fill_value, chunk_key_encoding={"name": "default", "separator": "."},
    )  # fmt: skip
    copy[:] = array[:]
    theirs = contents(tmp_path / "copy")
    assert {k: v for k, v in contents(ours).items() if k != "zarr.json"} == {
        k: v for k, v in theirs.items() if k != "zarr.json"
    }


@pytest.mark.parametrize("keep", ["summary", "exact"])
def test_written_while_the_model_runs(keep: str, tmp_path: Path) -> None:
    """Each call is on disk when it was made; after the block the folder is the recording."""
    model = nn.TransformerEncoder(nn.TransformerEncoderLayer(16, 2, batch_first=True), 2, enable_nested_tensor=False)
    folder = tmp_path / "run.regard"
    with regard.watch(model.eval(), keep=keep, folder=folder) as recording:  # type: ignore[arg-type]
        for calls in (2, 4):
            model(torch.randn(1, 9, 16))
            under_way = regard.load(folder)
            assert len(under_way) == calls
            assert "the run did not end" in repr(under_way)
    assert same(regard.load(folder), recording)
    with pytest.raises(ArgumentError, match="there already"), regard.watch(model, folder=folder):
        model(torch.randn(1, 9, 16))


def test_a_call_can_be_written_again(tmp_path: Path) -> None:
    """What was written of it before is replaced; a run that dies between the two moves leaves the older one."""
    recording, folder = recording_of(one=attend(5, 5), other=attend(6, 6)), tmp_path / "run"
    writer = FolderWriter(folder)
    for call in recording.calls:
        writer.write(call, recording)
    longer = recording_of(one=attend(7, 7), other=recording["other"])
    longer.calls[0].passes = 2
    writer.write(longer.calls[0], longer)
    assert [weights.shape[-1] for weights in regard.load(folder).values()] == [7, 6]
    (folder / ".partial/old").mkdir(exist_ok=True)
    for place in ("000000", "000001"):
        shutil.move(folder / "calls" / place, folder / ".partial/old" / place)
        assert [weights.dense().shape[-1] for weights in regard.load(folder).values()] == [7, 6]
        shutil.move(folder / ".partial/old" / place, folder / "calls" / place)
    writer.close(longer, ended=True)
    assert same(regard.load(folder), longer)
    assert not (folder / ".partial").exists()


def gpt2() -> Any:
    """A small GPT-2."""
    transformers = pytest.importorskip("transformers")
    config = transformers.GPT2Config(
        vocab_size=50, n_embd=16, n_layer=2, n_head=2, n_positions=64, bos_token_id=1, eos_token_id=None, pad_token_id=0
    )
    return transformers.GPT2LMHeadModel(config).eval()


@pytest.mark.parametrize("keep", ["summary", "exact", "dense"])
def test_a_generation_is_written_as_it_grows(keep: str, tmp_path: Path) -> None:
    """On disk is what is in memory after beams have changed places, and before the end at least half of the steps."""
    model, folder = gpt2(), tmp_path / "run"
    lengths = []

    def look(*_: object) -> None:
        found = regard.load(folder)
        lengths.append((len(lengths) + 1, [call.passes for call in found.calls]))

    model.register_forward_hook(look)
    prompt = torch.randint(2, 50, (1, 4))
    with regard.watch(model, keep=keep, folder=folder, heads=[1]) as recording:  # type: ignore[arg-type]
        recording.describe(Texts(tokens=["a"] * 4))
        model.generate(prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=9, num_beams=2)
    assert recording.calls[0].passes == 9
    for steps, passes in lengths:
        assert len(passes) == 2
        assert all(steps - 1 <= 2 * each <= 2 * steps for each in passes)
    assert same(regard.load(folder), recording)
    recording.save(tmp_path / "run.regard")
    assert same(regard.load(tmp_path / "run.regard"), recording)


def test_texts_that_cannot_be_kept(tmp_path: Path) -> None:
    """Saving says which entry it is; while a model runs the model goes on, and the block ends with the error."""
    recording = small().describe(Texts(tokens=["a", 3]))  # type: ignore[list-item]
    with pytest.raises(ArgumentError, match="tokens holds 3"):
        recording.save(tmp_path / "run.regard")
    model = nn.TransformerEncoderLayer(16, 2, batch_first=True).eval()
    watched = regard.watch(model, folder=tmp_path / "run")
    found = watched.__enter__().describe(recording.texts)
    model(torch.randn(1, 9, 16))
    with pytest.raises(ArgumentError, match="tokens holds 3"):
        watched.__exit__(None, None, None)
    assert len(found) == 1


def test_texts_of_which_a_part_is_missing(tmp_path: Path) -> None:
    """A column that is not whole is left out, with a warning; the others are there."""
    small().save(tmp_path / "run")
    (tmp_path / "run/texts/1/bytes/c.0").unlink()
    with pytest.warns(NotRecordedWarning, match="key_tokens"):
        found = regard.load(tmp_path / "run").texts
    assert found == dataclasses.replace(TEXTS, key_tokens=None)


def test_zarr_reads_the_tokens(tmp_path: Path) -> None:
    """The bytes between two offsets are a token."""
    zarr = pytest.importorskip("zarr")
    small().save(tmp_path / "run")
    column = zarr.open(tmp_path / "run", mode="r")["texts/0"]
    first, last = column["offsets"][1:3]
    assert bytes(column["bytes"][first:last]).decode() == " cät"


def test_an_error_in_the_block_leaves_what_was_made(tmp_path: Path) -> None:
    """The model's own error comes out, and the calls before it are on disk."""
    model = nn.TransformerEncoderLayer(16, 2, batch_first=True).eval()

    def fails(module: nn.Module, inputs: object, output: object) -> None:
        raise ZeroDivisionError

    model.register_forward_hook(fails)
    with pytest.raises(ZeroDivisionError), regard.watch(model, folder=tmp_path / "run"):
        model(torch.randn(1, 9, 16))
    assert len(regard.load(tmp_path / "run")) == 1


KILLED = """
import sys, torch, regard
model = torch.nn.TransformerEncoderLayer(32, 2, batch_first=True).eval()
torch.set_num_threads(1)
with regard.watch(model, folder=sys.argv[1], keep="exact"):
    while True:
        model(torch.full((1, 40, 32), 0.5))
"""


def test_a_run_that_is_killed_leaves_a_readable_recording(tmp_path: Path) -> None:
    """kill -9 at any moment: every call that is there is whole, for us and for Zarr."""
    zarr = pytest.importorskip("zarr")
    folder = tmp_path / "run"
    run = subprocess.Popen([sys.executable, "-c", KILLED, str(folder)])
    try:
        deadline = time.monotonic() + 300
        while not (folder / "calls/000010").exists() and time.monotonic() < deadline:
            time.sleep(0.01)
    finally:
        run.kill()
    assert run.wait() == -signal.SIGKILL
    recording = regard.load(folder)
    assert len(recording) >= 11
    assert "the run did not end" in repr(recording)
    for name in (next(iter(recording)), list(recording)[-1]):
        torch.testing.assert_close(recording[name].dense().sum(-1), torch.ones(1, 2, 40))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Zarr names what it does not know: the call that was under way
        assert len(list(zarr.open(folder, mode="r")["calls"].group_keys())) == len(recording)


FULL = """
import resource, sys, torch, regard
from tests.recorder.recordings import attend, recording_of
recording = recording_of(call=attend(300, 300))
resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
try:
    recording.save(sys.argv[1])
except regard.errors.RecordingFileError as error:
    sys.stdout.write(str(error))
"""


@pytest.mark.skipif(os.name != "posix", reason="limits on the size of files are POSIX")
@pytest.mark.parametrize("form", FORMS)
def test_a_full_disk_leaves_the_old_recording(form: str, tmp_path: Path) -> None:
    """One error that says so; the recording that was there is whole, and nothing else is left."""
    old = small()
    old.save(tmp_path / form)
    before = contents(tmp_path)
    root = Path(__file__).parents[2]
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", FULL, str(tmp_path / form)],
        capture_output=True, text=True, cwd=root, check=False,
        env={**os.environ, "PYTHONPATH": f"{Path(regard.__file__).parents[1]}:{root}"},
    )  # fmt: skip
    assert not run.stderr
    assert "could not be written: File too large. What was there before is unchanged." in run.stdout
    assert contents(tmp_path) == before
    assert same(regard.load(tmp_path / form), old)


FULL_WHILE_WATCHING = """
import resource, sys, torch, regard
model = torch.nn.TransformerEncoderLayer(32, 2, batch_first=True).eval()
def steps():
    with regard.watch(model, folder=sys.argv[1], keep="exact") as recording:
        model(torch.randn(1, 20, 32))
        resource.setrlimit(resource.RLIMIT_FSIZE, (9_000, 9_000))
        model(torch.randn(1, 200, 32))
        model(torch.randn(1, 20, 32))
        sys.stdout.write(f"{len(recording)} in memory. ")
try:
    steps()
except regard.errors.RecordingFileError as error:
    sys.stdout.write(str(error))
"""


@pytest.mark.skipif(os.name != "posix", reason="limits on the size of files are POSIX")
def test_a_full_disk_does_not_stop_the_model(tmp_path: Path) -> None:
    """The model runs on, the error comes at the end, and what was written can be read."""
    command = [sys.executable, "-W", "error", "-c", FULL_WHILE_WATCHING, str(tmp_path / "run")]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert not run.stderr
    assert run.stdout.startswith("3 in memory. ")
    assert "It holds the first 1 calls" in run.stdout
    assert len(regard.load(tmp_path / "run")) == 1


def test_saving_over_something(tmp_path: Path) -> None:
    """A recording replaces a recording, and nothing else."""
    first, second = small(), recording_of(call=attend(5, 5))
    for form in FORMS:
        first.save(tmp_path / form)
        second.save(tmp_path / form)
        assert list(regard.load(tmp_path / form)) == ["call"]
    opened = regard.load(tmp_path / "run.zarr")
    opened.save(tmp_path / "run.zarr")
    assert same(regard.load(tmp_path / "run.zarr"), second)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/letter.txt").write_text("dear")
    with pytest.raises(ArgumentError, match="no recording"):
        second.save(tmp_path / "mine")
    (tmp_path / "a.regard").mkdir()
    with pytest.raises(ArgumentError, match="is a folder"):
        second.save(tmp_path / "a.regard")
    with pytest.raises(RecordingFileError, match="could not be written"):
        second.save(tmp_path / "nowhere/run.regard")
    assert sorted(os.listdir(tmp_path)) == ["a.regard", "mine", "run.regard", "run.zarr"]


def test_what_is_missing_is_not_zero(tmp_path: Path) -> None:
    """Any array without its chunks reads as NaN or -2, with a warning that says which; nothing reads as a number."""
    weights = attend(70, 70, mask=masks_of_all_kinds(), causal=True)
    recording_of(call=weights).save(tmp_path / "run")
    call = tmp_path / "run/calls/000000"
    asks = {
        "map/3": lambda w: w.pooled(kept(w).cell),
        "entropy": lambda w: w.entropy(),
        "received": lambda w: w.received(),
        "masked": lambda w: w.pooled(kept(w).cell),
        "distance": lambda w: w.mean_distance(),
        "near": lambda w: w.share(0),
        "counts": lambda w: w.received(corrected=True),
        "links": lambda w: w.peak().values,
        "lse": lambda w: w.lse,
        "exact/query": lambda w: w.dense(),
        "exact/key": lambda w: w[..., 0],
        "exact/start": lambda w: w.dense(),
        "exact/dense_mask": lambda w: w.dense(),
        "exact/value_norms": lambda w: w.value_weighted()[..., 0],
    }
    for path, ask in asks.items():
        (chunk,) = (call / path).glob("c.*")
        data = chunk.read_bytes()
        chunk.unlink()
        with pytest.warns(NotRecordedWarning, match=path):
            found = ask(regard.load(tmp_path / "run")["call"])
        # What the mask hides is a known zero as long as the mask is there.
        assert found[ask(weights) != 0].isnan().all(), path
        chunk.write_bytes(data)
    (chunk,) = (call / "link_keys").glob("c.*")
    chunk.unlink()
    with pytest.warns(NotRecordedWarning, match="-2"):
        found = regard.load(tmp_path / "run")["call"].peak().indices
    assert (found == -2).all()


def masks_of_all_kinds() -> torch.Tensor:
    """A dense mask that beside causal gives spans and a dense part."""
    seen = torch.rand(1, 1, 70, 70) > 0.3
    return seen | torch.eye(70, dtype=torch.bool)


def test_a_part_that_is_missing_leaves_the_rest(tmp_path: Path) -> None:
    """Of an array in several chunks only the rows of the lost one are unknown."""
    weights = attend(9_000, 4, dtype=torch.float64)
    recording_of(call=weights).save(tmp_path / "run")
    chunks = sorted((tmp_path / "run/calls/000000/exact/query").glob("c.*"))
    assert len(chunks) == 8
    chunks[0].unlink()
    found = regard.load(tmp_path / "run")["call"]
    with pytest.warns(NotRecordedWarning, match="1 of 8 chunks"):
        lost = found[0, 0]
    assert lost.isnan().all()
    torch.testing.assert_close(found[0, 1], weights[0, 1])
    assert torch.equal(found.entropy(), weights.entropy())


def test_browsing_remembers_few_matrices(tmp_path: Path) -> None:
    """Weights that nobody holds are let go; those of four calls at most keep their query and key."""
    recording = recording_of(**{f"layer{i}": attend(5, 5) for i in range(7)})
    found = again(recording, tmp_path / "run.regard")
    held = list(found.values())
    assert all(found[i] is held[i] for i in range(7))
    for one in held:
        one.dense()
    recent = found.calls[0]._recent  # type: ignore[attr-defined]
    assert len(recent._sources) == 4


def test_other_weights_are_refused_in_words(tmp_path: Path) -> None:
    """Linear attention has no exact form on disk: the message says what does; the target stays as it was."""
    q = torch.randn(1, 1, 5, 4)
    weights: AttentionWeights = regard.linear_attention(q, q, q, need_weights=True)[1]
    with pytest.raises(ArgumentError, match="summaries"):
        recording_of(call=weights).save(tmp_path / "run.regard")
    assert not os.listdir(tmp_path)
    recording_of(call=StoredWeights(summarise(weights))).save(tmp_path / "run.regard")


def test_the_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Writing names the line that installs it; reading needs nothing."""
    recording = small()
    recording.save(tmp_path / "run.regard")
    monkeypatch.setitem(sys.modules, "google_crc32c", None)
    with pytest.raises(MissingExtraError, match=r'pip install "\.\[view\]"'):
        recording.save(tmp_path / "other.regard")
    assert same(regard.load(tmp_path / "run.regard"), recording)


def test_what_is_packed_again_by_hand_opens(tmp_path: Path) -> None:
    """A folder that somebody zipped, compressed and with entries for its folders, is a recording too."""
    recording = small()
    recording.save(tmp_path / "run")
    with zipfile.ZipFile(tmp_path / "hand.regard", "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted((tmp_path / "run").rglob("*")):
            archive.write(file, file.relative_to(tmp_path / "run"))
    assert same(regard.load(tmp_path / "hand.regard"), recording)
