"""The measurement of a GPU, where there is none."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import torch

ROOT = Path(__file__).parents[2]


def _run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "benchmarks", "gpu", *words], capture_output=True, text=True, check=False, cwd=ROOT,
        timeout=900,
    )  # fmt: skip


def test_without_a_gpu_it_says_so() -> None:
    """One sentence, and no traceback."""
    if torch.cuda.is_available():
        return
    done = _run()
    assert done.returncode == 1
    assert done.stderr.startswith("python -m benchmarks gpu measures a GPU, and PyTorch finds none here")
    assert "Traceback" not in done.stderr


def test_each_step_runs(tmp_path: Path) -> None:
    """The dry run goes through conformance, every table, the JSON file and the picture."""
    done = _run("--dry-run", "--out", str(tmp_path))
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads((tmp_path / "gpu.json").read_text())["results"]
    by_name = {one["what"]: one for one in found}
    assert by_name["conformance"]["passed"] is True, by_name["conformance"]["said"]
    assert by_name["left out"]["parts"] == []
    for part in ("attention", "looks", "decode", "window", "memory", "watched encoder"):
        ours = {name: ms for name, ms in by_name[part]["times"].items() if name not in ("cuDNN", "FA2", "Flex")}
        assert all(isinstance(ms, float) for name, ms in ours.items() if "cuDNN" not in name), by_name[part]
    assert (tmp_path / "gpu.png").stat().st_size > 10_000
