"""Which tool of PyTorch stands around a call: what may be read and remembered, and which operators it knows."""

from __future__ import annotations

import warnings
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.jit._trace import TracerWarning
from torch.utils._python_dispatch import is_in_torch_dispatch_mode

_NOTHING = nullcontext()


def jit_traced() -> bool:
    """Return whether `torch.jit.trace`, or the ONNX exporter built on it, writes down every operator of torch."""
    return torch._C._get_tracing_state() is not None


def transformed() -> bool:
    """Return whether a transform of `torch.func` (vmap, grad, ...) is under way."""
    return bool(torch._C._are_functorch_transforms_active())


def forward_mode() -> bool:
    """Return whether tensors may carry tangents: `torch.func.jvp` and `torch.autograd.forward_ad`."""
    return forward_ad._current_level >= 0


def in_backward() -> bool:
    """Return whether a backward pass runs on this thread: what runs in it ran before, or is a derivative."""
    return not torch.compiler.is_compiling() and torch._C._current_graph_task_id() != -1


def traced() -> bool:
    """Return whether tensors may be symbols, wrappers or examples: nothing is read from them, nothing remembered."""
    return torch.compiler.is_compiling() or jit_traced() or is_in_torch_dispatch_mode() or transformed()


def recorded() -> bool:
    """Return whether a call must consist of operators that every tool knows, and for any sizes.

    `torch.jit.trace` and the ONNX exporters run or translate them without us, forward mode differentiates them.
    Graphs for torch itself (compile, export, `make_fx`, fake tensors) know our own operators.
    """
    return jit_traced() or forward_mode() or (torch.compiler.is_compiling() and torch.onnx.is_in_onnx_export())


def plain() -> bool:
    """Return whether no tool is at work: what is computed is used once, here and now."""
    return not (traced() or forward_mode())


def sizes(tensor: Tensor) -> tuple[int, ...]:
    """Return the shape as plain numbers, for a check: under `torch.jit.trace` `.shape` holds tensors of the graph."""
    state = torch._C._get_tracing_state()
    if state is None:
        return tensor.shape
    torch._C._set_tracing_state(None)  # type: ignore[attr-defined]
    try:
        return tuple(tensor.shape)
    finally:
        torch._C._set_tracing_state(state)  # type: ignore[attr-defined]


def full_precision(device: str) -> AbstractContextManager[object]:
    """Switch autocast off, which has cast the inputs already: products and sums stay in the accumulation dtype."""
    if device == "meta" or not torch.is_autocast_enabled(device):
        return _NOTHING
    return torch.autocast(device, enabled=False)


def quiet() -> AbstractContextManager[object]:
    """Let checks of sizes pass without the warning that they hold for the traced sizes only: that is what they do."""
    if not jit_traced():
        return _NOTHING
    return warnings.catch_warnings(record=False, action="ignore", category=TracerWarning)
