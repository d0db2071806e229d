"""Sums and exponentials of PyTorch that the number of threads changes no bit of; on an accelerator they are its own."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import pad

from .._tracing import jit_traced, traced
from ._values import readable

# PyTorch gives each thread at least so many numbers.
_SHARE = 1 << 15
# Numbers that one step of its vector code takes, and some more.
_STEP = 64
_PIECE = 1 << 10


def steady_sum(tensor: Tensor, *dims: int, keepdim: bool = False) -> Tensor:
    """Return the sum over some dimensions.

    PyTorch lets threads share a sum only where one number is left; then long ones are taken in pieces of fixed size.
    """
    last_first = sorted((dim % tensor.ndim for dim in dims), reverse=True)
    for dim in last_first:
        tensor = _kept(tensor, dim)
    return tensor if keepdim else tensor.squeeze(last_first)


def _kept(tensor: Tensor, dim: int) -> Tensor:
    size = tensor.shape[dim]
    if not (readable(tensor) and size == tensor.numel() >= _SHARE):
        return tensor.sum(dim, keepdim=True)
    pieces = pad(tensor.reshape(-1), (0, -size % _PIECE)).unflatten(0, (-1, _PIECE)).sum(-1)
    return _kept(pieces, 0).reshape([1] * tensor.ndim)


def steady(function: Callable[..., Tensor], *tensors: Tensor) -> Tensor:
    """Return a function of the numbers of tensors of one shape; differentiable.

    Pieces that no threads share are rounded as one thread rounds the whole.
    """
    first = tensors[0]
    if not readable(first) or first.numel() <= _SHARE or torch.get_num_threads() == 1:
        return function(*tensors)
    pieces = zip(*(tensor.reshape(-1).split(_SHARE) for tensor in tensors), strict=True)
    return torch.cat([function(*piece) for piece in pieces]).view(first.shape)


def steady_exp2_(tensor: Tensor) -> Tensor:
    """Return 2 to the power of each number, in place where no transform of PyTorch traces it.

    What is left over at the end of a thread's share is rounded otherwise than what vector code takes. So the shares are
    made whole steps, and what is left over is that of the whole tensor, as with one thread.
    """
    if traced():  # the older exporter to ONNX knows no base but e
        return (tensor * math.log(2.0)).exp() if jit_traced() else tensor.exp2()
    threads, size = torch.get_num_threads(), tensor.numel()
    if threads == 1 or size <= _SHARE or not readable(tensor) or not tensor.is_contiguous():
        return tensor.exp2_()
    even = threads * _STEP if size >= threads * _SHARE else _SHARE
    flat = tensor.view(-1)
    for part in flat.tensor_split([size // even * even]):
        part.exp2_()
    return tensor
