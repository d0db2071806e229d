"""When the numbers inside a tensor may be read, and what is asked of them."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .._tracing import plain

_PLAIN = (Tensor, torch.nn.Parameter)


def readable(tensor: Tensor) -> bool:
    """Return True if reading a value costs little and works: a real CPU tensor, in no compiled or traced call.

    On an accelerator the host would have to wait; in a graph, under `torch.func` or with fake tensors there is no
    number to read. There, code must give the same result without looking.
    """
    return type(tensor) in _PLAIN and tensor.device.type == "cpu" and plain()


def all_finite(*tensors: Tensor) -> bool:
    """Return True only if no element is NaN or infinite: one sum each, so a sum that overflows answers False."""
    return all(math.isfinite(tensor.detach().sum().item()) for tensor in tensors)
