"""Every family gives under "regard" what it gives under "eager": states, weights, gradients, texts."""

import itertools
from typing import Any

import pytest
import torch
from torch import Tensor

from regard import AttentionWeights
from regard.integrations.transformers import register
from tests.doors.models import distance
from tests.integrations.transformers.families import (
    FAMILIES,
    Family,
    assert_states_agree,
    real_part,
    set_dropout,
    tensors,
    write,
)

register()

_TEXTS = [name for name, family in FAMILIES.items() if family.inputs in ("text", "pair", "clip")]
_WRITERS = [name for name, family in FAMILIES.items() if family.generates]


@pytest.mark.parametrize(
    ("name", "padding"),
    [(name, padding) for name in FAMILIES for padding in (None, "left", "right") if padding is None or name in _TEXTS],
)
@torch.no_grad()
def test_states_and_weights(name: str, padding: str | None) -> None:
    """States of real tokens agree, and all weights in rows of real tokens; ours are lazy."""
    inputs, real = FAMILIES[name].example(padding)
    expected, found = _both(FAMILIES[name], inputs, output_attentions=True)
    assert_states_agree(found, expected, real)
    pairs = _weights(expected, found)
    assert pairs
    for theirs, ours in pairs:
        assert isinstance(ours, AttentionWeights)
        rows = real[:, None, :, None] if theirs.shape[2] == real.shape[1] else torch.ones(1, dtype=torch.bool)
        assert distance(ours.dense() * rows, theirs * rows) < 5e-6


@pytest.mark.parametrize("name", FAMILIES)
@torch.no_grad()
def test_half_precision(name: str) -> None:
    """In bfloat16 the error against float32 is at most twice that of eager attention, and a rounding."""
    inputs, real = FAMILIES[name].example("right")
    exact = FAMILIES[name].build("eager")(**inputs)
    expected, found = _both(FAMILIES[name], _cast(inputs, torch.bfloat16), dtype=torch.bfloat16)
    for key, state in tensors(exact).items():
        errors = [distance(real_part(tensors(o)[key], real), real_part(state, real)) for o in (expected, found)]
        assert errors[1] <= 2 * errors[0] + torch.finfo(torch.bfloat16).eps, key


@pytest.mark.parametrize("name", FAMILIES)
def test_gradients(name: str) -> None:
    """Gradients of all parameters agree, with padding, to float32 rounding of the largest of them."""
    inputs, real = FAMILIES[name].example("right")
    gradients: list[dict[str, Tensor]] = []
    for implementation in ("eager", "regard"):
        model = FAMILIES[name].build(implementation)
        states = tensors(model(**inputs)).values()
        torch.stack([real_part(state, real).sin().mean() for state in states]).sum().backward()
        gradients.append({n: p.grad for n, p in model.named_parameters() if p.grad is not None})
    assert gradients[0].keys() == gradients[1].keys()
    largest = max(float(gradient.norm()) for gradient in gradients[0].values())
    for parameter, gradient in gradients[0].items():
        assert float((gradients[1][parameter] - gradient).norm()) < 1e-5 * largest, parameter


@pytest.mark.parametrize("cache", ["dynamic", "static"])
@pytest.mark.parametrize("name", _WRITERS)
@torch.no_grad()
def test_generate(name: str, cache: str) -> None:
    """Greedy texts are the same token for token, with padding on the left, whatever the cache."""
    inputs, _ = FAMILIES[name].example("left")
    inputs = {key: value for key, value in inputs.items() if not key.startswith("decoder")}
    texts = []
    for implementation in ("eager", "regard"):
        texts.append(write(
            FAMILIES[name].build(implementation), 7, **inputs, pad_token_id=0, return_dict_in_generate=True,
            output_attentions=True, cache_implementation=None if cache == "dynamic" else "static",
        ))  # fmt: skip
    assert torch.equal(texts[0].sequences, texts[1].sequences)
    steps = texts[1].get("attentions") or texts[1]["decoder_attentions"]
    assert len(steps) == 7
    assert all(isinstance(weights, AttentionWeights) for step in steps for weights in step)


# What transformers asks of every attention implementation: the states of "sdpa", whatever the setting.
_ASKED = ["BERT", "GPT-2", "Llama", "Mistral", "Qwen2", "ModernBERT", "T5", "BART", "CLIP"]
# Largest distance of the states between two implementations in one dtype.
_LIMITS = {torch.float32: 5e-6, torch.bfloat16: 4e-2, torch.float16: 5e-3}


@pytest.mark.parametrize("dtype", list(_LIMITS))
@pytest.mark.parametrize("name", _ASKED)
@torch.no_grad()
def test_the_states_of_sdpa(name: str, dtype: torch.dtype) -> None:
    """Padding on either side, training and eval, attentions asked for or not, an all-ones mask or none."""
    theirs, ours = (FAMILIES[name].build(implementation).to(dtype) for implementation in ("sdpa", "regard"))
    for model in (theirs, ours):
        set_dropout(model, 0.0)
    for padding, training in itertools.product((None, "left", "right"), (False, True)):
        inputs, real = FAMILIES[name].example(padding)
        inputs = _cast(inputs, dtype)
        expected = theirs.train(training)(**inputs)
        for settings in ({}, {"output_attentions": True}):
            found = ours.train(training)(**inputs, **settings)
            assert_states_agree(found, expected, real, _LIMITS[dtype])
            assert {state.dtype for state in tensors(found).values()} == {dtype}


@pytest.mark.parametrize("name", _ASKED)
@torch.no_grad()
def test_a_mask_of_ones_is_no_mask(name: str) -> None:
    """A model given a mask that hides nothing computes what it computes without one."""
    inputs, real = FAMILIES[name].example()
    model = FAMILIES[name].build("regard")
    without = {key: x for key, x in inputs.items() if key != "attention_mask"}
    assert_states_agree(model(**without), model(**inputs), real)


@pytest.mark.parametrize("name", [name for name in _ASKED if FAMILIES[name].inputs == "text"])
@torch.no_grad()
def test_a_sequence_alone_is_that_of_a_padded_batch(name: str) -> None:
    """The states of a short text are the same alone and padded beside a longer one."""
    inputs, real = FAMILIES[name].example("right")
    model = FAMILIES[name].build("regard")
    padded = tensors(model(**inputs))
    alone = tensors(model(input_ids=inputs["input_ids"][:1][:, real[0]]))
    for key, state in alone.items():
        assert distance(padded[key][:1][:, real[0]], state) < _LIMITS[torch.float32]


def _both(family: Family, inputs: dict[str, Tensor], dtype: torch.dtype = torch.float32, **settings: Any) -> Any:
    return [family.build(by).to(dtype)(**inputs, **settings) for by in ("eager", "regard")]


def _weights(expected: Any, found: Any) -> list[tuple[Tensor, AttentionWeights]]:
    """Pair the weights of both, in models of one or two parts."""
    pairs = []
    for one, other in [(expected, found)] + [
        (expected[part], found[part]) for part in ("text_model_output", "vision_model_output") if part in expected
    ]:
        for key in ("attentions", "encoder_attentions", "decoder_attentions", "cross_attentions"):
            pairs += zip(one.get(key) or (), other.get(key) or (), strict=True)
    return pairs


def _cast(inputs: dict[str, Tensor], dtype: torch.dtype) -> dict[str, Tensor]:
    return {key: value.to(dtype) if value.is_floating_point() else value for key, value in inputs.items()}
