"""Multi-head attention compared with the reference, with every option, and its errors."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import regard
from regard import masks, reference
from regard.errors import ArgumentError, DtypeError, ShapeError
from regard.layers import ALiBi, KeyValueCache, MultiHeadAttention, RelativeBias, Rotary

OPTIONS: dict[str, dict] = {
    "plain": {},
    "no-bias": {"bias": False},
    "grouped": {"num_kv_heads": 2},
    "multi-query": {"num_kv_heads": 1},
    "narrow-heads": {"head_dim": 3},
    "qk-norm": {"qk_norm": True},
    "softcap": {"softcap": 2.0},
    "scale": {"scale": 0.1},
    "rotary": {"position": Rotary()},
    "alibi": {"position": ALiBi(4)},
    "relative": {"position": RelativeBias(4, bidirectional=False)},
}


def build(**options: object) -> MultiHeadAttention:
    """Make a layer whose biases and tables are not zero."""
    layer = MultiHeadAttention(16, 4, **options)
    with torch.no_grad():
        for name, parameter in layer.named_parameters():
            if "bias" in name or "position" in name:
                parameter.normal_()
    return layer.eval()


@pytest.mark.parametrize("groups", [4, 2, 1])
@pytest.mark.parametrize("cross", [False, True])
def test_agrees_with_the_textbook(groups: int, cross: bool) -> None:
    """Without biases the layer is the reference's multi-head attention, self and cross, grouped or not."""
    layer = MultiHeadAttention(16, 4, num_kv_heads=groups, bias=False).eval()
    x, context = torch.randn(2, 5, 16), torch.randn(2, 7, 16)
    pieces = layer.query_key_value.weight.detach().double().numpy().T
    query, key, value = np.split(pieces, [16, 16 + 4 * groups], axis=1)
    learnt = reference.Projections(query, key, value, layer.output.weight.detach().double().numpy().T)
    other = context if cross else x
    expected = reference.multi_head_attention(x, other, learnt, num_heads=4, num_kv_heads=groups)
    output, weights = layer(x, context, need_weights=True) if cross else layer(x, need_weights=True)
    np.testing.assert_allclose(output.detach().numpy(), expected.output, atol=1e-5)
    np.testing.assert_allclose(weights.dense().detach().numpy(), expected.weights, atol=1e-5)


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_weights_change_nothing_and_belong_to_the_call(options: dict) -> None:
    """Requesting weights leaves the output bit-identical, and future weights are 0 under a causal mask."""
    layer, x = build(**options), torch.randn(2, 6, 16)
    output, weights = layer(x, causal=True, need_weights=True)
    assert torch.equal(layer(x, causal=True), output)
    dense = weights.dense()
    assert dense.shape == (2, 4, 6, 6)
    assert not dense.triu(1).any()
    torch.testing.assert_close(dense.sum(-1), torch.ones(2, 4, 6))


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("reserved", [None, 8])
@pytest.mark.parametrize("recording", [False, True])
def test_step_by_step_is_the_whole(options: dict, reserved: int | None, recording: bool) -> None:
    """Decoding with a cache, one or several tokens a step, gives the causal output of the whole sequence."""
    layer, x = build(**options), torch.randn(2, 8, 16)
    with torch.set_grad_enabled(recording):
        cache = KeyValueCache(reserved)
        steps = [layer(part, causal=True, cache=cache) for part in x.split([3, 1, 1, 2, 1], 1)]
        torch.testing.assert_close(torch.cat(steps, 1), layer(x, causal=True), atol=1e-5, rtol=1e-4)
    assert len(cache) == 8


def test_gradients_flow_through_a_cache() -> None:
    """What a step computes from the cache sends gradients to the tokens before it."""
    layer, x = build(), torch.randn(1, 3, 16, requires_grad=True)
    cache = KeyValueCache()
    layer(x[:, :2], cache=cache)
    layer(x[:, 2:], cache=cache).sum().backward()
    assert x.grad is not None
    assert bool(x.grad.abs().sum(-1).gt(0).all())


def test_a_cache_takes_both_or_nothing() -> None:
    """If the value does not fit, the cache stays unchanged."""
    cache, token = KeyValueCache(), torch.ones(1, 2, 1, 4)
    cache.append(token, token)
    with pytest.raises(ShapeError, match="Call reset"):
        cache.append(token, token[..., :3])
    assert [len(cache), *(t.shape[-2] for t in cache.read())] == [1, 1, 1]
    assert cache.append(token, token)[0].shape == (1, 2, 2, 4)


def test_cross_attention_remembers_its_memory() -> None:
    """A cache keeps the projected memory; another memory needs a reset."""
    layer, x, memory = build(), torch.randn(2, 3, 16), torch.randn(2, 5, 16)
    cache = KeyValueCache()
    first = layer(x, memory, cache=cache)
    torch.testing.assert_close(first, layer(x, memory))
    torch.testing.assert_close(layer(x, memory, cache=cache), first)
    with pytest.raises(ShapeError, match="a key of 4 tokens and a cache that holds 5"):
        layer(x, memory[:, :4], cache=cache)


def test_beam_search_reorders_the_cache() -> None:
    """Rows may repeat or disappear; the next step continues the chosen ones."""
    layer, x = build(), torch.randn(3, 5, 16)
    cache = KeyValueCache()
    with torch.no_grad():
        layer(x[:, :4], causal=True, cache=cache)
        index = torch.tensor([2, 2, 0])
        cache.reorder(index)
        step = layer(x[index, 4:], causal=True, cache=cache)
        torch.testing.assert_close(step, layer(x[index], causal=True)[:, 4:], atol=1e-5, rtol=1e-4)


def test_separate_key_and_value() -> None:
    """Key and value may differ, and may have widths of their own."""
    joint, x, key, value = build(), torch.randn(2, 3, 16), torch.randn(2, 5, 16), torch.randn(2, 5, 16)
    assert not torch.allclose(joint(x, key, value), joint(x, key))
    torch.testing.assert_close(joint(x, key, key), joint(x, key))
    wide = MultiHeadAttention(16, 4, kdim=6, vdim=9).eval()
    assert wide(x, torch.randn(2, 5, 6), torch.randn(2, 5, 9)).shape == (2, 3, 16)
    with pytest.raises(ArgumentError, match="give it a key"):
        wide(x)


def test_masks_reach_the_call() -> None:
    """Padding hides keys: their values have no effect."""
    layer, x = build(), torch.randn(2, 6, 16)
    other = x.clone()
    other[0, 4:] = torch.nan
    mask = masks.padding([4, 6])
    torch.testing.assert_close(layer(x, mask=mask)[0, :4], layer(other, mask=mask)[0, :4])
    assert torch.equal(layer(x, window=(1, 0)), layer(x, mask=masks.window(1, 0)))


def test_dropout_acts_in_training_only() -> None:
    """In training the weights are dropped, by torch's generator; in evaluation nothing is."""
    layer, x = MultiHeadAttention(16, 4, dropout=0.5), torch.randn(2, 6, 16)
    torch.manual_seed(3)
    first = layer(x)
    torch.manual_seed(3)
    assert torch.equal(layer(x), first)
    assert not torch.equal(layer(x), first)
    layer.eval()
    assert torch.equal(layer(x), layer(x))


def test_without_a_batch() -> None:
    """A sequence alone goes through like a batch of one."""
    layer, x = build(), torch.randn(5, 16)
    torch.testing.assert_close(layer(x), layer(x[None])[0])


def test_backend_by_name_is_obeyed() -> None:
    """`backend=` goes to the call, refusals too."""
    layer, x = build(), torch.randn(1, 4, 16)
    torch.testing.assert_close(layer(x, backend="math"), layer(x), atol=1e-5, rtol=1e-4)
    with pytest.raises(regard.errors.BackendError, match="no backend 'mat'"):
        layer(x, backend="mat")


MISTAKES: dict[str, tuple] = {
    "heads": (lambda: MultiHeadAttention(10, 4), ArgumentError, "which does not divide it"),
    "no-heads": (lambda: MultiHeadAttention(10, 0), ArgumentError, "num_heads is 0; it must be a whole number >= 1"),
    "groups": (lambda: MultiHeadAttention(16, 4, num_kv_heads=3), ArgumentError, "num_kv_heads must divide num_heads"),
    "dropout": (lambda: MultiHeadAttention(16, 4, dropout=1.0), ArgumentError, "a probability in"),
    "position": (lambda: MultiHeadAttention(16, 4, position=torch.nn.Identity()), ArgumentError, "give a Rotary"),
    "width": (lambda: build()(torch.zeros(1, 2, 8)), ShapeError, "embed_dim=16, batch first"),
    "rank": (lambda: build()(torch.zeros(1, 1, 2, 16)), ShapeError, "the rule is"),
    "dtype": (lambda: build()(torch.zeros(1, 2, 16).double()), DtypeError, "convert one, or run under torch.autocast"),
    "batch": (lambda: build()(torch.zeros(2, 2, 16), torch.zeros(1, 2, 16)), ShapeError, "one batch for all"),
    "value-alone": (lambda: build()(torch.zeros(1, 2, 16), None, torch.zeros(1, 1, 16)), ArgumentError, "a key"),
    "rotary-cross": (
        lambda: build(position=Rotary())(torch.zeros(1, 2, 16), torch.zeros(1, 3, 16)), ArgumentError, "without it",
    ),
    "two-biases": (
        lambda: build(position=ALiBi(4))(torch.zeros(1, 2, 16), bias=torch.zeros(2, 2)), ArgumentError, "Leave one out",
    ),
    "full-cache": (
        lambda: build()(torch.zeros(1, 3, 16), cache=KeyValueCache(2)), ArgumentError, "max_length=2 tokens",
    ),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES.values(), ids=MISTAKES)
def test_mistakes_are_named(mistake: tuple) -> None:
    """Each wrong use says what was given, the rule and what to do."""
    act, kind, words = mistake
    with pytest.raises(kind, match=words):
        act()


def test_repr_shows_what_is_not_plain() -> None:
    """The representation names sizes, and options only where they differ."""
    assert "MultiHeadAttention(\n  embed_dim=16, num_heads=4\n" in repr(MultiHeadAttention(16, 4))
    assert "num_kv_heads=2, head_dim=3, dropout=0.5" in repr(
        MultiHeadAttention(16, 4, num_kv_heads=2, head_dim=3, dropout=0.5)
    )
