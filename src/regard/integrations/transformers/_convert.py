"""The layers of Hugging Face models as ours, parameters included: a table of names for each family."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ...errors import ArgumentError
from ...layers import (
    Decoder,
    DecoderLayer,
    Encoder,
    EncoderLayer,
    FeedForward,
    MultiHeadAttention,
    Projection,
    RelativeBias,
    Rotary,
    Transformer,
)
from ...layers.genuine import kind_of
from ._genuine import layers_of, part_of
from ._package import hugging_face

_SAME: dict[type, tuple[str, ...]] = {
    Projection: ("Linear", "Conv1D"),
    nn.LayerNorm: ("LayerNorm",),
    nn.RMSNorm: ("LlamaRMSNorm", "T5LayerNorm"),
}
_ACTIVATIONS = {
    "relu": "relu", "gelu": "gelu", "gelu_new": "gelu_tanh", "gelu_pytorch_tanh": "gelu_tanh", "silu": "swiglu",
}  # fmt: skip


def to_regard(model: nn.Module) -> Encoder | Transformer:
    """Return the layers of a Hugging Face model as ours, with copies of its parameters.

    Args:
        model: a BERT, RoBERTa, DistilBERT, ViT, GPT-2, Llama, T5 or BART model, with or without a head.

    Returns:
        An `Encoder`, or for T5 and BART a `Transformer`, in the same mode, dtype and device. It takes embedded tokens
        and gives the model's last hidden state, final normalisation included; embeddings and heads stay with the
        model. GPT-2 and Llama need `causal=True` in the call; padding goes into `mask=regard.masks.padding(...)`.

    Raises:
        MissingExtraError: transformers is not installed.
        ArgumentError: another family, a subclass, a setting that our layers do not have, or a part that is not what
            the family has there (wrapped, quantised, replaced, with a hook, with another dropout or activation than
            the configuration says).

    States agree to rounding. In training, dropout draws other random numbers. Cost: a copy of the parameters.

    >>> from transformers import BertConfig, BertModel  # doctest: +SKIP
    >>> model = BertModel.from_pretrained("bert-base-uncased").eval()  # doctest: +SKIP
    >>> out, weights = to_regard(model)(model.embeddings(ids), need_weights=True)  # doctest: +SKIP
    """
    if not isinstance(model, hugging_face("modeling_utils").PreTrainedModel):
        raise ArgumentError(f"to_regard was given a {type(model).__name__}; it takes a model of transformers.")
    config: Any = model.config
    convert = _FAMILIES.get(config.model_type)
    if convert is None:
        raise ArgumentError(
            f"to_regard does not know the family {config.model_type!r}. It knows {', '.join(_FAMILIES)}; any "
            'other runs unchanged with attn_implementation="regard".'
        )
    base: Any = model.base_model
    placed = {(parameter.device, parameter.dtype) for parameter in base.parameters()}
    if len(placed) != 1 or any(device.type == "meta" for device, _ in placed):
        found = ", ".join(sorted(f"{dtype} on {device}" for device, dtype in placed))
        raise ArgumentError(
            f"to_regard was given a {type(model).__name__} with parameters of {found}; load it whole, in one dtype on "
            "one device (model.float(), model.to(...))."
        )
    with torch.no_grad():
        made = convert(base, config)
    return made.to(*placed.pop()).train(model.training)


@dataclass(frozen=True)
class _Names:
    """Where the parts of one layer lie in the model of a family."""

    query: str
    key: str
    value: str
    output: str
    attention_norm: str
    up: str
    down: str
    feed_forward_norm: str
    gate: str | None = None
    cross_query: str = ""
    cross_key: str = ""
    cross_value: str = ""
    cross_output: str = ""
    cross_norm: str = ""


_BERT = _Names(
    "attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense",
    "attention.output.LayerNorm", "intermediate.dense", "output.dense", "output.LayerNorm",
)  # fmt: skip
_DISTILBERT = _Names(
    "attention.q_lin", "attention.k_lin", "attention.v_lin", "attention.out_lin", "sa_layer_norm", "ffn.lin1",
    "ffn.lin2", "output_layer_norm",
)  # fmt: skip
_VIT = _Names(
    "attention.q_proj", "attention.k_proj", "attention.v_proj", "attention.o_proj", "layernorm_before", "mlp.fc1",
    "mlp.fc2", "layernorm_after",
)  # fmt: skip
_LLAMA = _Names(
    "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj", "input_layernorm", "mlp.up_proj",
    "mlp.down_proj", "post_attention_layernorm", gate="mlp.gate_proj",
)  # fmt: skip
_GPT2 = _Names(
    "attn.c_attn", "", "", "attn.c_proj", "ln_1", "mlp.c_fc", "mlp.c_proj", "ln_2",
)  # fmt: skip
_BART = _Names(
    "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.out_proj", "self_attn_layer_norm", "fc1",
    "fc2", "final_layer_norm", None, "encoder_attn.q_proj", "encoder_attn.k_proj", "encoder_attn.v_proj",
    "encoder_attn.out_proj", "encoder_attn_layer_norm",
)  # fmt: skip


def _t5_names(last: int) -> _Names:
    own, other = "layer.0.SelfAttention.", "layer.1.EncDecAttention."
    return _Names(
        own + "q", own + "k", own + "v", own + "o", "layer.0.layer_norm", f"layer.{last}.DenseReluDense.wi",
        f"layer.{last}.DenseReluDense.wo", f"layer.{last}.layer_norm", None, other + "q", other + "k", other + "v",
        other + "o", "layer.1.layer_norm",
    )  # fmt: skip


def _bert(model: Any, config: Any) -> Encoder:
    _refuse({"is_decoder": config.is_decoder, "add_cross_attention": config.add_cross_attention})
    layer = _pattern(
        config.hidden_size, config.num_attention_heads, config.intermediate_size, config.hidden_act,
        norm_eps=config.layer_norm_eps, dropout=config.hidden_dropout_prob,
        attention_dropout=config.attention_probs_dropout_prob,
    )  # fmt: skip
    return _encoder(layer, layers_of(model, "encoder.layer", layer, config.hidden_act), _BERT, None)


def _distilbert(model: Any, config: Any) -> Encoder:
    layer = _pattern(
        config.dim, config.n_heads, config.hidden_dim, config.activation, norm_eps=1e-12, dropout=config.dropout,
        attention_dropout=config.attention_dropout,
    )  # fmt: skip
    return _encoder(layer, layers_of(model, "transformer.layer", layer, config.activation), _DISTILBERT, None)


def _vit(model: Any, config: Any) -> Encoder:
    layer = _pattern(
        config.hidden_size, config.num_attention_heads, config.intermediate_size, config.hidden_act, norm_first=True,
        norm_eps=config.layer_norm_eps, dropout=config.hidden_dropout_prob,
        attention_dropout=config.attention_probs_dropout_prob,
    )  # fmt: skip
    return _encoder(layer, layers_of(model, "layers", layer, config.hidden_act), _VIT, part_of(model, "layernorm"))


def _gpt2(model: Any, config: Any) -> Encoder:
    _refuse({
        "scale_attn_by_inverse_layer_idx": config.scale_attn_by_inverse_layer_idx,
        "scale_attn_weights=False": not config.scale_attn_weights,
        "add_cross_attention": config.add_cross_attention,
    })  # fmt: skip
    layer = _pattern(
        config.n_embd, config.n_head, config.n_inner or 4 * config.n_embd, config.activation_function, norm_first=True,
        norm_eps=config.layer_norm_epsilon, dropout=config.resid_pdrop, attention_dropout=config.attn_pdrop,
    )  # fmt: skip
    return _encoder(layer, layers_of(model, "h", layer, config.activation_function), _GPT2, part_of(model, "ln_f"))


def _llama(model: Any, config: Any) -> Encoder:
    rope = config.rope_parameters
    _refuse({
        f"rope_type={rope['rope_type']!r}": rope["rope_type"] != "default",
        "partial_rotary_factor": rope.get("partial_rotary_factor", 1.0) != 1.0,
        "a bias in attention or feed-forward": config.attention_bias or config.mlp_bias,
    })  # fmt: skip
    layer = _pattern(
        config.hidden_size, config.num_attention_heads, config.intermediate_size, config.hidden_act, norm_first=True,
        norm_eps=config.rms_norm_eps, dropout=0.0, attention_dropout=config.attention_dropout, norm="rms", bias=False,
        num_kv_heads=config.num_key_value_heads, head_dim=config.head_dim, position=Rotary(base=rope["rope_theta"]),
    )  # fmt: skip
    return _encoder(layer, layers_of(model, "layers", layer, config.hidden_act), _LLAMA, part_of(model, "norm"))


def _t5(model: Any, config: Any) -> Encoder | Transformer:
    _refuse({f"feed_forward_proj={config.feed_forward_proj!r}": config.is_gated_act})
    settings: dict[str, Any] = {
        "norm_first": True, "norm": "rms", "norm_eps": config.layer_norm_epsilon, "bias": False,
        "head_dim": config.d_kv, "dropout": config.dropout_rate, "ffn_dropout": config.dropout_rate,
        "attention_dropout": config.dropout_rate,
    }  # fmt: skip
    sizes = (config.d_model, config.num_heads, config.d_ff, config.dense_act_fn)
    layer = _pattern(*sizes, **settings)
    theirs = layers_of(model, "encoder.block", layer, config.dense_act_fn)
    encoder = _encoder(layer, theirs, _t5_names(1), part_of(model, "encoder.final_layer_norm"))
    _t5_attention(encoder, model.encoder, config, bidirectional=True)
    if not hasattr(model, "decoder"):
        return encoder
    layer = _pattern(*sizes, kind=DecoderLayer, **settings)
    theirs = layers_of(model, "decoder.block", layer, config.dense_act_fn)
    decoder = _decoder(layer, theirs, _t5_names(2), part_of(model, "decoder.final_layer_norm"))
    _t5_attention(decoder, model.decoder, config, bidirectional=False)
    return Transformer.of_stacks(encoder, decoder)


def _t5_attention(stack: Encoder | Decoder, theirs: Any, config: Any, *, bidirectional: bool) -> None:
    """Share one table of distances among the layers, and take the scale out of all attention."""
    bias = RelativeBias(
        config.num_heads, num_buckets=config.relative_attention_num_buckets,
        max_distance=config.relative_attention_max_distance, bidirectional=bidirectional,
    )  # fmt: skip
    table = theirs.block[0].layer[0].SelfAttention.relative_attention_bias.weight
    bias.weight.copy_(table)
    bias.weight.requires_grad_(table.requires_grad)
    for module in stack.modules():
        if isinstance(module, MultiHeadAttention):
            module.scale = 1.0
    for layer in stack.layers:
        own: Any = layer
        own.self_attention.position = bias


def _bart(model: Any, config: Any) -> Transformer:
    settings: dict[str, Any] = {
        "norm_eps": 1e-5, "dropout": config.dropout, "attention_dropout": config.attention_dropout,
        "ffn_dropout": config.activation_dropout,
    }  # fmt: skip
    stacks: list[Any] = []
    for side, kind, join in (("encoder", EncoderLayer, _encoder), ("decoder", DecoderLayer, _decoder)):
        heads, width = getattr(config, f"{side}_attention_heads"), getattr(config, f"{side}_ffn_dim")
        _refuse({f"{side}_layerdrop, in training": model.training and getattr(config, f"{side}_layerdrop") > 0})
        layer = _pattern(config.d_model, heads, width, config.activation_function, kind=kind, **settings)
        theirs = layers_of(model, f"{side}.layers", layer, config.activation_function)
        stacks.append(join(layer, theirs, _BART, None))
    return Transformer.of_stacks(*stacks)


_FAMILIES: dict[str, Callable[[Any, Any], Encoder | Transformer]] = {
    "bert": _bert, "roberta": _bert, "distilbert": _distilbert, "vit": _vit, "gpt2": _gpt2, "llama": _llama,
    "t5": _t5, "bart": _bart,
}  # fmt: skip


def _pattern(
    embed_dim: int,
    num_heads: int,
    ffn_dim: int,
    activation: str,
    *,
    kind: Any = EncoderLayer,
    ffn_dropout: float = 0.0,
    norm_first: bool = False,
    norm: str = "layer",
    norm_eps: float = 1e-5,
    dropout: float = 0.0,
    attention_dropout: float = 0.0,
    bias: bool = True,
    num_kv_heads: int | None = None,
    head_dim: int | None = None,
    position: Rotary | None = None,
) -> Any:
    """Return one layer of ours with the settings of a family."""
    if activation not in _ACTIVATIONS or (activation == "silu") != isinstance(position, Rotary):
        raise ArgumentError(f"to_regard cannot convert the activation {activation!r}: our layers have none like it.")
    layer = kind(
        embed_dim, num_heads, ffn_dim, num_kv_heads=num_kv_heads, head_dim=head_dim,
        activation=_ACTIVATIONS[activation], norm=norm, norm_first=norm_first, norm_eps=norm_eps, dropout=dropout,
        attention_dropout=attention_dropout, bias=bias, position=position,
    )  # fmt: skip
    layer.feed_forward.dropout.p = ffn_dropout
    return layer


def _encoder(layer: EncoderLayer, theirs: Any, names: _Names, norm: Any) -> Encoder:
    stack = Encoder(layer, len(theirs))
    for ours, module in zip(stack.layers, theirs, strict=True):
        _fill(ours, module, names)
    if stack.norm is not None:
        _copy(stack.norm, norm)
    return stack


def _decoder(layer: DecoderLayer, theirs: Any, names: _Names, norm: Any) -> Decoder:
    stack = Decoder(layer, len(theirs))
    for ours, module in zip(stack.layers, theirs, strict=True):
        _fill(ours, module, names)
        own: Any = ours
        parts = (names.cross_query, names.cross_key, names.cross_value)
        _fill_attention(own.cross_attention, module, parts, names.cross_output)
        _copy(own.cross_attention_norm, module.get_submodule(names.cross_norm))
    if stack.norm is not None:
        _copy(stack.norm, norm)
    return stack


def _fill(ours: Any, theirs: nn.Module, names: _Names) -> None:
    _fill_attention(ours.self_attention, theirs, (names.query, names.key, names.value), names.output)
    _copy(ours.self_attention_norm, theirs.get_submodule(names.attention_norm))
    feed_forward: FeedForward = ours.feed_forward
    up = (names.up,) if names.gate is None else (names.gate, names.up)
    _copy(feed_forward.up, *(theirs.get_submodule(name) for name in up))
    _copy(feed_forward.down, theirs.get_submodule(names.down))
    _copy(ours.feed_forward_norm, theirs.get_submodule(names.feed_forward_norm))


def _fill_attention(ours: MultiHeadAttention, theirs: nn.Module, parts: tuple[str, ...], output: str) -> None:
    _copy(ours.query_key_value, *(theirs.get_submodule(name) for name in parts if name))
    _copy(ours.output, theirs.get_submodule(output))


def _copy(ours: Any, *theirs: Any) -> None:
    """Fill one part from several, one after the other; where only some have a bias, the others get 0."""
    same = next(names for kind, names in _SAME.items() if isinstance(ours, kind))
    for part in theirs:
        if kind_of(part).__name__ not in same:
            raise ArgumentError(
                f"to_regard met a {type(part).__name__} where the family has a {' or '.join(same)}: it may compute "
                "something else."
            )
    weights = [part.weight.T if type(part).__name__ == "Conv1D" else part.weight for part in theirs]
    biases = [part.bias for part in theirs if getattr(part, "bias", None) is not None]
    weight = torch.cat(weights)
    if ours.weight.shape != weight.shape or (getattr(ours, "bias", None) is None) != (not biases):
        raise ArgumentError(
            f"to_regard met a weight of shape {tuple(weight.shape)} {'with' if biases else 'without'} a bias where our "
            f"{type(ours).__name__} has {tuple(ours.weight.shape)}; this variant of the family is not known."
        )
    epsilon = {getattr(part, name) for part in theirs for name in ("eps", "variance_epsilon") if hasattr(part, name)}
    if epsilon and epsilon != {ours.eps}:
        raise ArgumentError(
            f"A {type(theirs[0]).__name__} of the model adds {epsilon.pop()} to the variance, and its configuration "
            f"says {ours.eps}. Set one to the other before converting."
        )
    ours.weight.copy_(weight)
    ours.weight.requires_grad_(_trains([part.weight for part in theirs]))
    if biases:
        ours.bias.copy_(torch.cat([_bias(part, weight) for part, weight in zip(theirs, weights, strict=True)]))
        ours.bias.requires_grad_(_trains(biases))


def _bias(part: Any, weight: Tensor) -> Tensor:
    return weight.new_zeros(len(weight)) if part.bias is None else part.bias


def _trains(parameters: list[Tensor]) -> bool:
    flags = {parameter.requires_grad or not isinstance(parameter, nn.Parameter) for parameter in parameters}
    if len(flags) > 1:
        raise ArgumentError(
            "Some of query, key and value (or gate and up) are frozen, with requires_grad=False, and some train; in "
            "our layers they are one parameter. Freeze all of them or none before converting."
        )
    return flags.pop()


def _refuse(settings: dict[str, bool]) -> None:
    for setting, present in settings.items():
        if present:
            raise ArgumentError(f"to_regard cannot convert a model with {setting}: our layers have nothing like it.")
