"""A transformer layer that also attends to a memory, and a stack of such layers."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from .._checks import check_mask
from .._values import flag, instance, probability, size
from ..biases import PositionBias
from ..masks import Mask
from .cache import LayerCache, StackCache
from .dropout import Dropout
from .embeddings import ALiBi, RelativeBias, Rotary
from .feed_forward import Activation, FeedForward
from .multi_head_attention import MultiHeadAttention
from .norms import Norm, make_norm
from .stack import LayerStack, Weights, enter, leave
from .tokens import check_tokens


class DecoderLayer(nn.Module):
    """Causal self-attention, cross-attention to a memory, feed-forward; each with dropout, residual and norm.

    Shapes: `x` `(B, L, embed_dim)` and `memory` `(B, S, memory_dim)` to `(B, L, embed_dim)`.

    Args:
        memory_dim: width of the memory's tokens; `embed_dim` unless given.
        position: for self-attention only; cross-attention has none.

    The others are those of `EncoderLayer`. Source: Vaswani et al. 2017, section 3.1.

    >>> import torch
    >>> layer = DecoderLayer(32, 4, dropout=0.0)
    >>> layer(torch.zeros(2, 5, 32), torch.zeros(2, 7, 32)).shape
    torch.Size([2, 5, 32])
    """

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        ffn_dim: int | None = None,
        *,
        num_kv_heads: int | None = None,
        head_dim: int | None = None,
        memory_dim: int | None = None,
        activation: Activation = "relu",
        norm: Norm = "layer",
        norm_first: bool = False,
        norm_eps: float = 1e-5,
        dropout: float = 0.1,
        attention_dropout: float | None = None,
        bias: bool = True,
        qk_norm: bool = False,
        position: Rotary | ALiBi | RelativeBias | None = None,
    ) -> None:
        super().__init__()
        self.norm_first = flag("norm_first", norm_first)
        dropout = probability("dropout", dropout)
        if attention_dropout is not None:
            attention_dropout = probability("attention_dropout", attention_dropout)
        weight_dropout = dropout if attention_dropout is None else attention_dropout
        memory_dim = None if memory_dim is None else size("memory_dim", memory_dim)
        self.self_attention = MultiHeadAttention(
            embed_dim, num_heads, num_kv_heads=num_kv_heads, head_dim=head_dim, bias=bias, qk_norm=qk_norm,
            dropout=weight_dropout, position=position,
        )  # fmt: skip
        self.self_attention_norm = make_norm(norm, embed_dim, eps=norm_eps, bias=bias)
        self.cross_attention = MultiHeadAttention(
            embed_dim, num_heads, num_kv_heads=num_kv_heads, head_dim=head_dim, kdim=memory_dim, vdim=memory_dim,
            bias=bias, qk_norm=qk_norm, dropout=weight_dropout,
        )  # fmt: skip
        self.cross_attention_norm = make_norm(norm, embed_dim, eps=norm_eps, bias=bias)
        self.feed_forward = FeedForward(embed_dim, ffn_dim, activation=activation, dropout=dropout, bias=bias)
        self.feed_forward_norm = make_norm(norm, embed_dim, eps=norm_eps, bias=bias)
        self.dropout = Dropout(dropout)

    def forward(
        self,
        x: Tensor,
        memory: Tensor,
        *,
        mask: Mask | Tensor | None = None,
        causal: bool = True,
        window: tuple[int | None, int | None] | None = None,
        bias: PositionBias | Tensor | None = None,
        memory_mask: Mask | Tensor | None = None,
        need_weights: bool = False,
        backend: str | None = None,
        cache: LayerCache | None = None,
    ) -> Tensor | tuple[Tensor, Weights]:
        """Return the layer's output; with `need_weights=True` also the weights by name.

        `mask causal window bias` concern self-attention, `memory_mask` which keys of the memory may be seen.
        """
        if cache is not None:
            instance("cache", cache, LayerCache, "a LayerCache, of a StackCache from new_cache()")
        memory_mask = check_mask("memory_mask", memory_mask)
        attention = self.self_attention
        check_tokens(self, "memory", memory, "memory_dim", self.cross_attention.kdim, attention.output.weight)
        check_tokens(self, "x", x, "embed_dim", attention.embed_dim, attention.output.weight)
        attended: Any = attention(
            enter(self, x, self.self_attention_norm), mask=mask, causal=causal, window=window, bias=bias,
            need_weights=need_weights, backend=backend, cache=None if cache is None else cache.self_attention,
        )  # fmt: skip
        weights: Weights = {}
        if need_weights:
            attended, weights["self_attention"] = attended
        x = leave(self, x, attended, self.self_attention_norm)
        attended = self.cross_attention(
            enter(self, x, self.cross_attention_norm), memory, memory, mask=memory_mask,
            need_weights=need_weights, backend=backend, cache=None if cache is None else cache.cross_attention,
        )  # fmt: skip
        if need_weights:
            attended, weights["cross_attention"] = attended
        x = leave(self, x, attended, self.cross_attention_norm)
        x = leave(self, x, self.feed_forward(enter(self, x, self.feed_forward_norm)), self.feed_forward_norm)
        return (x, weights) if need_weights else x


class Decoder(LayerStack[DecoderLayer]):
    """A stack of `DecoderLayer`s, with a final normalisation where the layers are pre-norm.

    Shapes: `x` `(B, L, embed_dim)` and `memory` `(B, S, memory_dim)` to `(B, L, embed_dim)`.

    Args:
        layer: the pattern; each layer of the stack is a copy of it with parameters drawn anew.
        num_layers: how many.
        final_norm: whether to normalise the result; unless given, where `layer.norm_first`.

    >>> import torch
    >>> decoder, memory = Decoder(DecoderLayer(32, 4), num_layers=2).eval(), torch.ones(1, 7, 32)
    >>> x, cache = torch.randn(1, 3, 32), decoder.new_cache()
    >>> steps = [decoder(x[:, i : i + 1], memory, cache=cache) for i in range(3)]
    >>> bool(torch.allclose(torch.cat(steps, 1), decoder(x, memory), atol=1e-5))
    True
    """

    def forward(
        self,
        x: Tensor,
        memory: Tensor,
        *,
        mask: Mask | Tensor | None = None,
        causal: bool = True,
        window: tuple[int | None, int | None] | None = None,
        bias: PositionBias | Tensor | None = None,
        memory_mask: Mask | Tensor | None = None,
        need_weights: bool = False,
        backend: str | None = None,
        cache: StackCache | None = None,
    ) -> Tensor | tuple[Tensor, Weights]:
        """Run all layers; the arguments are those of `DecoderLayer` and hold in each.

        With a `cache` from `new_cache()` give only the new tokens of `x`, and the same memory at each step. With
        `need_weights=True` also returns the weights of every layer, keyed by the name of the attention module inside
        the stack, such as "layers.0.cross_attention".
        """

        def run(layer: DecoderLayer, x: Tensor, cache: LayerCache | None) -> Any:
            return layer(
                x, memory, mask=mask, causal=causal, window=window, bias=bias, memory_mask=memory_mask,
                need_weights=need_weights, backend=backend, cache=cache,
            )  # fmt: skip

        return self.run_layers(x, cache, need_weights, run)
