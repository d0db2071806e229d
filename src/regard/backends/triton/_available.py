"""Whether Triton can run here, and how: on an accelerator, or in its interpreter on tensors of the CPU.

Triton is imported at the first call and not before: that takes longer than importing regard.
"""

from __future__ import annotations

import functools
import importlib.util
import os
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed

OLDEST = (3, 6)
_TRUE = ("1", "true", "yes", "on", "y")


def interpreted() -> bool:
    """Return whether kernels run in Triton's interpreter, operation by operation in NumPy: to check, not to use."""
    return os.environ.get("TRITON_INTERPRET", "").lower() in _TRUE


@functools.cache
def version() -> str | None:
    """Return the version of Triton that is installed, or None. It comes with CUDA builds of PyTorch."""
    if importlib.util.find_spec("triton") is None:
        return None
    for name in ("triton", "pytorch-triton", "triton-rocm", "pytorch-triton-rocm"):
        try:
            return installed(name)
        except PackageNotFoundError:
            continue
    return "unknown"


def problem(device: str) -> str | None:
    """Say why there are no kernels for tensors on a type of device, or None."""
    found = version()
    if found is None:
        return "needs Triton, which is not installed (pip install triton; CUDA builds of PyTorch bring it along)"
    if _numbers(found) < OLDEST:
        return f"needs Triton {'.'.join(map(str, OLDEST))} or newer, not {found}"
    if device == "cpu" and not interpreted():
        return "compiles for GPUs; on the CPU it runs in Triton's interpreter alone, with TRITON_INTERPRET=1 set"
    if device != "cpu" and interpreted():
        return "is in Triton's interpreter, which takes tensors of the CPU; unset TRITON_INTERPRET"
    return None


def _numbers(text: str) -> tuple[int, ...]:
    first = text.split("+")[0].split(".")[:2]
    return tuple(int(part) for part in first) if all(part.isdigit() for part in first) else OLDEST


# While a graph is compiled both answers are constants, as in the native backend.
problem._dynamo_marked_constant = True  # type: ignore[attr-defined]
interpreted._dynamo_marked_constant = True  # type: ignore[attr-defined]
