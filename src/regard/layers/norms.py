"""LayerNorm, RMSNorm or no normalisation, by name."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor, nn

from .._tracing import jit_traced
from .._values import choice, number

Norm = Literal["layer", "rms", "none"]


class RMSNorm(nn.RMSNorm):
    """`nn.RMSNorm`, written as plain operators under `torch.jit.trace`: the older ONNX exporter lacks the operator.

    >>> norm = RMSNorm(4, eps=1e-6)
    >>> bool(norm(torch.ones(2, 4)).allclose(torch.ones(2, 4)))
    True
    """

    def forward(self, x: Tensor) -> Tensor:
        """Return `x` over the root of its mean square, times the weight."""
        if not jit_traced() or self.eps is None:
            return super().forward(x)
        normed = x * torch.rsqrt(x.square().mean(-1, keepdim=True) + self.eps)
        return normed if self.weight is None else normed * self.weight


def make_norm(norm: Norm, dim: int, *, eps: float = 1e-5, bias: bool = True) -> nn.Module:
    """Return `nn.LayerNorm` for "layer", `RMSNorm` (which has no bias) for "rms", over `dim` features.

    "none" is `nn.Identity`.
    """
    eps = number("norm_eps", eps, 0)
    if choice("norm", norm, get_args(Norm)) == "layer":
        return nn.LayerNorm(dim, eps=eps, bias=bias)
    if norm == "rms":
        return RMSNorm(dim, eps=eps)
    return nn.Identity()
