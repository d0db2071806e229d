"""The installed packages are the pinned ones, and every pin exists as a wheel."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
from importlib.metadata import distributions
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[2]
# Not pinned: Python's own packages, regard itself, and dependencies of certain builds of PyTorch.
FREE = re.compile(r"pip|regard|torch|torchvision|triton|nvidia-.*|cuda-.*|setuptools")


def normal(name: str) -> str:
    """Return a package's name as it is compared."""
    return re.sub(r"[-_.]+", "-", name).lower()


def pins() -> dict[str, str]:
    """Return the pinned version of each package."""
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    return {normal(name): version for name, _, version in (line.partition("==") for line in lines) if version}


def test_what_is_installed_is_pinned() -> None:
    """Every package of this environment has a pin, and has that version."""
    place = [sysconfig.get_path("purelib")]  # setuptools puts a folder of its own on the path
    installed = {normal(one.metadata["Name"]): one.version for one in distributions(path=place)}
    assert "torch" in installed
    wrong = {name: version for name, version in installed.items()
             if not FREE.fullmatch(name) and pins().get(name) != version}  # fmt: skip
    assert wrong == {}, "pin them in constraints.txt"


def test_the_pinned_torch_is_tested() -> None:
    """The suite runs on the pinned PyTorch, unless an environment of its own was made for another."""
    if "torch" not in Path(sys.prefix).name:
        assert torch.__version__.partition("+")[0] == pins()["torch"]


def test_every_pin_is_a_built_package() -> None:
    """Nothing but regard is ever built from source: the registry has a wheel of every pin for this system."""
    command = [sys.executable, "-m", "pip", "install", "--dry-run", "-q", "--ignore-installed", "--no-deps"]
    command += ["--only-binary", ":all:", "-r", str(ROOT / "constraints.txt")]
    if "registry" not in os.environ.get("REGARD_REQUIRE", ""):
        pytest.skip("asks the package registry; REGARD_REQUIRE=registry runs it")
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stderr
