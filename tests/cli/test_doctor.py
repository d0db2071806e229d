"""`regard doctor`, and what every command shares."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys

import pytest
import torch

from regard import use_backend
from regard.backends.native import library_info
from regard.cli import doctor, main


def test_json_tells_what_the_library_tells(capsys: pytest.CaptureFixture[str]) -> None:
    """The JSON has the versions, the kernel and the table of the call."""
    status = main(["doctor", "--json", "--causal", "--shape", "2", "4", "100", "32"])
    found, native = json.loads(capsys.readouterr().out), library_info()
    assert status == (0 if native.problem is None else 1)
    assert found["torch"] == torch.__version__
    assert found["native"]["isa"] == native.isa
    assert found["native"]["abi_version"] == native.abi_version
    assert list(found["backends"]) == ["native", "fused", "triton", "math", "reference"]
    assert found["backends"][found["chosen"]] is None


def test_text_explains_the_call(capsys: pytest.CaptureFixture[str]) -> None:
    """The text names the options given, and why a backend refuses."""
    main(["doctor", "--dtype", "float64", "--dropout", "0.1", "--gradient", "--window", "64", "--kv-heads", "2"])
    text = capsys.readouterr().out
    assert "A call of 1 x 8 x 1024 x 64 float64 on cpu, kv_heads=2, window=64, gradient, dropout=0.1:" in text
    assert "-> math       runs this call" in text
    assert "does not compute in float64" in text
    assert 'pip install ".[hf]"' in text or "hf       installed" in text


def test_a_mistake_is_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    """An invalid call is an error without a traceback, with status 2; `--debug` shows the traceback."""
    assert main(["doctor", "--kv-heads", "3"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("regard: The query has 8 heads and the key 3")
    assert "Traceback" not in error
    assert main(["doctor", "--device", "nowhere"]) == 2
    assert "Give another --shape or --device" in capsys.readouterr().err
    with pytest.raises(ValueError, match="8 heads and the key 3"):
        main(["doctor", "--kv-heads", "3", "--debug"])


def run(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the module as a command."""
    return subprocess.run(
        [sys.executable, "-m", "regard", *words], capture_output=True, text=True, check=False,
        env={**os.environ, **environment},
    )  # fmt: skip


def test_doctor_needs_no_extra() -> None:
    """Without tyro, plain `doctor` runs, and any other command says what to install."""
    code = "import sys; sys.modules['tyro'] = None; from regard.cli import main; sys.exit(main())"
    words = [sys.executable, "-c", code]
    plain = subprocess.run([*words, "doctor"], capture_output=True, text=True, check=False)
    assert plain.stdout.startswith("regard   ")
    other = subprocess.run([*words, "doctor", "--json"], capture_output=True, text=True, check=False)
    assert other.returncode == 2
    assert 'pip install ".[train]"' in other.stderr


def test_as_a_module() -> None:
    """`python -m regard --help` lists the commands; a wrong instruction set is reported."""
    assert "doctor" in run("--help").stdout
    wrong = run("doctor", REGARD_ISA="avx9000")
    assert "avx9000" in wrong.stdout + wrong.stderr
    assert wrong.returncode != 0


@pytest.mark.parametrize("installed", [True, False])
def test_a_gpu(installed: bool, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """GPU, driver and Triton are named; a missing Triton is said with what it costs."""
    from types import SimpleNamespace

    properties = SimpleNamespace(name="NVIDIA H200", major=9, minor=0, total_memory=139 << 30)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: properties)
    monkeypatch.setattr(doctor, "_driver", lambda: "580.65.06")
    monkeypatch.setattr(doctor, "version", lambda: "3.9.0" if installed else None)
    monkeypatch.setattr(doctor, "problem", lambda device: None if installed else "needs Triton (pip install triton)")
    monkeypatch.setattr(doctor.Doctor, "explanation", lambda self, device: f"a call on {device}")
    text = "\n".join(doctor._gpu_lines())
    assert "NVIDIA H200, compute capability 9.0, 139.0 GiB" in text
    assert "driver 580.65.06" in text
    assert ("triton   3.9.0, compiles kernels for the GPU" in text) == installed
    assert ("MISSING" in text and "pip install triton" in text and "softcap" in text) != installed
    given = doctor.Doctor()._text(library_info(), "a call on cpu")  # type: ignore[arg-type]
    assert "The same on the GPU:\n'a call on cuda'" in given


def test_how_float32_is_multiplied(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there are tiles the setting in force is said, else that there is one way."""
    here = library_info()
    assert "float32 multiplied as it is" in doctor._multiplied(dataclasses.replace(here, parts=()))
    tiled = dataclasses.replace(here, parts=("float32", "float16"))
    assert "float32 and float16 multiplied by parts of bfloat16 where that was measured" in doctor._multiplied(tiled)
    with use_backend(None, fp32="plain"):
        assert doctor._multiplied(tiled) == "float32 and float16 multiplied as they are (REGARD_FP32=plain)"


def test_without_a_gpu(capsys: pytest.CaptureFixture[str]) -> None:
    """Triton is named, and nothing misses it."""
    if torch.cuda.is_available():
        return
    main(["doctor"])
    text = capsys.readouterr().out
    assert "GPU      none that PyTorch can use" in text
    assert "triton   " in text
    assert "triton   MISSING" not in text
