"""A run that is killed at any moment and resumed has the result of an uninterrupted run."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from .small import Copying, digest, reader, settings

ARGUMENTS = ("--dropout", "0.2", "--epochs", "6")


def start(folder: Path, *more: str) -> subprocess.Popen[str]:
    """Start training in a process of its own."""
    command = [sys.executable, "-m", "tests.training.small", str(folder), *ARGUMENTS, *more]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(folder: Path) -> str:
    """Train to the end; return what ended it, the steps, and the digest of the weights."""
    out, errors = start(folder).communicate()
    assert out, errors
    return out


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What an undisturbed run ends with."""
    return finish(tmp_path_factory.mktemp("undisturbed"))


@pytest.mark.parametrize("number", range(8))
def test_killed(tmp_path: Path, undisturbed: str, number: int) -> None:
    """Killed at a random moment and started again, the weights are the same to the bit."""
    process = start(tmp_path, "--slow", "0.1")
    deadline = time.monotonic() + 300
    while not list(tmp_path.glob("step-*")) and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(random.Random(number).uniform(0, 0.7))
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL, "the run had ended before it was killed"
    assert list(tmp_path.glob("step-*"))
    assert finish(tmp_path) == undisturbed


def test_in_this_process(undisturbed: str) -> None:
    """The same run inside another program gives the same weights."""
    from regard.training import train

    model = reader(0.2)
    result = train(model, Copying(), settings(epochs=6))
    assert undisturbed == f"{result.stopped_by} {result.step} {digest(model)}\n"
