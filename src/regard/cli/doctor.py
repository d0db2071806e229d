"""`regard doctor`: what this installation runs on, what is missing, and which backend a call would take."""

from __future__ import annotations

import importlib.util
import json
import platform
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from .. import Explanation, __version__, explain
from ..backends.native import LibraryInfo, fp32, library_info
from ..backends.triton import interpreted, problem, version
from ..errors import ArgumentError, install_line

# Packages whose presence shows that an extra is installed.
EXTRAS = {
    "train": ("tokenizers", "datasets", "sacrebleu", "sklearn"),
    "view": ("matplotlib", "starlette", "anywidget"),
    "hf": ("transformers", "huggingface_hub"),
    "export": ("onnx", "onnxscript", "onnxruntime"),
}


@dataclass(frozen=True)
class Doctor:
    """Report what regard runs on here, and which backend would run a call of the given size and why.

    Exit status: 0 if the native kernel is available, 1 if it is missing, 2 for an invalid call.
    """

    shape: tuple[int, int, int, int] = (1, 8, 1024, 64)
    """Size of the query of the call to explain: batch, heads, queries, head width."""
    keys: int | None = None
    """Number of keys; as many as queries unless given."""
    kv_heads: int | None = None
    """Number of key/value heads; as many as heads unless given."""
    dtype: Literal["float32", "bfloat16", "float16", "float64"] = "float32"
    """Element type of query, key and value."""
    device: str = "cpu"
    """Device of the tensors of the call."""
    causal: bool = False
    """The call is causal."""
    window: int | None = None
    """The call sees this many keys before each query, and none after it."""
    softcap: float | None = None
    """Softcap of the call."""
    dropout: float = 0.0
    """Dropout of the call, a probability in [0, 1)."""
    gradient: bool = False
    """The call is part of training."""
    json: bool = False
    """Print one JSON object, for scripts."""

    def run(self) -> int:
        """Print the findings; the exit status is explained at the class."""
        native, call = library_info(), self.explanation(self.device)
        print(json.dumps(self._findings(native, call), indent=2) if self.json else self._text(native, call))
        return 0 if native.problem is None else 1

    def explanation(self, device: str) -> Explanation:
        """Return `regard.explain` of the call that the options describe, on a device."""
        batch, heads, queries, width = self.shape
        keys = (batch, self.kv_heads or heads, queries if self.keys is None else self.keys, width)
        try:
            # Memory is reserved but never touched, so a long call costs nothing.
            options: dict[str, Any] = {"dtype": getattr(torch, self.dtype), "device": device}
            query = torch.empty(self.shape, requires_grad=self.gradient, **options)
            key, value = torch.empty(keys, **options), torch.empty(keys, **options)
        except (RuntimeError, AssertionError) as error:  # torch without CUDA raises AssertionError
            reason = str(error).splitlines()[0].rstrip(".")
            raise ArgumentError(
                f"A call of {self.shape} on {device!r} cannot be made: {reason}. Give another --shape or --device."
            ) from error
        window = None if self.window is None else (self.window, 0)
        return explain(query, key, value, causal=self.causal, window=window, softcap=self.softcap, dropout=self.dropout)

    def _findings(self, native: LibraryInfo, call: Explanation) -> dict[str, Any]:
        return {
            "regard": __version__,
            "python": platform.python_version(),
            "torch": torch.__version__,
            "machine": platform.machine(),
            "threads": torch.get_num_threads(),
            "gpus": _gpus(),
            "driver": _driver(),
            "triton": {"version": version(), "problem": problem("cuda"), "interpreted": interpreted()},
            "native": {
                "problem": native.problem,
                "path": None if native.path is None else str(native.path),
                "abi_version": native.abi_version,
                "isa": native.isa,
                "isas": native.isas,
                "processor": native.processor,
                "by_parts": native.parts,
                "fp32": fp32(),
                "threads": native.threads,
            },
            "missing": {extra: _missing(extra) for extra in EXTRAS},
            "backends": dict(call.rows),
            "kernels": dict(call.kernels),
            "chosen": call.chosen,
        }

    def _text(self, native: LibraryInfo, call: Explanation) -> str:
        lines = [
            f"regard   {__version__} on Python {platform.python_version()}, PyTorch {torch.__version__}, "
            f"{platform.machine()}, {torch.get_num_threads()} threads",
        ]
        if native.problem is None:
            lines += [
                f"native   {native.path}",
                f"         interface {native.abi_version}, instruction set {native.isa} "
                f"(this machine runs {', '.join(native.isas)}), {native.threads} threads",
                f"         processor {native.processor or 'unknown'}; {_multiplied(native)}",
            ]
        else:
            lines.append(f"native   MISSING, attention on the CPU is slower for it. {native.problem}")
        lines += _gpu_lines()
        for extra in EXTRAS:
            missing = _missing(extra)
            verdict = f"no {', '.join(missing)}: {install_line(extra)}" if missing else "installed"
            lines.append(f"{extra:8} {verdict}")
        options = [f"{name}={getattr(self, name)}" for name in ("keys", "kv_heads", "window", "softcap") if
                   getattr(self, name) is not None]  # fmt: skip
        options += [name for name in ("causal", "gradient") if getattr(self, name)]
        options += [f"dropout={self.dropout}"] if self.dropout else []
        size = " x ".join(map(str, self.shape))
        lines.append("\nA call of " + ", ".join([f"{size} {self.dtype} on {self.device}", *options]) + ":")
        lines.append(repr(call))
        if self.device == "cpu" and _gpus():
            lines += ["\nThe same on the GPU:", repr(self.explanation("cuda"))]
        return "\n".join(lines)


def _multiplied(native: LibraryInfo) -> str:
    if not native.parts:
        return "float32 multiplied as it is"
    how = {
        "auto": "by parts of bfloat16 where that was measured to be faster",
        "plain": "as they are",
        "parts": "by parts of bfloat16",
    }
    return f"{' and '.join(native.parts)} multiplied {how[fp32()]} (REGARD_FP32={fp32()})"


def _missing(extra: str) -> list[str]:
    return [package for package in EXTRAS[extra] if importlib.util.find_spec(package) is None]


def _gpus() -> list[dict[str, Any]]:
    if not torch.cuda.is_available():
        return []
    found = [torch.cuda.get_device_properties(index) for index in range(torch.cuda.device_count())]
    return [
        {"name": one.name, "capability": f"{one.major}.{one.minor}", "memory_gib": round(one.total_memory / 2**30, 1)}
        for one in found
    ]


def _cudnn() -> int | None:
    return torch.backends.cudnn.version() if torch.backends.cudnn.is_available() else None


def _driver() -> str | None:
    """Return the version of NVIDIA's driver; None where there is none, or the system does not say."""
    try:
        found = re.search(r"\b\d+\.\d+(\.\d+)?\b", _DRIVER.read_text("utf-8"))
    except OSError:
        return None
    return None if found is None else found[0]


_DRIVER = Path("/proc/driver/nvidia/version")


def _gpu_lines() -> list[str]:
    gpus = _gpus()
    runtime = torch.version.cuda or torch.version.hip
    built = f"PyTorch for {'CUDA' if torch.version.cuda else 'ROCm'} {runtime}" if runtime else "PyTorch for the CPU"
    if gpus:
        lines = [
            f"GPU      {one['name']}, compute capability {one['capability']}, {one['memory_gib']} GiB" for one in gpus
        ]
        lines.append(f"         driver {_driver() or 'unknown'}; {built}, cuDNN {_cudnn() or 'missing'}")
    else:
        lines = [f"GPU      none that PyTorch can use (driver {_driver() or 'not found'}; {built})"]
    if not gpus and version() is None:
        return [*lines, "triton   not installed; without a GPU nothing misses it"]
    if not gpus:
        how = "runs in its interpreter, for backend='triton'" if interpreted() else "waits for one"
        return [*lines, f"triton   {version()}, {how}"]
    reason = problem("cuda")
    if reason is None:
        return [*lines, f"triton   {version()}, compiles kernels for the GPU"]
    return [
        *lines,
        f"triton   MISSING: it {reason}. Without it a window or documents run as a dense mask; softcap, dropout and "
        "biases that learn run in plain PyTorch (math); and looking at weights streams the matrix in PyTorch.",
    ]
