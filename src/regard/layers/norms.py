"""The two normalisations of the literature, and none, by name."""

from __future__ import annotations

from typing import Literal, get_args

from torch import nn

from .._values import choice, number

__all__ = ["Norm", "make_norm"]

Norm = Literal["layer", "rms", "none"]


def make_norm(norm: Norm, dim: int, *, eps: float = 1e-5, bias: bool = True) -> nn.Module:
    """Return `nn.LayerNorm` for "layer", `nn.RMSNorm` (which has no bias) for "rms", over `dim` features.

    "none" is `nn.Identity`.
    """
    eps = number("norm_eps", eps, 0)
    if choice("norm", norm, get_args(Norm)) == "layer":
        return nn.LayerNorm(dim, eps=eps, bias=bias)
    if norm == "rms":
        return nn.RMSNorm(dim, eps=eps)
    return nn.Identity()
