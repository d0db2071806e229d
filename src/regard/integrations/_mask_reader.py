"""Tensors that other code passes as masks, read once: what they hide, and what they add to the scores."""

from __future__ import annotations

import weakref

import torch
from torch import Tensor

from .. import masks
from .._tracing import traced
from ..errors import ArgumentError
from ..masks import Mask

__all__ = ["LOW", "MaskReader", "spreads"]

# Lower than any score: what is added to hide a key, and where a whole row holds it, absorbs the scores.
LOW = -1e38
Answer = tuple[Mask | None, Tensor | None]


class MaskReader:
    """Reads mask tensors and remembers the last one: every layer of a model passes the same.

    With `exact`, a tensor in which the lowest number fills a row stays a bias: PyTorch spreads such a row evenly, where
    a mask gives 0.
    """

    def __init__(self, *, exact: bool = False) -> None:
        self._exact = exact
        self._last: tuple[weakref.ref[Tensor], int, Answer] | None = None

    def read(self, tensor: Tensor) -> Answer:
        """Return the mask and the bias that a tensor stands for, one of them None.

        A bool tensor is True = may look. A floating one is added to the scores; it is a mask where it holds 0 and
        -inf (or the dtype's lowest value) alone and records no gradient. In compiled code, and on accelerators,
        nothing is read: bool stays dense, floating stays a bias. Cost: reads the tensor once.
        """
        floating = tensor.is_floating_point()
        if traced() or tensor.device.type != "cpu" or (floating and tensor.requires_grad):
            return (None, tensor) if floating else (masks.dense(tensor), None)
        if tensor.is_inference():  # has no version to tell whether it was written to
            return self._recognised(tensor)
        if self._last is not None:
            known, version, answer = self._last
            if known() is tensor and version == tensor._version:
                return answer
        answer = self._recognised(tensor)
        if answer[1] is None:  # a bias would keep itself alive here
            self._last = (weakref.ref(tensor), tensor._version, answer)
        return answer

    def _recognised(self, tensor: Tensor) -> Answer:
        if self._exact and tensor.is_floating_point() and spreads(tensor):
            return None, tensor
        try:
            return masks.recognise(tensor), None
        except ArgumentError:
            return None, tensor


def spreads(tensor: Tensor) -> bool:
    """Return whether a row of a floating mask holds nothing but the lowest number."""
    if not tensor.numel():
        return False
    highest = tensor.detach().amax(-1)
    return bool(((highest <= max(LOW, torch.finfo(tensor.dtype).min)) & (highest != -torch.inf)).any())
