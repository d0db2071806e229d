"""Layers and stacks: pre- and post-norm, weights of a whole model by name, caches, initialisation."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import nn

from regard import masks
from regard.errors import ArgumentError
from regard.layers import Decoder, DecoderLayer, Encoder, EncoderLayer, FeedForward, Rotary, Transformer


def settings() -> list[dict]:
    """Every activation, norm and order."""
    names = ("activation", "norm", "norm_first")
    return [
        dict(zip(names, values, strict=True))
        for values in itertools.product(
            ("relu", "gelu", "gelu_tanh", "swiglu"), ("layer", "rms", "none"), (False, True)
        )
    ]


@pytest.mark.parametrize("options", settings(), ids=lambda o: "-".join(map(str, o.values())))
def test_every_setting_trains_every_parameter(options: dict) -> None:
    """A loss reaches each parameter of encoder and decoder: none is unused."""
    model = Transformer(16, 4, 2, 2, dropout=0.0, position=Rotary(), **options)
    loss = model(torch.randn(2, 5, 16), torch.randn(2, 3, 16)).square().sum()
    loss.backward()
    idle = [name for name, p in model.named_parameters() if p.grad is None or not bool(p.grad.isfinite().all())]
    assert not idle


def test_order_of_the_norms() -> None:
    """Post-norm normalises what comes out of a layer; pre-norm leaves the residual alone until the stack's end."""
    x = 3 + 2 * torch.randn(2, 5, 16)
    after = EncoderLayer(16, 4, dropout=0.0)(x)
    torch.testing.assert_close(after.mean(-1), torch.zeros(2, 5), atol=1e-5, rtol=0)
    before = EncoderLayer(16, 4, dropout=0.0, norm_first=True)
    assert before(x).mean(-1).abs().max() > 0.5
    assert isinstance(Encoder(before, 2).norm, nn.LayerNorm)
    assert Encoder(EncoderLayer(16, 4), 2).norm is None


def test_feed_forward_formulas() -> None:
    """The two-map and the gated form compute what their papers say."""
    x = torch.randn(3, 8)
    plain = FeedForward(8, 12, activation="relu")
    expected = torch.relu(x @ plain.up.weight.T + plain.up.bias) @ plain.down.weight.T + plain.down.bias
    torch.testing.assert_close(plain(x), expected)
    gated = FeedForward(8, 12, activation="swiglu", bias=False)
    gate, up = (x @ gated.up.weight.T).chunk(2, -1)
    torch.testing.assert_close(gated(x), (nn.functional.silu(gate) * up) @ gated.down.weight.T)
    with pytest.raises(ArgumentError, match="Did you mean 'swiglu'"):
        FeedForward(8, activation="swiglue")


def test_weights_of_a_whole_model() -> None:
    """Every attention of every layer is returned under the name of its module; the output does not change."""
    model = Transformer(16, 4, 2, 3, dropout=0.0).eval()
    source, target = torch.randn(2, 5, 16), torch.randn(2, 4, 16)
    output, weights = model(source, target, source_padding=[5, 3], need_weights=True)
    assert torch.equal(output, model(source, target, source_padding=[5, 3]))
    assert len(weights) == 2 + 2 * 3
    for name, matrix in weights.items():
        assert model.get_submodule(name).num_heads == matrix.shape[1]
        torch.testing.assert_close(matrix.dense().sum(-1), torch.ones(matrix.shape[:3]))
    crossed = weights["decoder.layers.2.cross_attention"].dense()
    assert crossed.shape == (2, 4, 4, 5)
    assert not crossed[1, :, :, 3:].any()
    assert not weights["decoder.layers.0.self_attention"].dense().triu(1).any()


def test_padding_has_no_influence() -> None:
    """Padded source and target tokens do not change the real ones, whichever way padding is told."""
    model = Transformer(16, 4, 1, 1).eval()
    source, target = torch.randn(2, 5, 16), torch.randn(2, 4, 16)
    real = torch.tensor([[True] * 5, [True] * 3 + [False] * 2])
    output = model(source, target, source_padding=real, target_padding=[4, 2])
    alone = model(source[1:, :3], target[1:, :2])
    torch.testing.assert_close(output[1, :2], alone[0], atol=1e-5, rtol=1e-4)
    assert torch.equal(output, model(source, target, source_padding=[5, 3], target_padding=[4, 2]))
    joined = model(source, target, source_padding=[5, 3], source_mask=masks.window(1, 1))
    assert not torch.equal(joined[0], output[0])


@pytest.mark.parametrize("options", [{}, {"position": Rotary(), "norm_first": True, "num_kv_heads": 2}])
def test_decoding_step_by_step(options: dict) -> None:
    """A decoder with a cache, and a causal encoder with one, give what the whole sequence gives."""
    decoder = Decoder(DecoderLayer(16, 4, **options), 2).eval()
    encoder = Encoder(EncoderLayer(16, 4, **options), 2).eval()
    x, memory = torch.randn(2, 6, 16), torch.randn(2, 5, 16)
    with torch.inference_mode():
        cache = decoder.new_cache(max_length=6)
        steps = [decoder(part, memory, cache=cache) for part in x.split([2, 1, 3], 1)]
        torch.testing.assert_close(torch.cat(steps, 1), decoder(x, memory), atol=1e-5, rtol=1e-4)
        assert len(cache) == 6
        cache.reset()
        assert len(cache) == 0
        own = encoder.new_cache()
        steps = [encoder(part, causal=True, cache=own) for part in x.split(1, 1)]
        torch.testing.assert_close(torch.cat(steps, 1), encoder(x, causal=True), atol=1e-5, rtol=1e-4)
    with pytest.raises(ArgumentError, match="made for 2 layers and this stack has 1"):
        Encoder(EncoderLayer(16, 4), 1)(x, cache=own)


def test_layers_of_a_stack_start_apart() -> None:
    """Each copy of the pattern draws its own parameters; the seed decides them."""
    torch.manual_seed(1)
    stack = Encoder(EncoderLayer(16, 4), 2)
    torch.manual_seed(1)
    again = Encoder(EncoderLayer(16, 4), 2)
    one, two = (layer.self_attention.query_key_value.weight for layer in stack.layers)
    assert not torch.equal(one, two)
    assert torch.equal(one, again.layers[0].self_attention.query_key_value.weight)
    bound = (6 / (16 + 48)) ** 0.5
    assert one.abs().max() <= bound
    assert one.abs().max() > 0.9 * bound
