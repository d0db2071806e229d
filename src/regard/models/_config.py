"""The settings that all models share, validated on construction, and the layers built from them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from .._values import check_fields, check_shares, check_sizes, whole
from ..errors import ArgumentError
from ..layers import ALiBi, EncoderLayer, RelativeBias, Rotary

Positions = Literal["rotary", "sinusoidal", "learned", "alibi", "relative", "none"]
Activation = Literal["relu", "gelu", "gelu_tanh", "swiglu"]
Norm = Literal["layer", "rms"]


@dataclass(frozen=True, kw_only=True)
class TransformerConfig:
    """Settings of every model: pre-norm transformer layers of one width."""

    embed_dim: int = 128
    """Width of a token inside the model."""
    num_heads: int = 4
    """Attention heads of each layer; they divide `embed_dim`."""
    num_layers: int = 3
    """Layers of the stack (of the encoder, where there are two)."""
    ffn_dim: int | None = None
    """Width inside the feed-forward; 4 * `embed_dim` unless given, two thirds of that for swiglu."""
    activation: Activation = "gelu"
    """Nonlinearity of the feed-forward."""
    norm: Norm = "layer"
    """Normalisation in front of each half of a layer: LayerNorm or RMSNorm."""
    dropout: float = 0.1
    """Probability to drop a feature in training: of embeddings, of residuals, inside the feed-forward."""
    attention_dropout: float | None = None
    """Probability to drop an attention weight in training; `dropout` unless given."""
    stochastic_depth: float = 0.0
    """Probability to skip the last layer for an example in training; it falls linearly towards the first layer."""
    positions: Positions = "rotary"
    """The kind of positional encoding; relative kinds (rotary, alibi, relative) learn faster from little data."""
    max_length: int | None = None
    """Most tokens of a sequence; needed by learned positions, the others have no limit."""

    def __post_init__(self) -> None:
        check_fields(self)
        check_sizes(self, "embed_dim", "num_heads", "ffn_dim", "max_length")
        check_sizes(self, "num_layers", low=0)
        check_shares(self, "dropout", "stochastic_depth", "attention_dropout")
        if self.embed_dim % self.num_heads:
            raise ArgumentError(
                f"embed_dim is {self.embed_dim} and num_heads {self.num_heads}, which does not divide it; choose one "
                "that does."
            )
        if self.positions == "rotary" and (self.embed_dim // self.num_heads) % 2:
            raise ArgumentError(
                f"embed_dim {self.embed_dim} over num_heads {self.num_heads} gives heads of an odd width, and rotary "
                "positions turn pairs of features; choose an even width, or other positions."
            )
        self._check_lengths()

    def _check_lengths(self) -> None:
        if self.positions == "learned" and self.max_length is None:
            raise ArgumentError(
                "positions is 'learned', which needs max_length: a vector is learnt for each position. Give it, "
                "or choose 'rotary', which has no limit."
            )

    def position(self, *, causal: bool = False) -> Rotary | ALiBi | RelativeBias | None:
        """Return the position module of the attention layers; None if positions are added to the tokens, or unused."""
        if self.positions == "rotary":
            return Rotary()
        if self.positions == "alibi":
            return ALiBi(self.num_heads)
        if self.positions == "relative":
            return RelativeBias(self.num_heads, bidirectional=not causal)
        return None

    def encoder_layer(self, *, causal: bool = False) -> EncoderLayer:
        """Return a self-attention layer, of which the stack holds copies."""
        return EncoderLayer(
            self.embed_dim, self.num_heads, self.ffn_dim, activation=self.activation, norm=self.norm, norm_first=True,
            dropout=self.dropout, attention_dropout=self.attention_dropout, position=self.position(causal=causal),
        )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class TextConfig(TransformerConfig):
    """Additional settings of models that read tokens."""

    vocab_size: int
    """Size of the vocabulary; ids are 0 to `vocab_size` - 1."""
    pad_id: int = 0
    """The token that pads short sequences on the right; if lengths are given, it has no influence."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_sizes(self, "vocab_size")
        whole("pad_id", self.pad_id, 0, self.vocab_size - 1)
