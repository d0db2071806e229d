"""Two processes that train one model do what one does, to the rounding of float32."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from regard.training import train

from .small import Copying, reader, settings


def together(folder: Path, *more: str) -> dict[str, torch.Tensor]:
    """Train in two processes started by torchrun; return the weights."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-addr", "127.0.0.1",
               "--master-port", str(port), "-m", "tests.training.small", str(folder), "--weights",
               str(folder / "weights.pt"), *more]  # fmt: skip
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=300, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    assert done.returncode == 0, done.stderr[-3000:]
    weights: dict[str, torch.Tensor] = torch.load(folder / "weights.pt", weights_only=True)
    return weights


@pytest.mark.parametrize("how", [(), ("--shard",)], ids=["DDP", "FSDP2"])
def test_two_processes(tmp_path: Path, how: tuple[str, ...]) -> None:
    """The weights after three epochs are those of one process, and a stopped run goes on."""
    model = reader()
    train(model, Copying(), settings())
    found = together(tmp_path, *how)
    for name, weight in model.state_dict().items():
        torch.testing.assert_close(found[name], weight, rtol=1e-3, atol=1e-4)
    newest = max(tmp_path.glob("step-*"))
    assert not list(newest.glob(".metadata"))
    assert {path.suffix for path in newest.iterdir()} == {".json", ".safetensors"}
    for path in newest.iterdir():
        path.unlink()
    again = together(tmp_path, *how)
    assert all(torch.equal(found[name], again[name]) for name in found)
