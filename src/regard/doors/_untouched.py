"""Calls whose numbers cannot be looked at, and which therefore run as they are."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import is_traceable_wrapper_subclass

from .._tracing import jit_traced, transformed

__all__ = ["PLAIN", "untouched"]

PLAIN = (Tensor, nn.Parameter)


def untouched(tensors: Iterable[Any]) -> str | None:
    """Say why the numbers of a call cannot be looked at, None if they can."""
    proxies = torch._C._get_dispatch_mode(torch._C._TorchDispatchModeKey.PROXY) is not None
    if torch.compiler.is_compiling() or transformed() or jit_traced() or proxies:
        return "traced or transformed code"
    for tensor in tensors:
        if isinstance(tensor, torch.fx.Proxy):
            return "traced or transformed code"
        if not isinstance(tensor, Tensor):
            continue
        if tensor.is_nested or tensor.layout != torch.strided:
            return "nested or sparse tensors"
        if tensor.is_meta:
            return "tensors without numbers"
        if type(tensor) in PLAIN:
            continue
        if is_traceable_wrapper_subclass(tensor) or type(tensor).__torch_dispatch__ is not Tensor.__torch_dispatch__:
            return f"{type(tensor).__name__}, which computes in its own way"
    return None
