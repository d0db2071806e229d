"""Multi-head attention with its projections: self and cross, grouped heads, positions, a cache, and its weights."""

from __future__ import annotations

from torch import Tensor, nn

from .._attention import attention
from .._tracing import sizes
from .._values import described, flag, instance, number, probability, size
from ..biases import PositionBias
from ..errors import ArgumentError, ShapeError
from ..masks import Mask
from ..weights import AttentionWeights
from .cache import KeyValueCache
from .embeddings import ALiBi, RelativeBias, Rotary
from .norms import RMSNorm
from .projection import Projection
from .tokens import check_tokens

_WIDTHS = {"query": "embed_dim", "key": "kdim", "value": "vdim"}


class MultiHeadAttention(nn.Module):
    """Multi-head attention: project to heads, attend in each, join the heads and project back.

    Shapes, batch first: `query` `(B, L, embed_dim)`, `key` `(B, S, kdim)`, `value` `(B, S, vdim)` to
    `(B, L, embed_dim)`. `B` may be left out.

    Args:
        embed_dim: width of a query token and of the output.
        num_heads: query heads `H`.
        num_kv_heads: key/value heads, a divisor of `num_heads`, which it is unless given (1: multi-query attention).
        head_dim: width of a head; `embed_dim / num_heads` unless given.
        kdim, vdim: widths of key and value tokens in cross-attention; `embed_dim` unless given.
        bias: whether the projections have a bias.
        dropout: probability in [0, 1) to drop a weight, in training mode.
        qk_norm: normalise each head of queries and keys by a learnt RMSNorm, before any rotation.
        scale: factor on the products; `1/√head_dim` unless given.
        softcap: `c` in `c · tanh(score / c)`; None = none.
        position: a `Rotary`, `ALiBi` or `RelativeBias` of `regard.layers`; None = none.

    Raises:
        ArgumentError: sizes that do not divide, probabilities out of range; see each message.

    Where query, key and value have one width, their projections are stored as one, `query_key_value` (rows in that
    order), and self-attention is one product; otherwise as `query`, `key`, `value`. Each starts as Xavier uniform
    (the joint one as a whole, as in `nn.MultiheadAttention`), so does `output`; biases start at 0.

    Cost of a call: the four projections, `O(L · embed_dim²)`, and the attention, `O(L · S · embed_dim)`; memory
    `O(L + S)`.

    Source: Vaswani et al. 2017, arXiv:1706.03762, section 3.2.2; Ainslie et al. 2023, arXiv:2305.13245, for grouped
    heads; Henry et al. 2020, arXiv:2010.04245, for normalised queries and keys.

    >>> import torch
    >>> layer = MultiHeadAttention(32, 4, num_kv_heads=2, position=Rotary())
    >>> out, weights = layer(torch.ones(2, 5, 32), causal=True, need_weights=True)
    >>> out.shape, weights.dense().shape
    (torch.Size([2, 5, 32]), torch.Size([2, 4, 5, 5]))
    """

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        *,
        num_kv_heads: int | None = None,
        head_dim: int | None = None,
        kdim: int | None = None,
        vdim: int | None = None,
        bias: bool = True,
        dropout: float = 0.0,
        qk_norm: bool = False,
        scale: float | None = None,
        softcap: float | None = None,
        position: Rotary | ALiBi | RelativeBias | None = None,
    ) -> None:
        super().__init__()
        embed_dim = self.embed_dim = size("embed_dim", embed_dim)
        num_heads = self.num_heads = size("num_heads", num_heads)
        self.num_kv_heads = num_heads if num_kv_heads is None else size("num_kv_heads", num_kv_heads)
        self.head_dim = _head_dim(embed_dim, num_heads, head_dim)
        self.kdim = embed_dim if kdim is None else size("kdim", kdim)
        self.vdim = embed_dim if vdim is None else size("vdim", vdim)
        self.dropout = probability("dropout", dropout)
        self.scale = None if scale is None else number("scale", scale)
        self.softcap = None if softcap is None else number("softcap", softcap, 0, open_low=True)
        bias, qk_norm = flag("bias", bias), flag("qk_norm", qk_norm)
        if num_heads % self.num_kv_heads:
            raise ArgumentError(
                f"num_heads is {num_heads} and num_kv_heads {num_kv_heads}; each key/value head serves the same number "
                "of query heads, so num_kv_heads must divide num_heads."
            )
        if position is not None and not isinstance(position, Rotary | ALiBi | RelativeBias):
            raise ArgumentError(
                f"position is {described(position)}; give a Rotary, ALiBi or RelativeBias of regard.layers. "
                "An encoding that is added to the tokens is applied before the layer."
            )
        self.position = position
        self.query_norm = RMSNorm(self.head_dim, eps=1e-6) if qk_norm else None
        self.key_norm = RMSNorm(self.head_dim, eps=1e-6) if qk_norm else None
        self._query_width = num_heads * self.head_dim
        self._key_width = self.num_kv_heads * self.head_dim
        self.joint = self.kdim == self.vdim == embed_dim
        if self.joint:
            self.query_key_value = Projection(embed_dim, self._query_width + 2 * self._key_width, bias=bias)
        else:
            self.query = Projection(embed_dim, self._query_width, bias=bias)
            self.key = Projection(self.kdim, self._key_width, bias=bias)
            self.value = Projection(self.vdim, self._key_width, bias=bias)
        self.output = Projection(self._query_width, embed_dim, bias=bias)

    def forward(
        self,
        query: Tensor,
        key: Tensor | None = None,
        value: Tensor | None = None,
        *,
        mask: Mask | Tensor | None = None,
        causal: bool = False,
        window: tuple[int | None, int | None] | None = None,
        bias: PositionBias | Tensor | None = None,
        need_weights: bool = False,
        backend: str | None = None,
        cache: KeyValueCache | None = None,
    ) -> Tensor | tuple[Tensor, AttentionWeights]:
        """Attend from `query` to `key` and `value`; without a `key` to `query` itself, without a `value` to `key`.

        `mask causal window bias backend` mean what they mean in `regard.attention`; a mask is True where a query may
        look, over all keys there are, cached ones included. With a `cache`, self-attention appends the new tokens to
        it and attends to all it holds; cross-attention fills it at its first call and does not look at `key` after.

        Returns the output, and with `need_weights=True` also the `AttentionWeights` `(B, H, L, S)`; the output does
        not change by a bit. Raises `ShapeError`, `DtypeError`, `ArgumentError`.
        """
        if key is None and value is not None:
            raise ArgumentError("MultiHeadAttention was given a value without a key; give both, or key alone for both.")
        if cache is not None:
            instance("cache", cache, KeyValueCache, "a KeyValueCache of regard.layers")
        alone = key is None or (key is query and (value is None or value is query))
        self._check("query", query, self.embed_dim)
        if alone:
            heads = self._of_itself(query, cache)
        else:
            heads = self._of_another(query, key if key is not None else query, value, cache)
        if isinstance(self.position, ALiBi | RelativeBias):
            if bias is not None:
                raise ArgumentError(
                    f"MultiHeadAttention has position={type(self.position).__name__} and was given a bias too; a call "
                    "takes one. Leave one out, or hide keys with mask=."
                )
            bias = self.position()
        result = attention(
            *heads, mask=mask, causal=causal, window=window, bias=bias, scale=self.scale, softcap=self.softcap,
            dropout=self.dropout if self.training else 0.0, need_weights=need_weights, backend=backend,
        )  # fmt: skip
        if isinstance(result, tuple):
            return self._join(result[0]), result[1]
        return self._join(result)

    def _of_itself(self, x: Tensor, cache: KeyValueCache | None) -> tuple[Tensor, Tensor, Tensor]:
        if not self.joint:
            raise ArgumentError(
                f"MultiHeadAttention was built for cross-attention with kdim={self.kdim} and vdim={self.vdim}; "
                "give it a key (and a value)."
            )
        groups = self.num_kv_heads  # all heads at once, since a small call feels each step
        heads = self._heads(self.query_key_value(x), self.num_heads + 2 * groups)
        query, key, value = heads.split_with_sizes((self.num_heads, groups, groups), -3)
        if self.query_norm is not None:
            query, key = self._normed(query, self.query_norm), self._normed(key, self.key_norm)
        if isinstance(self.position, Rotary):
            offset = 0 if cache is None else len(cache)
            query, key = self.position(query, offset), self.position(key, offset)
        if cache is not None:
            key, value = cache.append(key, value)
        return query, key, value

    def _of_another(
        self, query: Tensor, key: Tensor, value: Tensor | None, cache: KeyValueCache | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        if isinstance(self.position, Rotary):
            raise ArgumentError(
                "MultiHeadAttention has position=Rotary, which counts the tokens of one sequence, and was given a key "
                "that is another. Build the layer for cross-attention without it."
            )
        self._check("key", key, self.kdim)
        self._check("value", key if value is None else value, self.vdim)
        told = sizes(key)
        if sizes(query)[:-2] != told[:-2] or (value is not None and sizes(value)[:-1] != told[:-1]):
            raise ShapeError(
                f"MultiHeadAttention was given query {tuple(query.shape)}, key {tuple(key.shape)} and value "
                f"{tuple((key if value is None else value).shape)}; the rule is one batch for all, and one length for "
                "key and value."
            )
        projected = self.query_key_value.rows(query, 0, self._query_width) if self.joint else self.query(query)
        projected = self._normed(self._heads(projected, self.num_heads), self.query_norm)
        if cache is None:
            return (projected, *self._key_value(key, value))
        if len(cache) == 0:
            return (projected, *cache.append(*self._key_value(key, value)))
        if len(cache) != sizes(key)[-2]:
            raise ShapeError(
                f"MultiHeadAttention was given a key of {key.shape[-2]} tokens and a cache that holds {len(cache)}; in "
                "cross-attention the cache keeps the first key. Call cache.reset() for another."
            )
        return (projected, *cache.read())

    def _key_value(self, key: Tensor, value: Tensor | None) -> tuple[Tensor, Tensor]:
        cut = self._query_width + self._key_width
        if not self.joint:
            keys, values = self.key(key), self.value(key if value is None else value)
        elif value is None or value is key:
            keys, values = self.query_key_value.rows(key, self._query_width).chunk(2, -1)
        else:
            keys = self.query_key_value.rows(key, self._query_width, cut)
            values = self.query_key_value.rows(value, cut)
        keys = self._normed(self._heads(keys, self.num_kv_heads), self.key_norm)
        return keys, self._heads(values, self.num_kv_heads)

    def _heads(self, x: Tensor, heads: int) -> Tensor:  # (B, heads, L, E)
        return x.view(*x.shape[:-1], heads, self.head_dim).transpose(-3, -2)

    def _normed(self, heads: Tensor, norm: nn.Module | None) -> Tensor:
        """Return heads normalised; under autocast they have a lower precision than the weight of the norm."""
        if norm is None:
            return heads
        x = heads.transpose(-3, -2)  # as they lie in memory
        normed: Tensor = norm(x.to(self.output.weight.dtype)).to(x.dtype)
        return normed.transpose(-3, -2)

    def _join(self, x: Tensor) -> Tensor:  # (B, L, embed_dim)
        joined: Tensor = self.output(x.transpose(-3, -2).flatten(-2))
        return joined

    def _check(self, name: str, x: Tensor, width: int) -> None:
        argument = _WIDTHS[name]
        check_tokens(self, name, x, argument, width, self.output.weight)
        if x.ndim > 3:
            raise ShapeError(
                f"MultiHeadAttention was given {name} of shape {tuple(x.shape)}; the rule is (B, tokens, {argument}), "
                "batch first."
            )

    def extra_repr(self) -> str:
        """Show the sizes, and what differs from plain multi-head attention."""
        shown = f"embed_dim={self.embed_dim}, num_heads={self.num_heads}"
        if self.num_kv_heads != self.num_heads:
            shown += f", num_kv_heads={self.num_kv_heads}"
        if self._query_width != self.embed_dim:
            shown += f", head_dim={self.head_dim}"
        if not self.joint:
            shown += f", kdim={self.kdim}, vdim={self.vdim}"
        for name in ("dropout", "scale", "softcap"):
            if getattr(self, name):
                shown += f", {name}={getattr(self, name)}"
        return shown


def _head_dim(embed_dim: int, num_heads: int, head_dim: int | None) -> int:
    if head_dim is not None:
        return size("head_dim", head_dim)
    if embed_dim % num_heads:
        raise ArgumentError(
            f"embed_dim is {embed_dim} and num_heads {num_heads}, which does not divide it; choose one that does, or "
            "give head_dim."
        )
    return embed_dim // num_heads
