"""The mask tensor of a call, read once for all layers, and only where that leaves the output what it is."""

from __future__ import annotations

import weakref

import torch
from torch import Tensor

from ..integrations import MaskReader
from ..masks import Mask

__all__ = ["CallMasks"]


class CallMasks:
    """Reads what `F.scaled_dot_product_attention` takes as its mask.

    A floating tensor of 0 and the dtype's lowest value stays a bias where it leaves a row nothing: PyTorch spreads
    such a row evenly, and a mask would make it 0.
    """

    def __init__(self) -> None:
        self._reader = MaskReader()
        self._checked: tuple[weakref.ref[Tensor], int, bool] | None = None

    def read(self, tensor: Tensor) -> tuple[Mask | None, Tensor | None]:
        """Return the mask and the bias that a tensor stands for, one of them None."""
        mask, bias = self._reader.read(tensor)
        if mask is None or not tensor.is_floating_point() or not self._spreads(tensor):
            return mask, bias
        return None, tensor

    def _spreads(self, tensor: Tensor) -> bool:
        """Say whether a row holds no 0 and is not all -inf."""
        if tensor.is_inference():
            return _spreads(tensor)
        if self._checked is None or self._checked[0]() is not tensor or self._checked[1] != tensor._version:
            self._checked = (weakref.ref(tensor), tensor._version, _spreads(tensor))
        return self._checked[2]


def _spreads(tensor: Tensor) -> bool:
    nothing = (tensor != 0).all(-1)
    return bool((nothing & (tensor != -torch.inf).any(-1)).any())
