"""PyTorch's own transformer layers into ours and back: the same function, the same parameters.

Two conventions differ, and the caller has to convert the inputs. Our layers are batch first, whatever `batch_first`
says; and PyTorch's boolean masks are True where a key is hidden, ours where it is visible: `masks_from_torch` converts.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.linear import NonDynamicallyQuantizableLinear

from .._values import flag, instance
from ..errors import ArgumentError
from .decoder import Decoder, DecoderLayer
from .dropout import Dropout
from .encoder import Encoder, EncoderLayer
from .feed_forward import Activation, FeedForward
from .genuine import genuine, kind_of, one_mode, own_parameters
from .multi_head_attention import MultiHeadAttention
from .projection import Projection
from .transformer import Transformer


def from_torch(module: nn.Module) -> nn.Module:
    """Return our form of one of PyTorch's transformer layers, with copies of its parameters.

    Args:
        module: an `nn.MultiheadAttention`, `nn.TransformerEncoderLayer`, `nn.TransformerDecoderLayer`,
            `nn.TransformerEncoder`, `nn.TransformerDecoder` or `nn.Transformer`.

    Returns:
        `MultiHeadAttention`, `EncoderLayer`, `DecoderLayer`, `Encoder`, `Decoder` or `Transformer`, in the same
        mode (training or not), dtypes and device, with the same dropout.

    Raises:
        ArgumentError: another class, a subclass of one, or a setting that ours cannot express (`add_bias_kv`,
            `add_zero_attn`, an activation other than ReLU or GELU); a part that is not what its class says (wrapped,
            quantised, with a hook or a replaced forward), or that shares a parameter with another.

    Ours are batch first: a module with `batch_first=False` is converted with a warning that says so. Parametrised
    and pruned parameters are copied as they are, in eval mode alone.

    Outputs agree to rounding, with three exceptions: a query that may look at no key gives 0 in place of NaN; padded
    positions, which PyTorch's encoder sets to 0 on its fast path, are computed like others; and our decoders are
    causal unless told `causal=False`.

    >>> theirs = nn.MultiheadAttention(8, 2, batch_first=True)
    >>> ours, x = from_torch(theirs), torch.randn(1, 3, 8)
    >>> bool(torch.allclose(ours(x), theirs(x, x, x)[0], atol=1e-6))
    True
    """
    ours = _converted(instance("module", module, nn.Module, "a layer of torch.nn"), _FROM_TORCH, "from_torch")
    layouts = {part.batch_first for part in module.modules() if isinstance(part, nn.MultiheadAttention)}
    if len(layouts) > 1:
        raise ArgumentError(
            f"Some attention of the {type(module).__name__} is batch_first and some is not; build it with one layout."
        )
    if False in layouts:
        warnings.warn(
            f"The {type(module).__name__} has batch_first=False and takes (L, B, D); the {type(ours).__name__} made of "
            "it takes and returns (B, L, D): transpose what goes in and comes out.",
            UserWarning,
            stacklevel=2,
        )
    return ours


def to_torch(module: nn.Module, *, batch_first: bool = True) -> nn.Module:
    """Return PyTorch's form of one of our layers, with copies of its parameters: the inverse of `from_torch`.

    Args:
        module: `MultiHeadAttention`, `EncoderLayer`, `DecoderLayer`, `Encoder`, `Decoder` or `Transformer`.
        batch_first: the layout that the result takes.

    Raises:
        ArgumentError: another class, or a setting that PyTorch's class does not have (grouped heads, a free
            `head_dim`, `qk_norm`, `scale`, `softcap`, positions, "swiglu", RMSNorm); a part that is not what its
            class says, as in `from_torch`.

    >>> ours = MultiHeadAttention(8, 2)
    >>> x = torch.randn(1, 3, 8)
    >>> theirs = to_torch(ours)
    >>> bool(torch.allclose(theirs(x, x, x)[0], ours(x), atol=1e-6))
    True
    """
    batch_first = flag("batch_first", batch_first)
    theirs = _converted(instance("module", module, nn.Module, "a layer of regard.layers"), _TO_TORCH, "to_torch")
    for part in theirs.modules():
        if isinstance(part, nn.MultiheadAttention | nn.Transformer):
            part.batch_first = batch_first
    return theirs


def _converted(module: nn.Module, table: dict[type, Callable[[Any], nn.Module]], name: str) -> nn.Module:
    # A subclass may compute something else, so only exact classes are accepted.
    convert = table.get(kind_of(module))
    if convert is None:
        known = ", ".join(kind.__name__ for kind in table)
        raise ArgumentError(
            f"{name} was given a {type(module).__name__}; it takes exactly one of {known}.{_held(module, table)}"
        )
    genuine(module, f"The {type(module).__name__}", table)
    one_mode(
        part
        for part in module.modules()
        if (isinstance(part, nn.Dropout) and part.p)
        or (isinstance(part, nn.MultiheadAttention | MultiHeadAttention) and part.dropout)
    )
    with torch.no_grad():
        result = convert(module)
    own_parameters(module)
    return result.train(module.training)


def _held(module: object, table: dict[type, Callable[[Any], nn.Module]]) -> str:
    """Return a hint: the first submodule that could be converted instead of the module that was given."""
    parts = module.named_modules() if isinstance(module, nn.Module) else ()
    found = next((path for path, part in parts if type(part) in table), "")
    return f" It holds one at .{found}, which can be converted alone." if found else ""


def _part(owner: Any, name: str, *kinds: type) -> Any:
    """Return a part of a module, which must be exactly of one of these classes."""
    part = getattr(owner, name)
    genuine(part, f"{name} of the {type(owner).__name__}", kinds)
    return part


def _copied(tensor: Tensor, like: Tensor) -> nn.Parameter:
    # A tensor that is not a parameter is computed from one (parametrised, pruned); its copy is trainable.
    trains = like.requires_grad or not isinstance(like, nn.Parameter)
    return nn.Parameter(tensor.detach().clone(), requires_grad=trains)


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
    output = _part(theirs, "out_proj", NonDynamicallyQuantizableLinear, nn.Linear)
    ours.output = _linear(Projection, output.weight, output.bias)
    return ours.train(theirs.training)


def _feed_forward(theirs: nn.TransformerEncoderLayer | nn.TransformerDecoderLayer) -> FeedForward:
    up, down = (_part(theirs, name, nn.Linear) for name in ("linear1", "linear2"))
    with torch.device("meta"):
        ours = FeedForward(
            up.in_features, up.out_features, activation=_activation(theirs), dropout=_dropout(theirs, "dropout")
        )
    ours.up = _linear(Projection, up.weight, up.bias)
    ours.down = _linear(Projection, down.weight, down.bias)
    return ours


def _activation(theirs: nn.TransformerEncoderLayer | nn.TransformerDecoderLayer) -> Activation:
    function: Any = theirs.activation
    if isinstance(function, nn.ReLU | nn.GELU):
        _part(theirs, "activation", nn.ReLU, nn.GELU)
    found: Activation | None = None
    if function in (F.relu, torch.relu) or isinstance(function, nn.ReLU):
        found = "relu"
    elif function is F.gelu or isinstance(function, nn.GELU):
        found = "gelu" if getattr(function, "approximate", "none") == "none" else "gelu_tanh"
    if found is None:
        raise ArgumentError(
            f"The layer's activation is {function!r}; ReLU and GELU can be converted, given as torch's function or "
            "module."
        )
    fast = {1: "relu", 2: "gelu"}.get(getattr(theirs, "activation_relu_or_gelu", 0))
    if fast is not None and not found.startswith(fast):
        raise ArgumentError(
            f"The layer's activation was set to {function!r} after it was made, and PyTorch's own fast path still uses "
            "the other: build the layer with the activation that you mean."
        )
    return found


def _dropout(theirs: nn.Module, *names: str) -> float:
    """Return the one dropout rate of a layer's dropouts, which must agree; `nn.Identity` counts as rate 0."""
    parts = [_part(theirs, name, nn.Dropout, nn.Identity) for name in names]
    rates = [part.p if isinstance(part, nn.Dropout) else 0.0 for part in parts]
    if len(set(rates)) > 1:
        raise ArgumentError(
            f"The layer's residual dropouts are {rates}; ours has one for all. Set them to one value before converting."
        )
    return rates[0]


def _layer(theirs: nn.TransformerEncoderLayer | nn.TransformerDecoderLayer) -> EncoderLayer | DecoderLayer:
    decodes = isinstance(theirs, nn.TransformerDecoderLayer)
    attention = _part(theirs, "self_attn", nn.MultiheadAttention)
    dropouts = ("dropout1", "dropout2", "dropout3") if decodes else ("dropout1", "dropout2")
    kind: Any = DecoderLayer if decodes else EncoderLayer
    with torch.device("meta"):
        ours = kind(
            attention.embed_dim, attention.num_heads, norm_first=theirs.norm_first,
            dropout=_dropout(theirs, *dropouts), attention_dropout=attention.dropout,
        )  # fmt: skip
    ours.self_attention = _attention(attention)
    if decodes:
        ours.cross_attention = _attention(_part(theirs, "multihead_attn", nn.MultiheadAttention))
    ours.feed_forward = _feed_forward(theirs)
    for number, name in enumerate(_norms(ours), start=1):
        setattr(ours, name, copy.deepcopy(getattr(theirs, f"norm{number}")))
    made: EncoderLayer | DecoderLayer = ours.train(theirs.training)
    return made


def _norms(ours: nn.Module) -> list[str]:
    """Return the names of a layer's norms, in the order in which PyTorch numbers its own."""
    return [name for name, _ in ours.named_children() if name.endswith("_norm")]


def _stack(theirs: nn.TransformerEncoder | nn.TransformerDecoder) -> Encoder | Decoder:
    kind: Any = Encoder if isinstance(theirs, nn.TransformerEncoder) else Decoder
    layers = [_converted(layer, _FROM_TORCH, "from_torch") for layer in _part(theirs, "layers", nn.ModuleList)]
    made: Encoder | Decoder = kind.of_layers(layers, copy.deepcopy(theirs.norm))
    return made


def _transformer(theirs: nn.Transformer) -> Transformer:
    encoder, decoder = (_converted(part, _FROM_TORCH, "from_torch") for part in (theirs.encoder, theirs.decoder))
    return Transformer.of_stacks(cast(Encoder, encoder), cast(Decoder, decoder))


_FROM_TORCH: dict[type, Callable[[Any], nn.Module]] = {
    nn.MultiheadAttention: _attention,
    nn.TransformerEncoderLayer: _layer,
    nn.TransformerDecoderLayer: _layer,
    nn.TransformerEncoder: _stack,
    nn.TransformerDecoder: _stack,
    nn.Transformer: _transformer,
}


# From ours to PyTorch


def _torch_attention(ours: MultiHeadAttention) -> nn.MultiheadAttention:
    names = ("query_key_value", "output") if ours.joint else ("query", "key", "value", "output")
    for name in names:
        _part(ours, name, Projection)
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
    _part(ours, "self_attention", MultiHeadAttention)
    _part(ours, "feed_forward", FeedForward)
    _part(ours, "dropout", Dropout)
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
    up, down = (_part(ours, name, Projection) for name in ("up", "down"))
    theirs.linear1 = _linear(nn.Linear, up.weight, up.bias)
    theirs.linear2 = _linear(nn.Linear, down.weight, down.bias)
    theirs.dropout.p = _part(ours, "dropout", Dropout).p


def _torch_layer(ours: EncoderLayer | DecoderLayer) -> nn.TransformerEncoderLayer | nn.TransformerDecoderLayer:
    kind: Any = nn.TransformerEncoderLayer
    if isinstance(ours, DecoderLayer):
        kind = nn.TransformerDecoderLayer
        _part(ours, "cross_attention", MultiHeadAttention)
        _refuse("DecoderLayer", {"memory_dim other than embed_dim": not ours.cross_attention.joint})
    theirs = kind(**_torch_settings(ours))
    theirs.self_attn = _torch_attention(ours.self_attention)
    if isinstance(ours, DecoderLayer):
        theirs.multihead_attn = _torch_attention(ours.cross_attention)
    _fill_feed_forward(theirs, ours.feed_forward)
    for number, name in enumerate(_norms(ours), start=1):
        setattr(theirs, f"norm{number}", copy.deepcopy(getattr(ours, name)))
    made: nn.TransformerEncoderLayer | nn.TransformerDecoderLayer = theirs.train(ours.training)
    return made


def _torch_stack(ours: Encoder | Decoder) -> nn.TransformerEncoder | nn.TransformerDecoder:
    theirs: nn.TransformerEncoder | nn.TransformerDecoder
    if isinstance(ours, Encoder):
        pattern = nn.TransformerEncoderLayer(2, 1, 2, device="meta")
        theirs = nn.TransformerEncoder(pattern, 0, copy.deepcopy(ours.norm), enable_nested_tensor=False)
    else:
        theirs = nn.TransformerDecoder(nn.TransformerDecoderLayer(2, 1, 2, device="meta"), 0, copy.deepcopy(ours.norm))
    theirs.layers = nn.ModuleList(to_torch(layer) for layer in ours.layers)
    theirs.num_layers = len(theirs.layers)
    return theirs


def _torch_transformer(ours: Transformer) -> nn.Transformer:
    encoder, decoder = to_torch(ours.encoder), to_torch(ours.decoder)
    attention = cast(DecoderLayer, ours.decoder.layers[0]).self_attention if len(ours.decoder.layers) else None
    if attention is None:
        raise ArgumentError("A Transformer without decoder layers has no width that nn.Transformer could be told.")
    # The constructor of nn.Transformer re-initialises the stacks it is given, so ours are assigned afterwards.
    theirs = nn.Transformer(attention.embed_dim, attention.num_heads, 0, 0, device="meta")
    theirs.encoder, theirs.decoder = cast(nn.TransformerEncoder, encoder), cast(nn.TransformerDecoder, decoder)
    return theirs


_TO_TORCH: dict[type, Callable[[Any], nn.Module]] = {
    MultiHeadAttention: _torch_attention,
    EncoderLayer: _torch_layer,
    DecoderLayer: _torch_layer,
    Encoder: _torch_stack,
    Decoder: _torch_stack,
    Transformer: _torch_transformer,
}
