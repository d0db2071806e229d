"""Checkpoints: damage, full disks, and changed models."""

from __future__ import annotations

import os
import random
import resource
import shutil
import subprocess
import sys
import warnings
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from regard.training import CheckpointError, Event, Saved, SkippedCheckpoint, train
from regard.training import Checkpoints as Keep
from regard.training.checkpoint import Checkpoints, write_state, write_tensors

from .small import Copying, Worsening, digest, reader, settings


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A run that was stopped with two checkpoints, and the digest of the weights it should end with."""
    folder = tmp_path_factory.mktemp("run")
    train(reader(), Copying(), settings(epochs=2), folder=folder)
    model = reader()
    train(model, Copying(), settings(epochs=2))
    return folder, digest(model)


def damaged(folder: Path, chance: random.Random) -> str:
    """Cut or flip one file of the newest checkpoint; return what was done."""
    newest = max(folder.glob("step-*"))
    path = chance.choice(sorted(newest.iterdir()))
    contents = bytearray(path.read_bytes())
    if chance.random() < 0.5:
        size = chance.randrange(len(contents))
        path.write_bytes(contents[:size])
        return f"{path.name} cut to {size} bytes"
    place, bit = chance.randrange(len(contents)), chance.randrange(8)
    contents[place] ^= 1 << bit
    path.write_bytes(contents)
    return f"bit {bit} of byte {place} of {path.name} flipped"


def test_no_damage_is_believed(run: tuple[Path, str], tmp_path: Path) -> None:
    """200 times the newest checkpoint is truncated or a bit flipped: the previous one is used, or it is still correct.

    A flip in the manifest's white space changes nothing, so such a checkpoint is complete.
    """
    folder, _ = run
    steps = Checkpoints(folder).steps()
    tensors = Checkpoints(folder).read(steps[0]).tensors()
    passed_over = 0
    for number in range(200):
        copy = tmp_path / str(number)
        shutil.copytree(folder, copy)
        what = damaged(copy, random.Random(number))
        reasons: list[str] = []
        found = Checkpoints(copy).newest(lambda path, reason, reasons=reasons: reasons.append(reason))
        assert found is not None, what
        if found.step == steps[0]:
            assert all(torch.equal(tensor, found.tensors()[name]) for name, tensor in tensors.items()), what
        else:
            assert reasons, what
            passed_over += 1
        shutil.rmtree(copy)
    assert passed_over > 150


@pytest.mark.parametrize("number", range(3))
def test_training_goes_on_from_the_one_before(run: tuple[Path, str], tmp_path: Path, number: int) -> None:
    """A damaged checkpoint is skipped with a warning and an event, and the run ends as it should."""
    folder, right = run
    shutil.copytree(folder, tmp_path / "run")
    newest = max((tmp_path / "run").glob("step-*"))
    with (newest / "tensors.safetensors").open("r+b") as file:
        file.truncate(100 * number)
    events: list[object] = []
    model = reader()
    with pytest.warns(UserWarning, match="A checkpoint is passed over.*bytes"):
        train(model, Copying(), settings(epochs=2), folder=tmp_path / "run", listeners=[events.append])
    assert [event.path for event in events if isinstance(event, SkippedCheckpoint)] == [newest]
    assert digest(model) == right


def test_no_checkpoint_left(run: tuple[Path, str], tmp_path: Path) -> None:
    """If every checkpoint is damaged, training warns of each and starts anew."""
    folder, right = run
    shutil.copytree(folder, tmp_path / "run")
    for path in (tmp_path / "run").glob("step-*/state.json"):
        path.unlink()
    model = reader()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        train(model, Copying(), settings(epochs=2), folder=tmp_path / "run")
    assert len(caught) == len(list(folder.glob("step-*")))
    assert digest(model) == right


FULL = """
import resource, sys
from pathlib import Path
from regard.training import CheckpointError, train
from tests.training.small import Copying, reader, settings
folder = Path(sys.argv[1])
try:
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), -1))
    train(reader(), Copying(), settings(epochs=2), folder=folder)
except CheckpointError as error:
    print(error)
    sys.exit(3)
"""


@pytest.mark.parametrize("limit", [0, 100, 5_000])
def test_disk_full(tmp_path: Path, limit: int) -> None:
    """If the disk is full, one error says so, older checkpoints stay, and with space the run resumes."""
    train(reader(), Copying(), settings(epochs=2), folder=tmp_path)
    for step in Checkpoints(tmp_path).steps()[:-1]:  # as if it had been stopped after the oldest
        shutil.rmtree(Checkpoints(tmp_path).path(step))
    before = Checkpoints(tmp_path).steps()
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(tmp_path), str(limit)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 3, done.stderr
    assert "could not be written" in done.stdout
    assert Checkpoints(tmp_path).steps() == before
    assert not list(tmp_path.glob("unfinished-*"))
    model, undisturbed = reader(), reader()
    train(model, Copying(), settings(epochs=2), folder=tmp_path)
    train(undisturbed, Copying(), settings(epochs=2))
    assert digest(model) == digest(undisturbed)


def test_a_torn_newest_does_not_count_among_those_kept(tmp_path: Path) -> None:
    """A run that skipped a damaged checkpoint keeps those that it saves later, even with keep=1."""
    told = replace(settings(epochs=2), checkpoints=Keep(save_every=5, keep=1))
    train(reader(), Copying(), told, folder=tmp_path)
    newest = max(tmp_path.glob("step-*"))
    (newest / "state.json").unlink()

    saved: list[Path] = []

    def stop(event: Event) -> None:
        if isinstance(event, Saved):
            saved.append(event.path)
            raise KeyboardInterrupt

    told = replace(told, checkpoints=Keep(save_every=1, keep=1))
    with pytest.warns(UserWarning, match="passed over"), pytest.raises(KeyboardInterrupt):
        train(reader(), Copying(), told, folder=tmp_path, listeners=[stop])
    found = Checkpoints(tmp_path).newest(lambda path, reason: None)
    assert [None if found is None else found.path] == saved


def test_a_torn_best_is_forgotten(tmp_path: Path) -> None:
    """If the best checkpoint is damaged, the run resumes with a warning and finds another best."""
    result = train(reader(), Worsening(), settings(epochs=2), folder=tmp_path)
    (Checkpoints(tmp_path).path(result.best_step or 0) / "tensors.safetensors").write_bytes(b"")
    with pytest.warns(UserWarning, match="passed over"):
        again = train(reader(), Worsening(), settings(epochs=3), folder=tmp_path)
    assert again.finished
    assert again.best_step == again.step


def test_a_lost_best_leaves_the_last(tmp_path: Path) -> None:
    """Where somebody removed the best checkpoint, the run ends with a warning and the last weights."""
    result = train(reader(), Worsening(), settings(epochs=2), folder=tmp_path)
    shutil.rmtree(Checkpoints(tmp_path).path(result.best_step or 0))
    model = reader()
    with pytest.warns(UserWarning, match="passed over"):
        again = train(model, Worsening(), settings(epochs=2), folder=tmp_path)
    assert (again.finished, again.best_step) == (True, None)
    last = Checkpoints(tmp_path).read(result.step).tensors()
    assert all(torch.equal(weight, last[f"model.{name}"]) for name, weight in model.named_parameters())


def test_an_error_while_writing_leaves_nothing(tmp_path: Path) -> None:
    """A checkpoint that is begun and not finished is not there."""
    checkpoints = Checkpoints(tmp_path)

    def write_and_fail() -> None:
        with checkpoints.writing(3) as folder:
            write_tensors(folder, {"x": torch.ones(3)})
            raise OSError(28, "No space left on device")

    with pytest.raises(CheckpointError, match="No space left"):
        write_and_fail()
    assert list(tmp_path.iterdir()) == []
    with checkpoints.writing(3) as folder:
        write_tensors(folder, {"x": torch.ones(3)})
        write_state(folder, {"step": 3, "sharded": False})
    assert torch.equal(checkpoints.read(3).tensors()["x"], torch.ones(3))


def test_another_model(tmp_path: Path) -> None:
    """A checkpoint of a model of another shape is refused, with the weight that does not fit."""
    train(reader(), Copying(), settings(epochs=1), folder=tmp_path)
    other = reader()
    other.scores = torch.nn.Linear(16, 13)
    with pytest.raises(CheckpointError, match=r"another model: model\.scores"):
        train(other, Copying(), settings(epochs=2), folder=tmp_path)


def test_another_model_says_what_it_was_made_from(tmp_path: Path) -> None:
    """If the caller gives `about`, the refusal names the changed value, not a weight."""
    train(reader(), Copying(), settings(epochs=1), folder=tmp_path, about={"width": 12, "depth": 2})
    other = reader()
    other.scores = torch.nn.Linear(16, 13)
    with pytest.raises(CheckpointError, match=r"another model: width was 12 and is now 13\. Go on with that"):
        train(other, Copying(), settings(epochs=1), folder=tmp_path, about={"width": 13, "depth": 2})


def test_the_limit_is_this_process_s_own() -> None:
    """The tests above limit their own child processes only."""
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY


@pytest.mark.skipif(os.name != "posix", reason="modes are POSIX")
def test_others_may_read_what_the_umask_lets_them(tmp_path: Path) -> None:
    """Every file of a checkpoint has the mode that any new file has, also those that a library writes."""
    before = os.umask(0o022)
    try:
        train(reader(), Copying(), settings(), folder=tmp_path / "run")
    finally:
        os.umask(before)
    modes = {file.name: oct(file.stat().st_mode & 0o777) for file in tmp_path.rglob("*") if file.is_file()}
    assert "tensors.safetensors" in modes
    assert set(modes.values()) == {"0o644"}, modes
