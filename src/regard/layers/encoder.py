"""A transformer layer that attends to its own sequence, and a stack of such layers.

With `causal=True` the same stack is a decoder-only language model.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from .._values import flag, instance, probability
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


class EncoderLayer(nn.Module):
    """Self-attention and feed-forward, each with dropout, a residual and a normalisation.

    Shapes: `(B, L, embed_dim)` to the same.

    Args:
        embed_dim: width of a token.
        num_heads, num_kv_heads, head_dim, qk_norm, position: see `MultiHeadAttention`.
        ffn_dim, activation: see `FeedForward`.
        norm: "layer", "rms" or "none"; `norm_eps` is what it adds to the variance.
        norm_first: normalise what goes into each half (pre-norm) in place of what comes out (post-norm, the paper).
        dropout: probability, in training mode, for both residuals and inside the feed-forward.
        attention_dropout: the same for attention weights; `dropout` unless given.
        bias: whether projections and LayerNorm have a bias.

    Source: Vaswani et al. 2017, section 3.1; Xiong et al. 2020, arXiv:2002.04745, for pre-norm.

    >>> import torch
    >>> layer = EncoderLayer(32, 4, norm_first=True, dropout=0.0)
    >>> layer(torch.zeros(2, 5, 32)).shape
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
        self.self_attention = MultiHeadAttention(
            embed_dim, num_heads, num_kv_heads=num_kv_heads, head_dim=head_dim, bias=bias, qk_norm=qk_norm,
            dropout=dropout if attention_dropout is None else attention_dropout, position=position,
        )  # fmt: skip
        self.self_attention_norm = make_norm(norm, embed_dim, eps=norm_eps, bias=bias)
        self.feed_forward = FeedForward(embed_dim, ffn_dim, activation=activation, dropout=dropout, bias=bias)
        self.feed_forward_norm = make_norm(norm, embed_dim, eps=norm_eps, bias=bias)
        self.dropout = Dropout(dropout)

    def forward(
        self,
        x: Tensor,
        *,
        mask: Mask | Tensor | None = None,
        causal: bool = False,
        window: tuple[int | None, int | None] | None = None,
        bias: PositionBias | Tensor | None = None,
        need_weights: bool = False,
        backend: str | None = None,
        cache: LayerCache | None = None,
    ) -> Tensor | tuple[Tensor, Weights]:
        """Return the layer's output; with `need_weights=True` also `{"self_attention": AttentionWeights}`."""
        if cache is not None:
            instance("cache", cache, LayerCache, "a LayerCache, of a StackCache from new_cache()")
        attention = self.self_attention
        check_tokens(self, "x", x, "embed_dim", attention.embed_dim, attention.output.weight)
        attended: Any = attention(
            enter(self, x, self.self_attention_norm), mask=mask, causal=causal, window=window, bias=bias,
            need_weights=need_weights, backend=backend, cache=None if cache is None else cache.self_attention,
        )  # fmt: skip
        weights: Weights = {}
        if need_weights:
            attended, weights["self_attention"] = attended
        x = leave(self, x, attended, self.self_attention_norm)
        x = leave(self, x, self.feed_forward(enter(self, x, self.feed_forward_norm)), self.feed_forward_norm)
        return (x, weights) if need_weights else x


class Encoder(LayerStack[EncoderLayer]):
    """A stack of `EncoderLayer`s, with a final normalisation where the layers are pre-norm.

    Shapes: `(B, L, embed_dim)` to the same.

    Args:
        layer: the pattern; each layer of the stack is a copy of it with parameters drawn anew.
        num_layers: how many.
        final_norm: whether to normalise the result; unless given, where `layer.norm_first`.

    >>> import torch
    >>> encoder = Encoder(EncoderLayer(32, 4), num_layers=2)
    >>> out, weights = encoder(torch.ones(1, 5, 32), need_weights=True)
    >>> list(weights)
    ['layers.0.self_attention', 'layers.1.self_attention']
    """

    def forward(
        self,
        x: Tensor,
        *,
        mask: Mask | Tensor | None = None,
        causal: bool = False,
        window: tuple[int | None, int | None] | None = None,
        bias: PositionBias | Tensor | None = None,
        need_weights: bool = False,
        backend: str | None = None,
        cache: StackCache | None = None,
    ) -> Tensor | tuple[Tensor, Weights]:
        """Run all layers; the arguments mean what they mean in `MultiHeadAttention` and hold in each layer.

        With `need_weights=True` also returns the weights of every layer, keyed by the name of the attention module
        inside the stack: `encoder.get_submodule(key)` is the layer that they belong to.
        """

        def run(layer: EncoderLayer, x: Tensor, cache: LayerCache | None) -> Any:
            return layer(
                x, mask=mask, causal=causal, window=window, bias=bias, need_weights=need_weights, backend=backend,
                cache=cache,
            )  # fmt: skip

        return self.run_layers(x, cache, need_weights, run)
