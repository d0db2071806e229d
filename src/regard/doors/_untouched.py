"""Calls whose values cannot be read, and which therefore run as they are."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import is_traceable_wrapper_subclass

from .._tracing import jit_traced, transformed

PLAIN = (Tensor, nn.Parameter)
_PROXY = torch._C._TorchDispatchModeKey.PROXY


def untouched(tensors: Iterable[Any]) -> str | None:
    """Say why the values of a call cannot be read, None if they can."""
    proxies = torch._C._get_dispatch_mode(_PROXY) is not None
    if proxies or transformed() or jit_traced() or torch.compiler.is_compiling():
        return "traced or transformed code"
    for tensor in tensors:
        kind = type(tensor)
        if kind in PLAIN:
            if tensor.layout is not torch.strided or tensor.is_nested:
                return "nested or sparse tensors"
            if tensor.is_meta:
                return "tensors without numbers"
        elif kind is torch.fx.Proxy:
            return "traced or transformed code"
        elif isinstance(tensor, Tensor) and (
            is_traceable_wrapper_subclass(tensor) or kind.__torch_dispatch__ is not Tensor.__torch_dispatch__
        ):
            return f"{kind.__name__}, which computes in its own way"
    return None
