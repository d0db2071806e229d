"""Layers with linear attention, built from softmax layers with the same parameters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, Self

from torch import Tensor, nn

from ..biases import PositionBias
from ..errors import ArgumentError
from ..layers import EncoderLayer, KeyValueCache, MultiHeadAttention, Rotary
from ..linear import linear_attention
from ..masks import Mask
from ..weights import AttentionWeights

FeatureMap = Literal["elu", "relu", "softmax"] | Callable[[Tensor], Tensor]


class LinearHeads(MultiHeadAttention):
    """Multi-head attention by `regard.linear_attention`: the same parameters by the same names.

    Rotary positions are applied to queries and keys before the feature map. Additive positions, windows, softcap and
    dropout of weights have no meaning here and are refused.
    """

    feature_map: FeatureMap = "elu"

    @classmethod
    def of(cls, layer: MultiHeadAttention, feature_map: FeatureMap = "elu") -> Self:
        """Return a copy of a layer with linear attention. Raises `ArgumentError`."""
        if layer.position is not None and not isinstance(layer.position, Rotary):
            raise ArgumentError(
                f"The layer adds {type(layer.position).__name__} to the scores, and linear attention has no scores to "
                "add to; use rotary positions or none."
            )
        if layer.dropout or layer.softcap:
            raise ArgumentError("The layer has dropout of weights or a softcap, which linear attention cannot honour.")
        found = cls(
            layer.embed_dim, layer.num_heads, num_kv_heads=layer.num_kv_heads, head_dim=layer.head_dim,
            kdim=layer.kdim, vdim=layer.vdim, bias=layer.output.bias is not None, qk_norm=layer.query_norm is not None,
            position=layer.position,
        )  # fmt: skip
        found.load_state_dict(layer.state_dict())
        found.feature_map = feature_map
        return found

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
        """As `MultiHeadAttention`, with linear attention. Raises `ArgumentError`, `ShapeError`, `DtypeError`."""
        if window is not None or bias is not None or backend is not None:
            raise ArgumentError("LinearHeads was given a window, a bias or a backend; linear attention takes none.")
        heads = self._of_itself(query, cache) if key is None else self._of_another(query, key, value, cache)
        if need_weights:
            out, weights = linear_attention(
                *heads, feature_map=self.feature_map, causal=causal, mask=mask, need_weights=True
            )
            return self._join(out), weights
        return self._join(linear_attention(*heads, feature_map=self.feature_map, causal=causal, mask=mask))


def attend_linearly(model: nn.Module, feature_map: FeatureMap = "elu") -> None:
    """Make the self-attention of every `EncoderLayer` in a model linear, in place; parameters stay as they are."""
    for module in list(model.modules()):
        if isinstance(module, EncoderLayer):
            module.self_attention = LinearHeads.of(module.self_attention, feature_map)
