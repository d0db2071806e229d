"""The two normalisations of the literature, by name."""

from __future__ import annotations

from typing import Literal, get_args

from torch import nn

from ..errors import ArgumentError, nearest

__all__ = ["Norm", "make_norm"]

Norm = Literal["layer", "rms"]


def make_norm(norm: Norm, dim: int, *, eps: float = 1e-5, bias: bool = True) -> nn.Module:
    """Return `nn.LayerNorm` for "layer" or `nn.RMSNorm` (which has no bias) for "rms", over `dim` features."""
    if norm == "layer":
        return nn.LayerNorm(dim, eps=eps, bias=bias)
    if norm == "rms":
        return nn.RMSNorm(dim, eps=eps)
    raise ArgumentError(f"norm is {norm!r}.{nearest(str(norm), get_args(Norm))} It is one of {get_args(Norm)}.")
