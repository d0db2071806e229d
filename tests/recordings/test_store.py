"""Recordings on disk: what comes back, what other programs see, and what is left when a run or a disk gives out."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

import regard
from regard.errors import ArgumentError, RecordingFileError
from regard.recordings import FolderWriter, Recording, Texts
from regard.weights import AttentionWeights, summarise
from tests.integrations.transformers.families import FAMILIES, write
from tests.processes import output_of
from tests.recordings.recordings import EXACT, TEXTS, alike, attend, recording_of, same, small

FORMS = ["run.regard", "run"]


def again(recording: Recording, place: Path) -> Recording:
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
    assert found["summary"].kept_cell
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
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


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
    """What was written of it before is replaced; what a run left half written beside it is passed over."""
    recording, folder = recording_of(one=attend(5, 5), other=attend(6, 6)), tmp_path / "run"
    writer = FolderWriter(folder)
    for call in recording.calls:
        writer.write(call, recording)
    longer = recording_of(one=attend(7, 7), other=recording["other"])
    longer.calls[0].passes = 2
    writer.write(longer.calls[0], longer)
    (folder / "calls/.000002.safetensors.0123").write_bytes(b"half")
    assert [weights.shape[-1] for weights in regard.load(folder).values()] == [7, 6]
    writer.close(longer, ended=True)
    assert same(regard.load(folder), longer)


def test_a_run_that_dies_between_two_files(tmp_path: Path) -> None:
    """Whichever file was the last to be written, what is there opens: the calls before it, whole."""
    recording, states = small(), []
    writer = FolderWriter(tmp_path / "run")
    put = writer._put

    def put_and_look(name: str, parts: Any) -> None:
        put(name, parts)
        found = regard.load(tmp_path / "run")
        states.append((name, list(found), found.texts == TEXTS, found.ended))  # type: ignore[attr-defined]
        assert all(not alike(found[key], recording[key]) for key in found)

    writer._put = put_and_look  # type: ignore[method-assign]
    for call in recording.calls:
        writer.write(call, recording)
    writer.close(recording, ended=True)
    assert states == [
        ("calls/000000.safetensors", ["summary"], False, False),
        ("texts.json", ["summary"], True, False),
        ("recording.json", ["summary"], True, False),
        ("calls/000001.safetensors", ["summary", "exact"], True, False),
        ("recording.json", ["summary", "exact"], True, False),
        ("recording.json", ["summary", "exact"], True, True),
    ]


@pytest.mark.parametrize("keep", ["summary", "exact", "dense"])
def test_a_generation_is_written_as_it_grows(keep: str, tmp_path: Path) -> None:
    """On disk is what is in memory after beams have changed places, and before the end at least half of the steps."""
    model, folder, lengths = FAMILIES["GPT-2"].build("sdpa"), tmp_path / "run", []

    def look(*_: object) -> None:
        found = regard.load(folder)
        lengths.append((len(lengths) + 1, [call.passes for call in found.calls]))

    model.register_forward_hook(look)
    prompt = torch.randint(4, 50, (1, 4))
    with regard.watch(model, keep=keep, folder=folder, heads=[1]) as recording:  # type: ignore[arg-type]
        recording.describe(Texts(tokens=["a"] * 4))
        write(model, 9, inputs=prompt, num_beams=2)
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
    """kill -9 at any moment: every call that is there is whole, for us and for safetensors."""
    folder = tmp_path / "run"
    run = subprocess.Popen([sys.executable, "-c", KILLED, str(folder)])
    try:
        deadline = time.monotonic() + 300
        while not (folder / "calls/000010.safetensors").exists() and time.monotonic() < deadline:
            time.sleep(0.01)
    finally:
        run.kill()
    assert run.wait() == -signal.SIGKILL
    recording = regard.load(folder)
    assert len(recording) >= 11
    assert "the run did not end" in repr(recording)
    for name in (next(iter(recording)), list(recording)[-1]):
        torch.testing.assert_close(recording[name].dense().sum(-1), torch.ones(1, 2, 40))
    for file in (folder / "calls").glob("[0-9]*.safetensors"):
        assert load_file(file)["entropy"].shape == (1, 2, 40)


FULL = """
import resource, sys, torch, regard
from tests.recordings.recordings import attend, recording_of
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
    says = output_of(FULL, tmp_path / form)
    assert "could not be written: File too large. What was there before is unchanged." in says
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
    says = output_of(FULL_WHILE_WATCHING, tmp_path / "run")
    assert says.startswith("3 in memory. ")
    assert "It holds the first 1 calls" in says
    assert len(regard.load(tmp_path / "run")) == 1


def test_saving_over_something(tmp_path: Path) -> None:
    """A recording replaces a recording, and nothing else."""
    first, second = small(), recording_of(call=attend(5, 5))
    for form in FORMS:
        first.save(tmp_path / form)
        second.save(tmp_path / form)
        assert list(regard.load(tmp_path / form)) == ["call"]
    opened = regard.load(tmp_path / "run")
    opened.save(tmp_path / "run")
    assert same(regard.load(tmp_path / "run"), second)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/letter.txt").write_text("dear")
    with pytest.raises(ArgumentError, match="no recording"):
        second.save(tmp_path / "mine")
    (tmp_path / "a.regard").mkdir()
    with pytest.raises(ArgumentError, match="is a folder"):
        second.save(tmp_path / "a.regard")
    with pytest.raises(RecordingFileError, match="could not be written"):
        second.save(tmp_path / "nowhere/run.regard")
    assert sorted(os.listdir(tmp_path)) == ["a.regard", "mine", "run", "run.regard"]


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
    recording_of(call=AttentionWeights.of_summary(summarise(weights))).save(tmp_path / "run.regard")


@pytest.mark.skipif(os.name != "posix", reason="modes are POSIX")
def test_others_may_read_what_the_umask_lets_them(tmp_path: Path) -> None:
    """A recording has the modes that any new file and folder has."""
    before = os.umask(0o022)
    try:
        for form in FORMS:
            small().save(tmp_path / form)
    finally:
        os.umask(before)
    assert {oct(path.stat().st_mode & 0o777) for path in tmp_path.rglob("*") if path.is_file()} == {"0o644"}
    assert {oct(path.stat().st_mode & 0o777) for path in tmp_path.rglob("*") if path.is_dir()} == {"0o755"}
