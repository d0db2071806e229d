"""The measurement of the server of answers: that it runs, and what it says."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def test_quick(tmp_path: Path) -> None:
    """A line for each model and number of clients, and the same numbers as JSON."""
    pytest.importorskip("transformers")
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "serve-speed", "--quick", "--out", str(tmp_path)], capture_output=True,
        text=True, check=False, cwd=ROOT, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads((tmp_path / "serve-speed.json").read_text())["results"]
    assert {(one["clients"], one["requests"]) for one in found} == {(1, 20), (4, 80)}
    assert {one["model"] for one in found} == {"ours", "transformers"}
    for one in found:
        assert 0 < one["p50_ms"] <= one["p99_ms"]
        assert one["requests_per_second"] > 0
        assert one["cpu_ms_per_request"] > 0
        assert f"{one['requests_per_second']:.1f}" in done.stdout
