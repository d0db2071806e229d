"""Reading the mask tensors of other libraries, each once: what they hide, and what they add to the scores."""

from __future__ import annotations

import threading
import weakref
from typing import NamedTuple

import torch
from torch import Tensor

from .. import masks
from .._tracing import traced
from ..errors import ArgumentError
from ..masks import Mask

# Lower than any score: what is added to hide a key, and where a whole row holds it, absorbs the scores.
_LOW = -1e38


class Read(NamedTuple):
    """What a mask tensor says."""

    mask: Mask | None
    bias: Tensor | None
    spreads: bool = False
    """Whether a row holds nothing but the lowest number. PyTorch spreads such a row evenly; here it sees nothing."""


class MaskReader(threading.local):
    """Reads mask tensors and remembers the last one of each thread: every layer of a model passes the same.

    With `spreading` the lowest number hides also among other numbers, as where a mask was added to a bias (T5), and it
    says whether a row spreads evenly, and hides such rows; else the lowest number hides where a tensor holds nothing
    but it and 0, and is a bias where it holds more.
    """

    def __init__(self, *, spreading: bool = False) -> None:
        self._spreading = spreading
        self._last: tuple[weakref.ref[Tensor], int, bool, Read, bool] | None = None

    def read(self, tensor: Tensor) -> Read:
        """Return the mask and the bias that a tensor stands for, mostly one of the two.

        A bool tensor is True = may look. A floating one is added to the scores; it is a mask where it holds 0 and
        -inf (or the dtype's lowest value) alone and records no gradient. In compiled code, and on accelerators,
        nothing is read: bool stays dense, floating stays a bias. Cost: reads the tensor once.
        """
        if traced() or tensor.is_inference():  # has no version to tell whether it was written to
            return self._read(tensor)
        last = self._last
        if last is None or last[0]() is not tensor or last[1:3] != (tensor._version, tensor.requires_grad):
            found = self._read(tensor)
            itself = found.bias is tensor
            if itself:  # which would keep itself alive here
                found = found._replace(bias=None)
            last = self._last = (weakref.ref(tensor), tensor._version, tensor.requires_grad, found, itself)
        return last[3]._replace(bias=tensor) if last[4] else last[3]

    def _read(self, tensor: Tensor) -> Read:
        if not self._spreading or not tensor.is_floating_point():
            return Read(*_recognised(tensor))
        spreads = _spreads(tensor)
        mask, bias = _recognised(tensor.detach().masked_fill(tensor < _LOW, -torch.inf) if spreads else tensor)
        if bias is not None and _readable(tensor):  # a bias that hides too
            hidden = bias.detach() <= _lowest(bias)
            mask = masks.recognise(~hidden) if bool(hidden.any()) else None
        return Read(mask, bias, spreads)


def _recognised(tensor: Tensor) -> tuple[Mask | None, Tensor | None]:
    floating = tensor.is_floating_point()
    if not _readable(tensor) or (floating and tensor.requires_grad):
        return (None, tensor) if floating else (masks.dense(tensor), None)
    try:
        return masks.recognise(tensor), None
    except ArgumentError:
        return None, tensor


def _spreads(tensor: Tensor) -> bool:
    """Return whether a row of a floating mask holds nothing but the lowest number."""
    if not tensor.numel():
        return False
    highest = tensor.detach().amax(-1)
    return bool(((highest <= _lowest(tensor)) & (highest != -torch.inf)).any())


def _readable(tensor: Tensor) -> bool:
    return not traced() and tensor.device.type == "cpu"


def _lowest(tensor: Tensor) -> float:
    """Return the number up to which what is added to a score hides."""
    return max(_LOW, torch.finfo(tensor.dtype).min)
