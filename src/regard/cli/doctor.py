"""`regard doctor`: what this installation runs on, what is missing, and which backend a call would take."""

from __future__ import annotations

import importlib.util
import json
import platform
from dataclasses import dataclass
from typing import Any, Literal

import torch

from .. import Explanation, __version__, explain
from ..backends.native import LibraryInfo, library_info
from ..errors import ArgumentError, install_line

__all__ = ["Doctor"]

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
        native, call = library_info(), self.explanation()
        print(json.dumps(self._findings(native, call), indent=2) if self.json else self._text(native, call))
        return 0 if native.problem is None else 1

    def explanation(self) -> Explanation:
        """Return `regard.explain` of the call that the options describe."""
        batch, heads, queries, width = self.shape
        keys = (batch, self.kv_heads or heads, queries if self.keys is None else self.keys, width)
        try:
            # Memory is reserved but never touched, so a long call costs nothing.
            options: dict[str, Any] = {"dtype": getattr(torch, self.dtype), "device": self.device}
            query = torch.empty(self.shape, requires_grad=self.gradient, **options)
            key, value = torch.empty(keys, **options), torch.empty(keys, **options)
        except (RuntimeError, AssertionError) as error:  # torch without CUDA raises AssertionError
            reason = str(error).splitlines()[0].rstrip(".")
            raise ArgumentError(
                f"A call of {self.shape} on {self.device!r} cannot be made: {reason}. Give another --shape or --device."
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
            "gpu": _gpu(),
            "native": {
                "problem": native.problem,
                "path": None if native.path is None else str(native.path),
                "abi_version": native.abi_version,
                "isa": native.isa,
                "isas": native.isas,
                "processor": native.processor,
                "threads": native.threads,
            },
            "missing": {extra: _missing(extra) for extra in EXTRAS},
            "backends": dict(call.rows),
            "chosen": call.chosen,
        }

    def _text(self, native: LibraryInfo, call: Explanation) -> str:
        lines = [
            f"regard   {__version__} on Python {platform.python_version()}, PyTorch {torch.__version__}, "
            f"{platform.machine()}, {torch.get_num_threads()} threads, GPU: {_gpu() or 'none'}",
        ]
        if native.problem is None:
            lines += [
                f"native   {native.path}",
                f"         interface {native.abi_version}, instruction set {native.isa} "
                f"(this machine runs {', '.join(native.isas)}), {native.threads} threads",
                f"         processor {native.processor or 'unknown'}",
            ]
        else:
            lines.append(f"native   MISSING, attention on the CPU is slower for it. {native.problem}")
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
        return "\n".join([*lines, repr(call)])


def _missing(extra: str) -> list[str]:
    return [package for package in EXTRAS[extra] if importlib.util.find_spec(package) is None]


def _gpu() -> str | None:
    return torch.cuda.get_device_name() if torch.cuda.is_available() else None
