"""The mask tensor of a call, read once for all layers."""

from __future__ import annotations

import threading
import weakref
from typing import NamedTuple

import torch
from torch import Tensor

from ..integrations import LOW, MaskReader, spreads
from ..masks import Mask

__all__ = ["CallMask", "CallMasks"]


class CallMask(NamedTuple):
    """What the mask tensor of a call says."""

    mask: Mask | None
    bias: Tensor | None
    spreads: bool
    """Whether a row holds nothing but the lowest number. PyTorch spreads such a row evenly; here it sees nothing."""


class CallMasks(threading.local):
    """Reads what `F.scaled_dot_product_attention` takes as its mask, and remembers the last tensor."""

    def __init__(self) -> None:
        self._reader = MaskReader()
        self._last: tuple[weakref.ref[Tensor], int, CallMask] | None = None

    def read(self, tensor: Tensor) -> CallMask:
        """Return what a tensor stands for: a mask, or a bias."""
        if tensor.is_inference():  # has no version to tell whether it was written to
            return self._read(tensor)
        if self._last is None or self._last[0]() is not tensor or self._last[1] != tensor._version:
            found = self._read(tensor)
            if found.bias is tensor:  # which would keep itself alive here
                found = found._replace(bias=None)
            self._last = (weakref.ref(tensor), tensor._version, found)
        found = self._last[2]
        return found._replace(bias=tensor) if found.mask is None and found.bias is None else found

    def _read(self, tensor: Tensor) -> CallMask:
        if not tensor.is_floating_point() or not spreads(tensor):
            return CallMask(*self._reader.read(tensor), False)
        hidden = tensor.detach().masked_fill(tensor < LOW, -torch.inf)
        return CallMask(*self._reader.read(hidden), True)
