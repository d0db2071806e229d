"""Two processes that train one model do what one does, to the rounding of float32."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from regard.training import Batches, train
from regard.training.checkpoint import Checkpoints

from .small import Copying, reader, settings


def run(folder: Path, *more: str, torchrun: bool = False) -> subprocess.CompletedProcess[str]:
    """Train in two processes, started by torchrun or (sooner) as it would start them; return what both printed."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    program = ["-m", "tests.training.small", str(folder), "--weights", str(folder / "weights.pt"), *more]
    if torchrun:
        launch = ["-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-addr", "127.0.0.1"]
        return subprocess.run(
            [sys.executable, *launch, "--master-port", port, *program], capture_output=True, text=True, check=False,
            timeout=300, env={**os.environ, "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": "2", "OMP_NUM_THREADS": "1"}
    both = [
        subprocess.Popen(
            [sys.executable, *program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env={**os.environ, **place, "RANK": rank, "LOCAL_RANK": rank},
        )
        for rank in ("0", "1")
    ]  # fmt: skip
    said = [process.communicate(timeout=300) for process in both]
    code = max(abs(process.returncode) for process in both)
    return subprocess.CompletedProcess(program, code, "".join(out for out, _ in said), "".join(err for _, err in said))


def together(folder: Path, *more: str, torchrun: bool = False) -> dict[str, torch.Tensor]:
    """Train in two processes; return the weights."""
    done = run(folder, *more, torchrun=torchrun)
    assert done.returncode == 0, done.stderr[-3000:]
    weights: dict[str, torch.Tensor] = torch.load(folder / "weights.pt", weights_only=True)
    return weights


@pytest.mark.parametrize("what", ["evaluation", "listener"])
def test_an_error_in_the_first_process_reaches_all(tmp_path: Path, what: str) -> None:
    """An error in the first process ends every process with a message; none hangs."""
    done = run(tmp_path, "--fail", what)
    assert done.returncode != 0
    assert f"ValueError: this {what} fails" in done.stdout.splitlines()
    assert (
        f"FirstProcessError: The first process could not go on, so this one ends as well: ValueError: this {what}"
        in (done.stdout)
    )


@pytest.mark.parametrize("how", [(), ("--shard",)], ids=["DDP", "FSDP2"])
def test_steps_of_one_example(tmp_path: Path, how: tuple[str, ...]) -> None:
    """Where a step has fewer examples than there are processes, the weights are those of one process."""
    few = reader()
    batches = Batches(tokens_per_step=4, tokens_at_once=12)
    train(few, Copying(), replace(settings(epochs=0.3), batches=batches))
    found = together(tmp_path, "--per-step", "4", "--at-once", "12", "--epochs", "0.3", *how)
    for name, weight in few.state_dict().items():
        torch.testing.assert_close(found[name], weight, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("how", [(), ("--shard",)], ids=["DDP", "FSDP2"])
def test_two_processes(tmp_path: Path, how: tuple[str, ...]) -> None:
    """After three epochs, each step in several passes, the weights are those of one process; a stopped run goes on."""
    model = reader()
    train(model, Copying(), settings())
    found = together(tmp_path, "--twice", "--at-once", "24", *how, torchrun=True)
    for name, weight in model.state_dict().items():
        torch.testing.assert_close(found[name], weight, rtol=1e-3, atol=1e-4)
    newest = max(tmp_path.glob("step-*"))
    assert not list(newest.glob(".metadata"))
    assert {path.suffix for path in newest.iterdir()} == {".json", ".safetensors"}
    for path in newest.iterdir():
        path.unlink()
    again = together(tmp_path, "--at-once", "24", *how)
    assert all(torch.equal(found[name], again[name]) for name in found)


def test_disk_full(tmp_path: Path) -> None:
    """Sharded: if one process cannot write, both end with an error, older checkpoints stay, and the run resumes."""
    undisturbed = together(tmp_path, "--epochs", "1", "--shard")
    checkpoints = Checkpoints(tmp_path)
    for step in checkpoints.steps()[:-1]:  # as if it had been stopped after the oldest
        shutil.rmtree(checkpoints.path(step))
    before = checkpoints.steps()
    done = run(tmp_path, "--epochs", "1", "--shard", "--full-at", "2000")
    assert done.returncode != 0
    assert "could not be written" in done.stdout
    assert checkpoints.steps() == before
    assert not list(tmp_path.glob("unfinished-*"))
    weights = together(tmp_path, "--epochs", "1", "--shard")
    assert all(torch.equal(undisturbed[name], weights[name]) for name in weights)
