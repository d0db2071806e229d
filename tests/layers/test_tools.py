"""Our layers among PyTorch's tools: compile, export, autocast, copies, pickles, safetensors, float64."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_model, save_model

from regard import masks
from regard.layers import ALiBi, Encoder, EncoderLayer, MultiHeadAttention, RelativeBias, Rotary, Transformer

# Importing the compiler warns about parts of PyTorch itself.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")

POSITIONS = {"none": None, "rotary": Rotary(), "alibi": ALiBi(4), "relative": RelativeBias(4)}


def model(**options: object) -> Transformer:
    """A small encoder-decoder in evaluation mode."""
    return Transformer(16, 4, 1, 1, 24, **options).eval()


@pytest.mark.parametrize("position", POSITIONS.values(), ids=POSITIONS)
def test_compiles_as_one_graph(position: object) -> None:
    """The whole model, masks included, is one graph, and trains to the same gradients."""
    torch.compiler.reset()
    eager = model(position=copy.deepcopy(position), dropout=0.0)
    compiled = torch.compile(eager, fullgraph=True, backend="aot_eager")
    source, target = torch.randn(2, 5, 16), torch.randn(2, 4, 16)
    output = compiled(source, target)
    expected = eager(source, target)
    torch.testing.assert_close(output, expected, atol=1e-5, rtol=1e-4)
    (found,) = torch.autograd.grad(output.square().sum(), eager.decoder.layers[0].feed_forward.up.weight)
    (wanted,) = torch.autograd.grad(expected.square().sum(), eager.decoder.layers[0].feed_forward.up.weight)
    torch.testing.assert_close(found, wanted, atol=1e-3, rtol=1e-3)


def test_exported_for_any_length() -> None:
    """An exported encoder takes sequences of other lengths than the one it was exported with."""
    encoder = Encoder(EncoderLayer(16, 4, position=Rotary()), 2).eval()
    length = torch.export.Dim("length", min=2, max=64)
    with torch.no_grad():
        program = torch.export.export(
            encoder, (torch.randn(2, 8, 16),), {"causal": True}, dynamic_shapes={"x": {1: length}, "causal": None}
        )
        for tokens in (3, 8, 21):
            x = torch.randn(2, tokens, 16)
            torch.testing.assert_close(program.module()(x, causal=True), encoder(x, causal=True), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("qk_norm", [False, True])
@pytest.mark.parametrize("position", POSITIONS.values(), ids=POSITIONS)
def test_autocast(position: object, qk_norm: bool) -> None:
    """Under autocast the products run in bfloat16 and the result is near."""
    layer = MultiHeadAttention(16, 4, qk_norm=qk_norm, position=copy.deepcopy(position)).eval()
    x = torch.randn(2, 6, 16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output, weights = layer(x, causal=True, need_weights=True)
    assert output.dtype == torch.bfloat16
    torch.testing.assert_close(output.float(), layer(x, causal=True), atol=0.05, rtol=0.05)
    torch.testing.assert_close(weights.dense().sum(-1), torch.ones(2, 4, 6), atol=1e-3, rtol=0)


def test_copies_and_pickles() -> None:
    """A copy and a pickle compute the same; training one leaves the other alone."""
    first = model(position=Rotary())
    source, target = torch.randn(2, 5, 16), torch.randn(2, 4, 16)
    for other in (copy.deepcopy(first), pickle.loads(pickle.dumps(first))):
        assert torch.equal(other(source, target), first(source, target))
        with torch.no_grad():
            next(other.parameters()).zero_()
        assert not torch.equal(other(source, target), first(source, target))


def test_safetensors_round_trip(tmp_path: Path) -> None:
    """Parameters survive the file, shared ones too, and nothing but parameters is in it."""
    first, second = model(position=RelativeBias(4)), model(position=RelativeBias(4))
    for each in (first, second):
        each.decoder.layers[0].self_attention.position = each.encoder.layers[0].self_attention.position
    with torch.no_grad():
        first.encoder.layers[0].self_attention.position.weight.normal_()
    save_model(first, str(tmp_path / "model.safetensors"))
    missing, unexpected = load_model(second, str(tmp_path / "model.safetensors"))
    assert not missing
    assert not unexpected
    source, target = torch.randn(2, 5, 16), torch.randn(2, 4, 16)
    assert torch.equal(first(source, target), second(source, target))


def test_names_of_the_parameters() -> None:
    """Checkpoints depend on these names: a change here breaks files."""
    names = set(EncoderLayer(16, 4, qk_norm=True, position=RelativeBias(4)).state_dict())
    assert names == {
        "self_attention.query_key_value.weight",
        "self_attention.query_key_value.bias",
        "self_attention.output.weight",
        "self_attention.output.bias",
        "self_attention.query_norm.weight",
        "self_attention.key_norm.weight",
        "self_attention.position.weight",
        "self_attention_norm.weight",
        "self_attention_norm.bias",
        "feed_forward.up.weight",
        "feed_forward.up.bias",
        "feed_forward.down.weight",
        "feed_forward.down.bias",
        "feed_forward_norm.weight",
        "feed_forward_norm.bias",
    }


def test_float64_is_exact_to_float64() -> None:
    """A model in float64 computes in float64 throughout, positions too."""
    wide = model(position=Rotary()).double()
    narrow = copy.deepcopy(wide).float()
    source, target = torch.randn(2, 5, 16), torch.randn(2, 4, 16)
    mask = masks.window(2, 2)
    output = wide(source.double(), target.double(), source_mask=mask)
    assert output.dtype == torch.float64
    torch.testing.assert_close(output.float(), narrow(source, target, source_mask=mask), atol=1e-5, rtol=1e-4)
    permuted = wide(source.double().flip(0), target.double().flip(0), source_mask=mask).flip(0)
    torch.testing.assert_close(output, permuted, atol=1e-12, rtol=0)
