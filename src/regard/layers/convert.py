"""PyTorch's own transformer layers into ours and back: the same function, the same parameters.

Two things differ and are the caller's to map. Ours are batch first, whatever `batch_first` says; and PyTorch's
boolean masks are True where a key is hidden, ours where it may be looked at: `masks_from_torch` turns them.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .. import masks
from .._tracing import traced
from ..errors import ArgumentError, DtypeError, ShapeError
from ..masks import Mask
from .decoder import Decoder, DecoderLayer
from .encoder import Encoder, EncoderLayer
from .feed_forward import Activation, FeedForward
from .multi_head_attention import MultiHeadAttention
from .projection import Projection
from .transformer import Transformer

__all__ = ["TorchMasks", "from_torch", "masks_from_torch", "to_torch"]


def from_torch(module: nn.Module) -> nn.Module:
    """Return our form of one of PyTorch's transformer layers, with copies of its parameters.

    Args:
        module: an `nn.MultiheadAttention`, `nn.TransformerEncoderLayer`, `nn.TransformerDecoderLayer`,
            `nn.TransformerEncoder`, `nn.TransformerDecoder` or `nn.Transformer`.

    Returns:
        `MultiHeadAttention`, `EncoderLayer`, `DecoderLayer`, `Encoder`, `Decoder` or `Transformer`, in the same
        mode (training or not), dtypes and device, with the same dropout.

    Raises:
        ArgumentError: another class, or a setting that ours cannot express (`add_bias_kv`, `add_zero_attn`, an
            activation other than ReLU or GELU).

    Outputs agree to rounding, with three exceptions: a query that may look at no key gives 0 in place of NaN; padded
    positions, which PyTorch's encoder sets to 0 on its fast path, are computed like others; and our decoders are
    causal unless told `causal=False`.

    >>> theirs = nn.MultiheadAttention(8, 2, batch_first=True)
    >>> ours, x = from_torch(theirs), torch.randn(1, 3, 8)
    >>> bool(torch.allclose(ours(x), theirs(x, x, x)[0], atol=1e-6))
    True
    """
    return _converted(module, _FROM_TORCH, "from_torch")


def to_torch(module: nn.Module, *, batch_first: bool = True) -> nn.Module:
    """Return PyTorch's form of one of our layers, with copies of its parameters: the inverse of `from_torch`.

    Args:
        module: `MultiHeadAttention`, `EncoderLayer`, `DecoderLayer`, `Encoder`, `Decoder` or `Transformer`.
        batch_first: the layout that the result takes.

    Raises:
        ArgumentError: another class, or a setting that PyTorch's class does not have (grouped heads, a free
            `head_dim`, `qk_norm`, `scale`, `softcap`, positions, "swiglu", RMSNorm).

    >>> ours = MultiHeadAttention(8, 2)
    >>> x = torch.randn(1, 3, 8)
    >>> theirs = to_torch(ours)
    >>> bool(torch.allclose(theirs(x, x, x)[0], ours(x), atol=1e-6))
    True
    """
    theirs = _converted(module, _TO_TORCH, "to_torch")
    for part in theirs.modules():
        if isinstance(part, nn.MultiheadAttention | nn.Transformer):
            part.batch_first = batch_first
    return theirs


class TorchMasks(NamedTuple):
    """What `attn_mask` and `key_padding_mask` say, as the arguments `mask` and `bias` of our layers."""

    mask: Mask | None
    bias: Tensor | None


def masks_from_torch(
    attn_mask: Tensor | None = None, key_padding_mask: Tensor | None = None, *, num_heads: int = 1
) -> TorchMasks:
    """Turn PyTorch's masks, True (or -inf) where a key is hidden, into ours, True where a query may look.

    Shapes: `attn_mask` `(L, S)` or `(B · num_heads, L, S)`, `key_padding_mask` `(B, S)` or `(S,)`; bool, or floating
    to be added to the scores. A floating mask of 0 and -inf alone becomes a mask, any other a bias; one that records
    gradients, or is met while compiling, stays a bias.

    Raises `ShapeError` and `DtypeError`. Cost: reads each mask once.

    >>> hidden = torch.ones(3, 3, dtype=torch.bool).triu(1)
    >>> masks_from_torch(hidden).mask.to_dense(3, 3).int()[0, 0]
    tensor([[1, 0, 0],
            [1, 1, 0],
            [1, 1, 1]], dtype=torch.int32)
    """
    mask: Mask | None = None
    bias: Tensor | None = None
    for name, tensor in (("attn_mask", attn_mask), ("key_padding_mask", key_padding_mask)):
        if tensor is None:
            continue
        if tensor.dtype != torch.bool and not tensor.is_floating_point():
            raise DtypeError(f"{name} is {tensor.dtype}; give a bool tensor, True = hidden, or a floating one.")
        tensor = _four_dimensions(name, tensor, num_heads)
        part = _as_mask(tensor)
        if part is None:
            bias = tensor if bias is None else bias + tensor
        else:
            mask = part if mask is None else mask & part
    return TorchMasks(mask, bias)


def _four_dimensions(name: str, tensor: Tensor, num_heads: int) -> Tensor:
    if name == "key_padding_mask" and tensor.ndim in (1, 2):
        return tensor.reshape(-1, 1, 1, tensor.shape[-1])
    if name == "attn_mask" and tensor.ndim == 2:
        return tensor[None, None]
    if name == "attn_mask" and tensor.ndim == 3 and tensor.shape[0] % num_heads == 0:
        return tensor.reshape(-1, num_heads, *tensor.shape[1:])
    rule = "(L, S) or (B * num_heads, L, S)" if name == "attn_mask" else "(B, S) or (S,)"
    raise ShapeError(f"{name} has shape {tuple(tensor.shape)}; the rule is {rule}, with num_heads={num_heads}.")


def _as_mask(tensor: Tensor) -> Mask | None:
    """Return the mask that a 4-D tensor stands for, or None if it is a bias."""
    if tensor.dtype == torch.bool:
        # Looking for spans would make an accelerator wait, as in the call itself.
        return masks.recognise(~tensor) if tensor.device.type == "cpu" else masks.dense(~tensor)
    if tensor.requires_grad or traced():
        return None
    hidden = tensor == -torch.inf
    return _as_mask(hidden) if bool((hidden | (tensor == 0)).all()) else None


def _converted(module: nn.Module, table: dict[type, Callable[[Any], nn.Module]], name: str) -> nn.Module:
    # A subclass may compute something else, so only the classes themselves are taken.
    convert = table.get(type(module))
    if convert is None:
        known = ", ".join(kind.__name__ for kind in table)
        raise ArgumentError(f"{name} was given a {type(module).__name__}; it takes exactly one of {known}.")
    with torch.no_grad():
        result = convert(module)
    return result.train(module.training)


def _copied(tensor: Tensor, like: Tensor) -> nn.Parameter:
    return nn.Parameter(tensor.detach().clone(), requires_grad=like.requires_grad)


def _linear(kind: type[nn.Linear], weight: Tensor, bias: Tensor | None) -> Any:
    with torch.device("meta"):
        made = kind(weight.shape[1], weight.shape[0], bias=bias is not None)
    made.weight = _copied(weight, weight)
    if bias is not None:
        made.bias = _copied(bias, bias)
    return made


def _refuse(what: str, settings: dict[str, bool]) -> None:
    for setting, present in settings.items():
        if present:
            raise ArgumentError(f"{what} with {setting} cannot be converted: the other side has nothing like it.")


# From PyTorch to ours


def _attention(theirs: nn.MultiheadAttention) -> MultiHeadAttention:
    _refuse("nn.MultiheadAttention", {"add_bias_kv": theirs.bias_k is not None, "add_zero_attn": theirs.add_zero_attn})
    joint = theirs.in_proj_weight is not None
    joint_bias = theirs.in_proj_bias
    with torch.device("meta"):
        ours = MultiHeadAttention(
            theirs.embed_dim, theirs.num_heads, kdim=theirs.kdim, vdim=theirs.vdim, bias=joint_bias is not None,
            dropout=theirs.dropout,
        )  # fmt: skip
    if joint:
        ours.query_key_value = _linear(Projection, theirs.in_proj_weight, joint_bias)
    else:
        biases = (None,) * 3 if joint_bias is None else [_copied(part, joint_bias) for part in joint_bias.chunk(3)]
        weights = (theirs.q_proj_weight, theirs.k_proj_weight, theirs.v_proj_weight)
        ours.query, ours.key, ours.value = (_linear(Projection, w, b) for w, b in zip(weights, biases, strict=True))
    ours.output = _linear(Projection, theirs.out_proj.weight, theirs.out_proj.bias)
    return ours.train(theirs.training)


def _feed_forward(theirs: nn.TransformerEncoderLayer | nn.TransformerDecoderLayer) -> FeedForward:
    with torch.device("meta"):
        ours = FeedForward(
            theirs.linear1.in_features, theirs.linear1.out_features, activation=_activation(theirs),
            dropout=theirs.dropout.p,
        )  # fmt: skip
    ours.up = _linear(Projection, theirs.linear1.weight, theirs.linear1.bias)
    ours.down = _linear(Projection, theirs.linear2.weight, theirs.linear2.bias)
    return ours


def _activation(theirs: nn.TransformerEncoderLayer | nn.TransformerDecoderLayer) -> Activation:
    function: Any = theirs.activation
    if function in (F.relu, torch.relu) or isinstance(function, nn.ReLU):
        return "relu"
    if function is F.gelu or isinstance(function, nn.GELU):
        return "gelu" if getattr(function, "approximate", "none") == "none" else "gelu_tanh"
    raise ArgumentError(
        f"The layer's activation is {function!r}; ReLU and GELU can be converted, given as torch's function or module."
    )


def _residual_dropout(*dropouts: nn.Dropout) -> float:
    if len({dropout.p for dropout in dropouts}) > 1:
        raise ArgumentError(
            f"The layer's residual dropouts are {[dropout.p for dropout in dropouts]}; ours has one for all. Set them "
            "to one value before converting."
        )
    return dropouts[0].p


def _encoder_layer(theirs: nn.TransformerEncoderLayer) -> EncoderLayer:
    with torch.device("meta"):
        ours = EncoderLayer(
            theirs.self_attn.embed_dim, theirs.self_attn.num_heads, norm_first=theirs.norm_first,
            dropout=_residual_dropout(theirs.dropout1, theirs.dropout2), attention_dropout=theirs.self_attn.dropout,
        )  # fmt: skip
    ours.self_attention = _attention(theirs.self_attn)
    ours.feed_forward = _feed_forward(theirs)
    ours.self_attention_norm = copy.deepcopy(theirs.norm1)
    ours.feed_forward_norm = copy.deepcopy(theirs.norm2)
    return ours.train(theirs.training)


def _decoder_layer(theirs: nn.TransformerDecoderLayer) -> DecoderLayer:
    with torch.device("meta"):
        ours = DecoderLayer(
            theirs.self_attn.embed_dim, theirs.self_attn.num_heads, norm_first=theirs.norm_first,
            dropout=_residual_dropout(theirs.dropout1, theirs.dropout2, theirs.dropout3),
            attention_dropout=theirs.self_attn.dropout,
        )  # fmt: skip
    ours.self_attention = _attention(theirs.self_attn)
    ours.cross_attention = _attention(theirs.multihead_attn)
    ours.feed_forward = _feed_forward(theirs)
    ours.self_attention_norm = copy.deepcopy(theirs.norm1)
    ours.cross_attention_norm = copy.deepcopy(theirs.norm2)
    ours.feed_forward_norm = copy.deepcopy(theirs.norm3)
    return ours.train(theirs.training)


def _encoder(theirs: nn.TransformerEncoder) -> Encoder:
    layers = [cast(EncoderLayer, from_torch(layer)) for layer in theirs.layers]
    return Encoder.of_layers(layers, copy.deepcopy(theirs.norm))


def _decoder(theirs: nn.TransformerDecoder) -> Decoder:
    layers = [cast(DecoderLayer, from_torch(layer)) for layer in theirs.layers]
    return Decoder.of_layers(layers, copy.deepcopy(theirs.norm))


def _transformer(theirs: nn.Transformer) -> Transformer:
    return Transformer.of_stacks(cast(Encoder, from_torch(theirs.encoder)), cast(Decoder, from_torch(theirs.decoder)))


_FROM_TORCH: dict[type, Callable[[Any], nn.Module]] = {
    nn.MultiheadAttention: _attention,
    nn.TransformerEncoderLayer: _encoder_layer,
    nn.TransformerDecoderLayer: _decoder_layer,
    nn.TransformerEncoder: _encoder,
    nn.TransformerDecoder: _decoder,
    nn.Transformer: _transformer,
}


# From ours to PyTorch


def _torch_attention(ours: MultiHeadAttention) -> nn.MultiheadAttention:
    _refuse(
        "MultiHeadAttention",
        {
            "num_kv_heads below num_heads": ours.num_kv_heads != ours.num_heads,
            "head_dim other than embed_dim / num_heads": ours.head_dim * ours.num_heads != ours.embed_dim,
            "qk_norm": ours.query_norm is not None,
            "scale": ours.scale is not None,
            "softcap": ours.softcap is not None,
            "position": ours.position is not None,
        },
    )
    theirs = nn.MultiheadAttention(
        ours.embed_dim, ours.num_heads, dropout=ours.dropout, bias=ours.output.bias is not None, kdim=ours.kdim,
        vdim=ours.vdim, device="meta",
    )  # fmt: skip
    if ours.joint:
        bias = ours.query_key_value.bias
        theirs.in_proj_weight = _copied(ours.query_key_value.weight, ours.query_key_value.weight)
    else:
        bias = ours.query.bias
        theirs.q_proj_weight = _copied(ours.query.weight, ours.query.weight)
        theirs.k_proj_weight = _copied(ours.key.weight, ours.key.weight)
        theirs.v_proj_weight = _copied(ours.value.weight, ours.value.weight)
    if bias is not None:
        parts = (bias,) if ours.joint else (ours.query.bias, ours.key.bias, ours.value.bias)
        theirs.in_proj_bias = _copied(torch.cat(parts), bias)
    theirs.out_proj.weight = _copied(ours.output.weight, ours.output.weight)
    if ours.output.bias is not None:
        theirs.out_proj.bias = _copied(ours.output.bias, ours.output.bias)
    return theirs.train(ours.training)


def _torch_settings(ours: EncoderLayer | DecoderLayer) -> dict[str, Any]:
    norms = [norm for name, norm in ours.named_children() if name.endswith("_norm")]
    kind, activation = type(ours).__name__, ours.feed_forward.activation
    _refuse(kind, {"an RMSNorm, or none,": not all(type(norm) is nn.LayerNorm for norm in norms)})
    _refuse(kind, {"activation='swiglu'": activation == "swiglu"})
    functions: dict[str, Any] = {"relu": F.relu, "gelu": F.gelu, "gelu_tanh": nn.GELU(approximate="tanh")}
    return {
        "d_model": ours.self_attention.embed_dim,
        "nhead": ours.self_attention.num_heads,
        "dim_feedforward": ours.feed_forward.ffn_dim,
        "dropout": ours.dropout.p,
        "activation": functions[activation],
        "norm_first": ours.norm_first,
        "device": "meta",
    }


def _fill_feed_forward(theirs: nn.TransformerEncoderLayer | nn.TransformerDecoderLayer, ours: FeedForward) -> None:
    theirs.linear1 = _linear(nn.Linear, ours.up.weight, ours.up.bias)
    theirs.linear2 = _linear(nn.Linear, ours.down.weight, ours.down.bias)
    theirs.dropout.p = ours.dropout.p


def _torch_encoder_layer(ours: EncoderLayer) -> nn.TransformerEncoderLayer:
    theirs = nn.TransformerEncoderLayer(**_torch_settings(ours))
    theirs.self_attn = _torch_attention(ours.self_attention)
    _fill_feed_forward(theirs, ours.feed_forward)
    theirs.norm1 = cast(nn.LayerNorm, copy.deepcopy(ours.self_attention_norm))
    theirs.norm2 = cast(nn.LayerNorm, copy.deepcopy(ours.feed_forward_norm))
    return theirs.train(ours.training)


def _torch_decoder_layer(ours: DecoderLayer) -> nn.TransformerDecoderLayer:
    _refuse("DecoderLayer", {"memory_dim other than embed_dim": not ours.cross_attention.joint})
    theirs = nn.TransformerDecoderLayer(**_torch_settings(ours))
    theirs.self_attn = _torch_attention(ours.self_attention)
    theirs.multihead_attn = _torch_attention(ours.cross_attention)
    _fill_feed_forward(theirs, ours.feed_forward)
    theirs.norm1 = cast(nn.LayerNorm, copy.deepcopy(ours.self_attention_norm))
    theirs.norm2 = cast(nn.LayerNorm, copy.deepcopy(ours.cross_attention_norm))
    theirs.norm3 = cast(nn.LayerNorm, copy.deepcopy(ours.feed_forward_norm))
    return theirs.train(ours.training)


def _torch_encoder(ours: Encoder) -> nn.TransformerEncoder:
    layers = [cast(nn.TransformerEncoderLayer, to_torch(layer)) for layer in ours.layers]
    pattern = nn.TransformerEncoderLayer(2, 1, 2, device="meta")
    theirs = nn.TransformerEncoder(pattern, 0, copy.deepcopy(ours.norm), enable_nested_tensor=False)
    theirs.layers, theirs.num_layers = nn.ModuleList(layers), len(layers)
    return theirs


def _torch_decoder(ours: Decoder) -> nn.TransformerDecoder:
    layers = [cast(nn.TransformerDecoderLayer, to_torch(layer)) for layer in ours.layers]
    pattern = nn.TransformerDecoderLayer(2, 1, 2, device="meta")
    theirs = nn.TransformerDecoder(pattern, 0, copy.deepcopy(ours.norm))
    theirs.layers, theirs.num_layers = nn.ModuleList(layers), len(layers)
    return theirs


def _torch_transformer(ours: Transformer) -> nn.Transformer:
    encoder, decoder = to_torch(ours.encoder), to_torch(ours.decoder)
    attention = cast(DecoderLayer, ours.decoder.layers[0]).self_attention if len(ours.decoder.layers) else None
    if attention is None:
        raise ArgumentError("A Transformer without decoder layers has no width that nn.Transformer could be told.")
    # The constructor draws the parameters of the stacks it is given anew, so it gets none, and ours come after.
    theirs = nn.Transformer(attention.embed_dim, attention.num_heads, 0, 0, device="meta")
    theirs.encoder, theirs.decoder = cast(nn.TransformerEncoder, encoder), cast(nn.TransformerDecoder, decoder)
    return theirs


_TO_TORCH: dict[type, Callable[[Any], nn.Module]] = {
    MultiHeadAttention: _torch_attention,
    EncoderLayer: _torch_encoder_layer,
    DecoderLayer: _torch_decoder_layer,
    Encoder: _torch_encoder,
    Decoder: _torch_decoder,
    Transformer: _torch_transformer,
}
