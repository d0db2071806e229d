"""The encoder-decoder transformer, from embedded tokens to embedded tokens."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from .. import masks
from .._checks import check_mask
from .._values import size
from ..errors import RegardError, ShapeError
from ..masks import Mask
from .decoder import Decoder, DecoderLayer
from .embeddings import ALiBi, RelativeBias, Rotary
from .encoder import Encoder, EncoderLayer
from .feed_forward import Activation
from .norms import Norm
from .stack import Weights, output_and_weights
from .tokens import check_tokens


class Transformer(nn.Module):
    """Encoder and decoder; embeddings and the output layer are the model's own.

    Shapes: `source` `(B, S, embed_dim)` and `target` `(B, L, embed_dim)` to `(B, L, embed_dim)`.

    Args:
        num_encoder_layers, num_decoder_layers: how many layers of each kind.
        position: for the self-attention of both stacks; each layer has its own copy.

    The others are those of `EncoderLayer` and `DecoderLayer`. For stacks that differ in more than depth, see
    `of_stacks`. For decoding step by step run `model.encoder(source)` once, then `model.decoder(new, memory,
    cache=cache)` with `cache = model.decoder.new_cache()`.

    Source: Vaswani et al. 2017, arXiv:1706.03762.

    >>> import torch
    >>> model = Transformer(32, 4, num_encoder_layers=1, num_decoder_layers=1)
    >>> out, weights = model(torch.ones(2, 5, 32), torch.ones(2, 3, 32), need_weights=True)
    >>> out.shape, list(weights)[-1]
    (torch.Size([2, 3, 32]), 'decoder.layers.0.cross_attention')
    """

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        num_encoder_layers: int = 6,
        num_decoder_layers: int = 6,
        ffn_dim: int | None = None,
        *,
        num_kv_heads: int | None = None,
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
        num_encoder_layers = size("num_encoder_layers", num_encoder_layers, 0)
        num_decoder_layers = size("num_decoder_layers", num_decoder_layers, 0)
        encoder_layer = EncoderLayer(
            embed_dim, num_heads, ffn_dim, num_kv_heads=num_kv_heads, activation=activation, norm=norm,
            norm_first=norm_first, norm_eps=norm_eps, dropout=dropout, attention_dropout=attention_dropout, bias=bias,
            qk_norm=qk_norm, position=position,
        )  # fmt: skip
        decoder_layer = DecoderLayer(
            embed_dim, num_heads, ffn_dim, num_kv_heads=num_kv_heads, activation=activation, norm=norm,
            norm_first=norm_first, norm_eps=norm_eps, dropout=dropout, attention_dropout=attention_dropout, bias=bias,
            qk_norm=qk_norm, position=position,
        )  # fmt: skip
        self.encoder = Encoder(encoder_layer, num_encoder_layers)
        self.decoder = Decoder(decoder_layer, num_decoder_layers)

    @classmethod
    def of_stacks(cls, encoder: Encoder, decoder: Decoder) -> Transformer:
        """Build a transformer of two existing stacks, without copying them."""
        model = cls.__new__(cls)
        nn.Module.__init__(model)
        model.encoder = encoder
        model.decoder = decoder
        return model

    def forward(
        self,
        source: Tensor,
        target: Tensor,
        *,
        source_padding: Tensor | Sequence[int] | None = None,
        target_padding: Tensor | Sequence[int] | None = None,
        source_mask: Mask | Tensor | None = None,
        target_mask: Mask | Tensor | None = None,
        memory_mask: Mask | Tensor | None = None,
        causal: bool = True,
        need_weights: bool = False,
        backend: str | None = None,
    ) -> Tensor | tuple[Tensor, Weights]:
        """Encode `source`, decode `target` against it.

        Args:
            source_padding: which source tokens are real, bool `(B, S)` or lengths `(B,)`; padding is hidden from the
                encoder and from cross-attention.
            target_padding: the same for target tokens, bool `(B, L)` or lengths, in the decoder's self-attention.
            source_mask, target_mask: further masks of the encoder's and the decoder's self-attention.
            memory_mask: a further mask of cross-attention.
            causal: each target token sees its past only.
            need_weights: also return the weights of every layer of both stacks, keyed by the name of the attention
                module, such as "encoder.layers.0.self_attention".
            backend: as in `regard.attention`.
        """
        for name, tokens in (("source", source), ("target", target)):
            check_tokens(self, name, tokens)
        source_mask, target_mask, memory_mask = (
            check_mask(name, mask)
            for name, mask in (("source_mask", source_mask), ("target_mask", target_mask), ("memory_mask", memory_mask))
        )
        encoded = self.encoder(
            source, mask=_hide(source_mask, source_padding, "source_padding", source), need_weights=need_weights,
            backend=backend,
        )  # fmt: skip
        memory, weights = output_and_weights(encoded, need_weights, "encoder")
        decoded = self.decoder(
            target, memory, mask=_hide(target_mask, target_padding, "target_padding", target), causal=causal,
            memory_mask=_hide(memory_mask, source_padding, "source_padding", source), need_weights=need_weights,
            backend=backend,
        )  # fmt: skip
        output, found = output_and_weights(decoded, need_weights, "decoder")
        return (output, weights | found) if need_weights else output


def _hide(
    mask: Mask | Tensor | None, padding: Tensor | Sequence[int] | None, name: str, tokens: Tensor
) -> Mask | Tensor | None:
    if padding is None:
        return mask
    try:
        real = masks.padding(padding)
    except RegardError as error:
        raise type(error)(f"{name} is no padding: {error}") from None
    if len(padding) != tokens.shape[0]:
        raise ShapeError(
            f"{name} is of {len(padding)} sequences and the tokens of {tokens.shape[0]}; give one for each."
        )
    return real if mask is None else real & mask
