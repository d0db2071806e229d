"""When the numbers inside a tensor may be read, and what is asked of them."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import pad

from .._tracing import plain

__all__ = ["all_finite", "readable", "steady_sum"]

_PLAIN = (Tensor, torch.nn.Parameter)
# PyTorch lets several threads share one sum from 32,768 numbers on.
_SHARED = 1 << 15
_PIECE = 1 << 10


def readable(tensor: Tensor) -> bool:
    """Return True if reading a value costs little and works: a real CPU tensor, in no compiled or traced call.

    On an accelerator the host would have to wait; in a graph, under `torch.func` or with fake tensors there is no
    number to read. There, code must give the same result without looking.
    """
    return type(tensor) in _PLAIN and tensor.device.type == "cpu" and plain()


def all_finite(*tensors: Tensor) -> bool:
    """Return True only if no element is NaN or infinite: one sum each, so a sum that overflows answers False."""
    return all(math.isfinite(tensor.detach().sum().item()) for tensor in tensors)


def steady_sum(tensor: Tensor, *dims: int, keepdim: bool = False) -> Tensor:
    """Return the sum over some dimensions in an order that the number of threads has no part in.

    PyTorch lets threads share a sum only where one number is left; then long ones are taken in pieces of fixed size.
    """
    last_first = sorted((dim % tensor.ndim for dim in dims), reverse=True)
    for dim in last_first:
        tensor = _kept(tensor, dim)
    return tensor if keepdim else tensor.squeeze(last_first)


def _kept(tensor: Tensor, dim: int) -> Tensor:
    size = tensor.shape[dim]
    if not (readable(tensor) and size == tensor.numel() >= _SHARED):
        return tensor.sum(dim, keepdim=True)
    pieces = pad(tensor.reshape(-1), (0, -size % _PIECE)).unflatten(0, (-1, _PIECE)).sum(-1)
    return _kept(pieces, 0).reshape([1] * tensor.ndim)
