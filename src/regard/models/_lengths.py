"""The lengths `(B,)` of the sequences of a batch; what follows them is padding."""

from __future__ import annotations

import torch
from torch import Tensor

from .. import masks
from .._mask_parts import readable
from .._values import tensor
from ..errors import ArgumentError, DtypeError, ShapeError
from ..masks import Mask


def check_lengths(lengths: Tensor | None, tokens: Tensor, name: str = "lengths") -> Tensor | None:
    """Return the lengths on the device of the tokens, or None if there is no padding."""
    if lengths is None:
        return None
    if tensor(name, lengths).ndim == 0 or tensor("tokens", tokens).ndim < 2:
        raise ShapeError(f"{name} has shape {tuple(lengths.shape)}; the rule is (B,), beside tokens (B, L).")
    batch, longest = tokens.shape[:2]
    if lengths.shape != (batch,):
        raise ShapeError(f"{name} has shape {tuple(lengths.shape)}; the rule is (B,) with B={batch}.")
    if lengths.dtype not in (torch.int64, torch.int32):
        raise DtypeError(f"{name} is {lengths.dtype}; give the number of tokens of each sequence as int64.")
    if readable(lengths):
        low, high = (int(edge) for edge in lengths.aminmax())
        if low < 0 or high > longest:
            raise ArgumentError(f"{name} holds {low if low < 0 else high}; sequences here have 0 to {longest} tokens.")
        if low == longest:
            return None
    return lengths.to(tokens.device)


def padding_mask(lengths: Tensor | None) -> Mask | None:
    """Return the mask that hides padding from attention; spans, so that blocks of padding are skipped."""
    return None if lengths is None else masks.padding(lengths)


def real(lengths: Tensor, longest: int) -> Tensor:
    """Return which tokens are real: bool `(B, longest)`."""
    return torch.arange(longest, device=lengths.device) < lengths[:, None]
