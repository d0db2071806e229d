"""PyTorch's layers into ours and back: the same function, the same parameters, masks converted correctly."""

from __future__ import annotations

import functools
import warnings

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations, prune

from regard.errors import ArgumentError, DtypeError, ShapeError
from regard.integrations import use_fast_attention
from regard.layers import (
    ALiBi,
    DecoderLayer,
    EncoderLayer,
    MultiHeadAttention,
    from_torch,
    masks_from_torch,
    to_torch,
)


def noisy(module: nn.Module) -> nn.Module:
    """Randomise every parameter: biases start at 0 and norms at 1, which would hide mistakes."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return module.eval()


def close(ours: Tensor, theirs: Tensor) -> None:
    """Agree to float32 rounding."""
    torch.testing.assert_close(ours, theirs, atol=2e-5, rtol=1e-4)


def _converted(theirs: nn.MultiheadAttention) -> MultiHeadAttention:
    """Convert, with the warning that belongs to another layout than ours."""
    if theirs.batch_first:
        return from_torch(theirs)
    with pytest.warns(UserWarning, match=r"takes \(L, B, D\).*transpose"):
        return from_torch(theirs)


def same_parameters(one: nn.Module, other: nn.Module) -> None:
    """Hold the same numbers under the same names."""
    first, second = dict(one.state_dict()), dict(other.state_dict())
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


HIDDEN = torch.ones(6, 6, dtype=torch.bool).triu(1)  # torch's polarity: True = hidden
PADDED = torch.tensor([[False] * 6, [False] * 4 + [True] * 2])
LOWER = torch.zeros(6, 6).masked_fill(HIDDEN, -torch.inf)


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("widths", [{}, {"kdim": 6, "vdim": 10}])
def test_attention(batch_first: bool, bias: bool, widths: dict) -> None:
    """Outputs and weights agree in every layout, with widths of their own, and come back bit by bit."""
    theirs = noisy(nn.MultiheadAttention(16, 4, dropout=0.3, bias=bias, batch_first=batch_first, **widths))
    ours = _converted(theirs)
    assert isinstance(ours, MultiHeadAttention)
    assert (ours.dropout, ours.training) == (0.3, False)
    query = torch.randn(2, 6, 16)
    key, value = torch.randn(2, 6, widths.get("kdim", 16)), torch.randn(2, 6, widths.get("vdim", 16))
    given = (query, key, value) if batch_first else tuple(t.transpose(0, 1) for t in (query, key, value))
    expected, maps = theirs(*given, key_padding_mask=PADDED, attn_mask=HIDDEN, average_attn_weights=False)
    mask, _ = masks_from_torch(HIDDEN, PADDED)
    output, weights = ours(query, key, value, mask=mask, need_weights=True)
    close(output, expected if batch_first else expected.transpose(0, 1))
    close(weights.dense(), maps)
    back = to_torch(ours, batch_first=batch_first)
    same_parameters(theirs, back)
    assert torch.equal(back(*given)[0], theirs(*given)[0])
    assert (back.dropout, back.batch_first) == (0.3, batch_first)


def test_polarity_is_turned() -> None:
    """With torch's mask passed unconverted the output differs: the conversion matters."""
    theirs = noisy(nn.MultiheadAttention(16, 4, batch_first=True))
    ours, x = from_torch(theirs), torch.randn(1, 6, 16)
    expected = theirs(x, x, x, attn_mask=HIDDEN)[0]
    close(ours(x, mask=masks_from_torch(HIDDEN).mask), expected)
    assert not torch.allclose(ours(x, mask=HIDDEN), expected, atol=1e-2)


def test_floating_masks() -> None:
    """A floating mask of 0 and -inf becomes a mask; one with other numbers is added, with its gradient."""
    theirs = noisy(nn.MultiheadAttention(16, 4, batch_first=True))
    ours, x = from_torch(theirs), torch.randn(2, 6, 16)
    mask, bias = masks_from_torch(LOWER)
    assert bias is None
    close(ours(x, mask=mask), theirs(x, x, x, attn_mask=LOWER)[0])
    slope = (LOWER + torch.randn(6, 6)).requires_grad_()
    mask, bias = masks_from_torch(slope)
    assert mask is None
    close(ours(x, bias=bias), theirs(x, x, x, attn_mask=slope)[0])
    per_head = torch.rand(8, 6, 6) > 0.7
    per_head[..., 0] = False
    close(ours(x, mask=masks_from_torch(per_head, num_heads=4).mask), theirs(x, x, x, attn_mask=per_head)[0])
    both = masks_from_torch(slope.detach(), PADDED.float().masked_fill(PADDED, -torch.inf))
    close(ours(x, mask=both.mask, bias=both.bias), theirs(x, x, x, attn_mask=slope, key_padding_mask=PADDED.float()
          .masked_fill(PADDED, -torch.inf))[0])  # fmt: skip
    with pytest.raises(DtypeError, match="True = hidden"):
        masks_from_torch(torch.ones(6, 6, dtype=torch.int64))
    with pytest.raises(ShapeError, match="key_padding_mask has shape"):
        masks_from_torch(None, torch.zeros(1, 2, 6, dtype=torch.bool))


def test_a_query_without_keys_gives_zero() -> None:
    """Where torch gives NaN, a fully hidden row gives the output projection of zeros."""
    theirs = noisy(nn.MultiheadAttention(16, 4, batch_first=True))
    ours, x = from_torch(theirs), torch.randn(1, 6, 16)
    everything = torch.ones(1, 6, dtype=torch.bool)
    assert theirs(x, x, x, key_padding_mask=everything)[0].isnan().all()
    close(ours(x, mask=masks_from_torch(None, everything).mask), ours.output.bias.expand(1, 6, 16))


LAYERS = [
    {"norm_first": norm_first, "activation": activation, "bias": bias}
    for norm_first in (False, True)
    for activation in ("relu", "gelu", nn.GELU(approximate="tanh"))
    for bias in (True, False)
]


@pytest.mark.parametrize("options", LAYERS, ids=lambda o: "-".join(str(v) for v in o.values()))
def test_encoder_layer(options: dict) -> None:
    """An encoder layer agrees, trains to the same gradient, and comes back bit by bit."""
    theirs = noisy(nn.TransformerEncoderLayer(16, 4, 24, dropout=0.0, batch_first=True, **options))
    ours, x = from_torch(theirs), torch.randn(2, 6, 16)
    assert isinstance(ours, EncoderLayer)
    theirs.train()  # off the fast path, so that gradients are recorded
    ours.train()
    expected = theirs(x, src_mask=HIDDEN, src_key_padding_mask=PADDED)
    output = ours(x, mask=masks_from_torch(HIDDEN, PADDED).mask)
    close(output, expected)
    output.square().sum().backward()
    expected.square().sum().backward()
    torch.testing.assert_close(ours.feed_forward.up.weight.grad, theirs.linear1.weight.grad, atol=1e-3, rtol=1e-3)
    joint = ours.self_attention.query_key_value.weight.grad
    torch.testing.assert_close(joint, theirs.self_attn.in_proj_weight.grad, atol=1e-3, rtol=1e-3)
    same_parameters(theirs, to_torch(ours))


@pytest.mark.parametrize("options", LAYERS, ids=lambda o: "-".join(str(v) for v in o.values()))
def test_decoder_layer(options: dict) -> None:
    """A decoder layer agrees, with masks of its own and of the memory, and comes back bit by bit."""
    theirs = noisy(nn.TransformerDecoderLayer(16, 4, 24, dropout=0.2, batch_first=True, **options))
    ours, x, memory = from_torch(theirs), torch.randn(2, 6, 16), torch.randn(2, 6, 16)
    assert isinstance(ours, DecoderLayer)
    assert ours.dropout.p == ours.self_attention.dropout == 0.2
    expected = theirs(x, memory, tgt_mask=HIDDEN, memory_key_padding_mask=PADDED)
    close(ours(x, memory, memory_mask=masks_from_torch(None, PADDED).mask), expected)
    close(ours(x, memory, causal=False), theirs(x, memory))
    same_parameters(theirs, to_torch(ours))


@pytest.mark.filterwarnings("ignore:enable_nested_tensor is True")
@pytest.mark.parametrize("norm_first", [False, True])
def test_whole_transformer(norm_first: bool) -> None:
    """The encoder-decoder agrees and comes back bit by bit, stacks and final norms included."""
    theirs = noisy(nn.Transformer(16, 4, 2, 2, 24, batch_first=True, norm_first=norm_first))
    ours, source, target = from_torch(theirs), torch.randn(2, 6, 16), torch.randn(2, 6, 16)
    expected = theirs(source, target, tgt_mask=HIDDEN, src_key_padding_mask=PADDED, memory_key_padding_mask=PADDED,
                      tgt_is_causal=True)  # fmt: skip
    close(ours(source, target, source_padding=~PADDED), expected)
    back = to_torch(ours)
    same_parameters(theirs, back)
    close(back(source, target), theirs(source, target))


def test_stacks() -> None:
    """Encoder and decoder stacks are converted alone too, with or without a final norm."""
    x, memory = torch.randn(2, 6, 16), torch.randn(2, 6, 16)
    encoder = noisy(nn.TransformerEncoder(nn.TransformerEncoderLayer(16, 4, 24, batch_first=True), 2))
    close(from_torch(encoder)(x), encoder(x))
    decoder = noisy(nn.TransformerDecoder(nn.TransformerDecoderLayer(16, 4, 24, batch_first=True), 2, nn.LayerNorm(16)))
    close(from_torch(decoder)(x, memory, causal=False), decoder(x, memory))
    same_parameters(to_torch(from_torch(encoder)), encoder)
    same_parameters(to_torch(from_torch(decoder)), decoder)


class Own(nn.MultiheadAttention):
    """A subclass may compute something else."""


class LowRank(nn.Module):
    """A linear map beside another, as LoRA wraps it: it has all the attributes of the map inside."""

    def __init__(self, inner: nn.Linear) -> None:
        super().__init__()
        self.inner, self.side = inner, nn.Linear(inner.in_features, inner.out_features)
        self.in_features, self.out_features = inner.in_features, inner.out_features
        self.weight, self.bias = inner.weight, inner.bias

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x) + self.side(x)


class Louder(nn.Linear):
    """A linear map that inherits and computes something else."""

    def forward(self, x: Tensor) -> Tensor:
        return 2 * super().forward(x)


class Stacked(nn.Module):
    """A wrapper, as `nn.DataParallel` is one."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module


def _layer(kind: type = nn.TransformerEncoderLayer, **settings: object) -> nn.Module:
    return noisy(kind(16, 4, 24, batch_first=True, **settings))


def _with(change: object, kind: type = nn.TransformerEncoderLayer) -> nn.Module:
    layer = _layer(kind)
    change(layer)
    return layer


def _louder(module: nn.Module, args: tuple, output: Tensor) -> Tensor:
    return 2 * output


REFUSED = {
    "bias-kv": (lambda: from_torch(nn.MultiheadAttention(16, 4, add_bias_kv=True)), "add_bias_kv"),
    "zero": (lambda: from_torch(nn.MultiheadAttention(16, 4, add_zero_attn=True)), "add_zero_attn"),
    "subclass": (lambda: from_torch(Own(16, 4)), "was given a Own"),
    "linear": (lambda: from_torch(nn.Linear(2, 2)), "it takes exactly one of MultiheadAttention"),
    "nothing": (lambda: from_torch(None), "module is None"),
    "wrapper": (lambda: from_torch(Stacked(_layer())), "It holds one at .module"),
    "activation": (lambda: from_torch(nn.TransformerEncoderLayer(16, 4, activation=F.silu)), "ReLU and GELU"),
    "groups": (lambda: to_torch(MultiHeadAttention(16, 4, num_kv_heads=2)), "num_kv_heads below num_heads"),
    "position": (lambda: to_torch(MultiHeadAttention(16, 4, position=ALiBi(4))), "with position"),
    "rms": (lambda: to_torch(EncoderLayer(16, 4, norm="rms")), "an RMSNorm"),
    "no norm": (lambda: to_torch(EncoderLayer(16, 4, norm="none")), "an RMSNorm, or none,"),
    "swiglu": (lambda: to_torch(DecoderLayer(16, 4, activation="swiglu")), "activation='swiglu'"),
}


@pytest.mark.parametrize("mistake", REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_said_is_refused(mistake: tuple) -> None:
    """A setting without a counterpart is an error that names it, never ignored."""
    act, words = mistake
    with pytest.raises(ArgumentError, match=words):
        act()


CHANGES = {
    "inner subclass": (lambda t: setattr(t, "self_attn", Own(16, 4, batch_first=True)), "self_attn .* is a Own"),
    "lora": (lambda t: setattr(t, "linear1", LowRank(t.linear1)), "linear1 .* is a LowRank"),
    "lora of the output": (lambda t: setattr(t.self_attn, "out_proj", LowRank(t.self_attn.out_proj)), "is a LowRank"),
    "louder": (lambda t: setattr(t, "linear2", Louder(24, 16)), "linear2 .* is a Louder"),
    "own dropout": (lambda t: setattr(t, "dropout1", nn.AlphaDropout(0.1)), "is a AlphaDropout"),
    "hook": (lambda t: t.linear1.register_forward_hook(_louder), r"has a hook \(_louder\)"),
    "hook before": (lambda t: t.register_forward_pre_hook(lambda m, a: (2 * a[0],)), "has a hook"),
    "hook of gradients": (lambda t: t.self_attn.register_full_backward_hook(lambda m, i, o: None), "has a hook"),
    "forward": (lambda t: setattr(t, "forward", lambda x: x), "forward was replaced on the object"),
    "half": (lambda t: setattr(t, "_ff_block", lambda x: x), "_ff_block was replaced on the object"),
    "inner forward": (lambda t: setattr(t.linear1, "forward", lambda x: x), "forward was replaced on the object"),
    "activation": (lambda t: setattr(t, "activation", F.gelu), "fast path still uses"),
    "hooked activation": (
        lambda t: setattr(t, "activation", nn.Sequential(nn.ReLU())), "activation is Sequential"),
    "integers": (
        lambda t: setattr(t.linear1, "weight", nn.Parameter(torch.ones(24, 16).char(), requires_grad=False)),
        "Parameter of torch.int8"),
    "one dropout in training": (lambda t: t.dropout2.train(), "in training mode and others are not"),
    "shared": (lambda t: setattr(t.linear2, "bias", t.self_attn.out_proj.bias), "are one parameter"),
    "two rates": (lambda t: setattr(t.dropout2, "p", 0.5), r"residual dropouts are \[0.1, 0.5\]"),
}  # fmt: skip


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
@pytest.mark.parametrize("whole", [False, True])
def test_a_module_that_is_not_what_it_seems_is_refused(change: tuple, whole: bool) -> None:
    """Replaced, patched or wrapped submodules are detected, in a layer and in a stack of layers."""
    act, words = change
    layer = _with(act)
    if whole:
        stack = nn.TransformerEncoder(_layer(), 2, enable_nested_tensor=False).eval()
        stack.layers[1] = layer
        layer = stack
    with pytest.raises(ArgumentError, match=words):
        from_torch(layer)


def test_a_class_whose_method_was_replaced_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A patched PyTorch class is detected for every object of it, even if the patch copies the method's name."""
    original = nn.TransformerEncoderLayer._ff_block

    @functools.wraps(original)
    def other(self: nn.Module, x: Tensor) -> Tensor:
        return 2 * original(self, x)

    monkeypatch.setattr(nn.TransformerEncoderLayer, "_ff_block", other)
    with pytest.raises(ArgumentError, match=r"TransformerEncoderLayer\._ff_block was replaced"):
        from_torch(_layer())


def test_quantised_layers_are_refused() -> None:
    """`quantize_dynamic` puts modules of other classes in place of the linear maps."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        layer = torch.ao.quantization.quantize_dynamic(_layer(), {nn.Linear}, dtype=torch.qint8)
    with pytest.raises(ArgumentError, match="not exactly a Linear"):
        from_torch(layer)


@pytest.mark.parametrize("reach", ["self_attn.out_proj", "linear1"])
@pytest.mark.parametrize("how", ["weight_norm", "spectral_norm", "old weight_norm", "pruned"])
def test_computed_parameters_are_taken_as_they_are(how: str, reach: str) -> None:
    """A parametrised or pruned weight is copied with its value, and trains; in training mode it is refused."""
    layer = _layer()
    part = layer.get_submodule(reach)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        {
            "weight_norm": parametrizations.weight_norm, "spectral_norm": parametrizations.spectral_norm,
            "old weight_norm": nn.utils.weight_norm, "pruned": lambda m: prune.l1_unstructured(m, "weight", 0.5),
        }[how](part)  # fmt: skip
        if how == "old weight_norm":
            with torch.no_grad():
                part.weight_g.mul_(1.5)  # changes the tensor from which the weight is recomputed
    layer.eval()
    x = torch.randn(2, 6, 16)
    ours = from_torch(layer)
    close(ours(x), layer(x))
    assert all(parameter.requires_grad for parameter in ours.parameters())
    with pytest.raises(ArgumentError, match="eval"):
        from_torch(layer.train())


def test_a_dropout_that_was_switched_off() -> None:
    """`nn.Identity` in place of a dropout is a rate of 0."""
    layer = _with(lambda t: [setattr(t, name, nn.Identity()) for name in ("dropout", "dropout1", "dropout2")]).train()
    layer.self_attn.dropout = 0.0
    ours, x = from_torch(layer), torch.randn(2, 6, 16)
    close(ours(x), layer(x))


def test_hooks_of_ours_do_not_stand_in_the_way() -> None:
    """A model that runs on the native kernel can be converted."""
    layer = _layer()
    fast = use_fast_attention(layer)
    x = torch.randn(2, 6, 16)
    close(from_torch(layer)(x), layer(x))
    fast.remove()


def test_layouts_that_do_not_agree_are_refused() -> None:
    """A stack of which one layer takes another layout."""
    stack = nn.TransformerEncoder(_layer(), 2, enable_nested_tensor=False).eval()
    stack.layers[1].self_attn.batch_first = False
    with pytest.raises(ArgumentError, match="with one layout"):
        from_torch(stack)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: setattr(t.self_attention, "query_key_value", LowRank(t.self_attention.query_key_value)), "LowRank"),
        (lambda t: setattr(t.feed_forward, "up", LowRank(t.feed_forward.up)), "is a LowRank, not exactly a Projection"),
        (lambda t: setattr(t, "feed_forward", nn.Identity()), "is a Identity, not exactly a FeedForward"),
        (lambda t: t.self_attention.register_forward_hook(_louder), "has a hook"),
        (lambda t: setattr(t.feed_forward, "forward", lambda x: x), "forward was replaced on the object"),
    ],
)
def test_ours_that_are_not_what_they_seem_are_refused(change: object, words: str) -> None:
    """`to_torch` checks as strictly: a layer wrapped by PEFT is refused."""
    layer = EncoderLayer(16, 4)
    change(layer)
    with pytest.raises(ArgumentError, match=words):
        to_torch(layer)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: masks_from_torch(torch.zeros(8, 6, 6), num_heads=0), "num_heads is 0"),
        (lambda: masks_from_torch(torch.zeros(8, 6, 6), num_heads=4.0), "num_heads is 4.0"),
        (lambda: masks_from_torch([[True]]), "attn_mask is .*must be a tensor"),
    ],
)
def test_masks_of_wrong_kinds(call: object, words: str) -> None:
    """Errors say what was given, and what to give."""
    with pytest.raises(ArgumentError, match=words):
        call()
