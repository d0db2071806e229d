"""Models of transformers as our layers: the same states from the same embeddings."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from regard import masks
from regard.errors import ArgumentError
from regard.integrations.transformers import to_regard
from regard.layers import Encoder, Transformer
from tests.integrations.transformers.families import FAMILIES, OWN_CODE, Family


def _close(found: Tensor, expected: Tensor) -> bool:
    return float((found - expected).norm() / expected.norm()) < 5e-6


def _stack(name: str) -> tuple[Any, Any]:
    model = FAMILIES[name].build("eager")
    return model, to_regard(model)


@pytest.mark.parametrize("name", ["BERT", "RoBERTa", "DistilBERT"])
@torch.no_grad()
def test_encoders(name: str) -> None:
    """A post-norm encoder gives the last hidden state, padding hidden, and its weights."""
    model, stack = _stack(name)
    inputs, real = FAMILIES[name].example("right")
    expected = model(**inputs, output_attentions=True)
    out, weights = stack(model.embeddings(inputs["input_ids"]), mask=masks.padding(real), need_weights=True)
    assert _close(out[real], expected.last_hidden_state[real])
    for ours, theirs in zip(weights.values(), expected.attentions, strict=True):
        assert _close(ours.dense(), theirs)


@torch.no_grad()
def test_vit() -> None:
    """A vision transformer: pre-norm, with its final normalisation."""
    model, stack = _stack("ViT")
    inputs, _ = FAMILIES["ViT"].example()
    assert _close(stack(model.embeddings(inputs["pixel_values"])), model(**inputs).last_hidden_state)


@pytest.mark.parametrize("name", ["GPT-2", "Llama"])
@torch.no_grad()
def test_language_models(name: str) -> None:
    """A decoder-only model, with a head that stays its own."""
    model, stack = _stack(name)
    ids = FAMILIES[name].example()[0]["input_ids"]
    expected = model.base_model(ids).last_hidden_state
    if name == "GPT-2":
        embedded = model.transformer.wte(ids) + model.transformer.wpe.weight[: ids.shape[1]]
    else:
        embedded = model.model.embed_tokens(ids)
    assert _close(stack(embedded, causal=True), expected)


@pytest.mark.parametrize("name", ["T5", "BART"])
@torch.no_grad()
def test_encoder_decoders(name: str) -> None:
    """Encoder and decoder, with padding in the source hidden from both."""
    model, stack = _stack(name)
    assert isinstance(stack, Transformer)
    inputs, real = FAMILIES[name].example("right")
    found = model(**inputs, output_hidden_states=True)
    if name == "T5":
        source, target = (model.shared(inputs[key]) for key in ("input_ids", "decoder_input_ids"))
    else:
        source, target = found.encoder_hidden_states[0], found.decoder_hidden_states[0]
    assert _close(stack.encoder(source, mask=masks.padding(real))[real], found.encoder_last_hidden_state[real])
    assert _close(stack(source, target, source_padding=real), found.decoder_hidden_states[-1])


def test_mode_and_dtype_are_kept() -> None:
    """The copy is in the same mode and dtype, trains, and shares nothing with the model."""
    model = FAMILIES["BERT"].build("eager").double().train()
    stack = to_regard(model)
    assert isinstance(stack, Encoder)
    assert stack.training
    assert {p.dtype for p in stack.parameters()} == {torch.float64}
    theirs = {p.data_ptr() for p in model.parameters()}
    assert not theirs & {p.data_ptr() for p in stack.parameters()}
    stack(torch.randn(1, 3, 32, dtype=torch.float64)).sum().backward()
    assert all(p.grad is not None for p in stack.parameters())


@pytest.mark.parametrize(
    ("family", "settings", "word"),
    [
        ("BERT", {"is_decoder": True}, "is_decoder"),
        ("BERT", {"hidden_act": "mish"}, "activation 'mish'"),
        ("GPT-2", {"scale_attn_by_inverse_layer_idx": True}, "inverse_layer"),
        ("Llama", {"rope_parameters": {"rope_type": "linear", "rope_theta": 1e4, "factor": 2.0}}, "rope_type"),
        ("Llama", {"attention_bias": True}, "a bias"),
        ("T5", {"feed_forward_proj": "gated-gelu"}, "gated-gelu"),
    ],
)
def test_what_our_layers_lack_is_refused(family: str, settings: dict[str, Any], word: str) -> None:
    """A setting without a counterpart is an error that names it."""
    plain = FAMILIES[family]
    model = Family(plain.model, {**plain.settings, **settings}, plain.inputs).build("eager")
    with pytest.raises(ArgumentError, match=word):
        to_regard(model)


def test_other_models_are_refused() -> None:
    """Another family, or another class, is an error that says what is known."""
    with pytest.raises(ArgumentError, match=r"family 'deberta-v2'.*bert"):
        to_regard(OWN_CODE["DeBERTa-v2"].build("eager"))
    with pytest.raises(ArgumentError, match="model of transformers"):
        to_regard(nn.Linear(2, 2))
