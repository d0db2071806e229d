"""The feed-forward half of a transformer layer."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from .._tracing import sizes
from .._values import choice, flag, probability, size, tensor
from ..errors import ShapeError
from .dropout import Dropout
from .projection import Projection
from .tokens import check_tokens

Activation = Literal["relu", "gelu", "gelu_tanh", "swiglu"]

_FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": F.relu,
    "gelu": F.gelu,
    "gelu_tanh": partial(F.gelu, approximate="tanh"),
    "swiglu": F.silu,
}


class FeedForward(nn.Module):
    """Two linear maps with a nonlinearity between them, applied to each token alone.

    Shapes: `(..., embed_dim)` to the same.

    Args:
        embed_dim: width of a token.
        ffn_dim: width inside; `4 · embed_dim` unless given, and for "swiglu", which has three maps in place of two,
            two thirds of that, rounded up to a multiple of 8.
        activation: "relu" or "gelu" (exact), "gelu_tanh" (its approximation, as in GPT-2), or "swiglu":
            `down(silu(gate(x)) · up(x))`, with gate and up stored as one map, gate first.
        dropout: probability to drop a feature inside, in training mode.
        bias: whether the maps have a bias.

    Maps start as Xavier uniform, biases 0. Cost: 2 (swiglu 3) products of `tokens · embed_dim · ffn_dim`.

    Source: Vaswani et al. 2017, section 3.3; Shazeer 2020, arXiv:2002.05202, for swiglu.

    >>> import torch
    >>> FeedForward(16, activation="swiglu")(torch.zeros(2, 3, 16)).shape
    torch.Size([2, 3, 16])
    """

    def __init__(
        self,
        embed_dim: int,
        ffn_dim: int | None = None,
        *,
        activation: Activation = "relu",
        dropout: float = 0.0,
        bias: bool = True,
    ) -> None:
        super().__init__()
        embed_dim, bias = size("embed_dim", embed_dim), flag("bias", bias)
        gated = choice("activation", activation, _FUNCTIONS) == "swiglu"
        if ffn_dim is None:
            ffn_dim = -(-8 * embed_dim // 3 // 8) * 8 if gated else 4 * embed_dim
        ffn_dim = size("ffn_dim", ffn_dim)
        self.embed_dim = embed_dim
        self.ffn_dim = ffn_dim
        self.activation = activation
        self.up = Projection(embed_dim, 2 * ffn_dim if gated else ffn_dim, bias=bias)
        self.dropout = Dropout(probability("dropout", dropout))
        self.down = Projection(ffn_dim, embed_dim, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """Return the transformed tokens."""
        if tensor("x", x).ndim != 1:  # a token alone is one, too
            check_tokens(self, "x", x, "embed_dim", self.embed_dim, self.up.weight)
        elif sizes(x) != (self.embed_dim,):
            raise ShapeError(f"FeedForward was given x of shape {tuple(x.shape)}; embed_dim is {self.embed_dim}.")
        inside = self.up(x)
        function = _FUNCTIONS[self.activation]
        if self.activation == "swiglu":
            gate, up = inside.chunk(2, -1)
            inside = function(gate) * up
        else:
            inside = function(inside)
        result: Tensor = self.down(self.dropout(inside))
        return result

    def extra_repr(self) -> str:
        """Show the settings."""
        return f"embed_dim={self.embed_dim}, ffn_dim={self.ffn_dim}, activation={self.activation!r}"
