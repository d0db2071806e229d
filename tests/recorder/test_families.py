"""`watch` on the architectures of transformers: every call, the summaries of their own eager maps, the same output."""

import itertools
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from regard import watch
from regard.integrations.transformers import register
from regard.recorder import EmptyRecordingError, Recording
from tests.doors.models import Calls, distance, plain_and_watched
from tests.integrations.transformers.families import FAMILIES, OWN_CODE, Family, set_dropout, tensors
from tests.recorder.kept import LIMIT, assert_kept, assert_placed

register()

DOORS = {"eager": "softmax", "sdpa": "scaled_dot_product_attention", "regard": "regard.attention"}
# Calls of one forward pass: layers, twice in a decoder that reads an encoder.
ALL = {**FAMILIES, "DeBERTa-v2": OWN_CODE["DeBERTa-v2"]}
CALLS = {**dict.fromkeys(ALL, 2), "T5": 6, "BART": 6, "Whisper": 6, "Swin": 4, "CLIP": 4}
# Their code offers no SDPA (softcap, sinks, disentangled positions).
ONLY = {"Gemma-2": ("eager", "regard"), "GPT-OSS": ("eager", "regard"), "DeBERTa-v2": ("eager",)}
# Padding on the left leaves the first rows of every text nothing to see.
LEFT = ("BERT", "GPT-2", "Llama", "Mistral", "T5")
TABLE = [
    (name, by, padding)
    for name in CALLS
    for by in ONLY.get(name, tuple(DOORS))
    for padding in (None, "right", "left")
    if padding is None or name in LEFT or (padding == "right" and ALL[name].inputs not in ("image", "sound"))
] + [("T5", by, "one text") for by in DOORS]  # of which the bias that T5's modules return has the shape of weights
# Padding on the right leaves their last rows nothing to see: uniform in eager code, 0 elsewhere.
WINDOWS = ("Mistral", "Qwen2", "Gemma-2", "GPT-OSS", "ModernBERT")


@torch.no_grad()
def own_maps(family: Family, inputs: dict[str, Tensor]) -> list[Tensor]:
    """Return the attentions of a family's own eager code, in the order in which it computes them."""
    model = family.build("eager")
    if type(model).__name__ == "SwinModel":  # its outputs hold those of the last block of each stage alone
        found: list[Tensor] = []
        for name, module in model.named_modules():
            if name.endswith(".attention"):
                module.register_forward_hook(lambda module, args, output: found.append(output[1]))
        model(**inputs)
        return found
    outputs: Any = model(**inputs, output_attentions=True)
    if "vision_model_output" in outputs:
        return [*outputs.vision_model_output.attentions, *outputs.text_model_output.attentions]
    if "encoder_attentions" in outputs:
        decoder = zip(outputs.decoder_attentions, outputs.cross_attentions, strict=True)
        return [*outputs.encoder_attentions, *itertools.chain.from_iterable(decoder)]
    return list(outputs.attentions)


@torch.no_grad()
def watched(model: nn.Module, inputs: dict[str, Tensor], **settings: Any) -> Recording:
    """Return what `watch` records of a pass."""
    with watch(model, **settings) as recording:
        model(**inputs)
    return recording


@pytest.mark.parametrize(("name", "implementation", "padding"), TABLE)
def test_every_call_and_the_same_states(name: str, implementation: str, padding: str | None) -> None:
    """All calls are recorded, each with the summary and the entries of the model's own eager map; the states stay."""
    family = ALL[name]
    inputs, real = family.example(padding if padding != "one text" else None)
    inputs = {key: x[:1] if padding == "one text" else x for key, x in inputs.items()}
    maps, model = own_maps(family, inputs), family.build(implementation)
    with torch.no_grad():
        expected, states, recording = plain_and_watched(model, lambda: tensors(model(**inputs)))
    exact = watched(model, inputs, keep="exact")
    calls = CALLS[name]
    assert repr(recording).startswith(f"{calls} of {calls} attention calls recorded")
    assert "; 0 took another path" in repr(recording)
    assert {call.door for call in recording.calls} == {DOORS[implementation]}
    for key, state in expected.items():
        if implementation != "sdpa":  # which the native kernel serves
            assert torch.equal(states[key], state)
        rows = real if padding == "left" and state.shape[:2] == real.shape else slice(None)
        assert distance(states[key][rows], state[rows]) < LIMIT
    assert len(maps) == calls
    some = padding == "left" or (padding == "right" and name in WINDOWS)
    for weights, entries, own in zip(recording.values(), exact.values(), maps, strict=True):
        rows = real if some and own.shape[2] == real.shape[1] else None
        for found in (weights, entries):
            assert_kept(found, own, rows)
            if rows is None:
                assert_placed(found, own)


def test_the_band_of_longformer_is_counted_as_missed() -> None:
    """Longformer's softmax gives a band, no matrix: the reason is said, and the model runs on."""
    family = OWN_CODE["Longformer"]
    model, (inputs, _) = family.build("eager"), family.example()
    with torch.no_grad():
        expected = model(**inputs).last_hidden_state
        watching = watch(model)
        recording = watching.__enter__()
        assert torch.equal(model(**inputs).last_hidden_state, expected)
        with pytest.raises(EmptyRecordingError, match=r"1.attention.self .*softmax gave \(2, 12, 4, 5\), not \(batch"):
            watching.__exit__(None)
    assert recording.missed.total() == 2


@pytest.mark.parametrize("name", ["BERT", "GPT-2", "Llama", "T5"])
def test_training_records_the_weights_before_dropout(name: str) -> None:
    """With dropout in eager attention the first map is that without dropout, and the random numbers stay."""
    family = FAMILIES[name]
    inputs, _ = family.example()
    first = own_maps(family, inputs)[0]
    model = family.build("eager")
    for part in model.modules():
        if "Attention" in type(part).__name__:
            part.train()
            set_dropout(part, 0.5)
    with torch.no_grad():
        plain, found, recording = plain_and_watched(model, lambda: tensors(model(**inputs)))
    assert all(torch.equal(plain[key], found[key]) for key in plain)
    assert_kept(recording[0], first)


def test_hidden_keys_are_known_whatever_the_implementation() -> None:
    """What a padded query may see, and so the corrected attention received, agrees: masks are read, not lost."""
    family = FAMILIES["Llama"]
    inputs, _ = family.example("right")
    found = [watched(family.build(by), inputs)[1].received(corrected=True) for by in DOORS]
    assert distance(found[1], found[0]) < LIMIT
    assert distance(found[2], found[0]) < LIMIT


def added(q: Tensor, mask: Tensor) -> Tensor:
    """Attend with a mask that is added to the scores."""
    return torch.nn.functional.scaled_dot_product_attention(q, q, q, attn_mask=mask)


def test_added_masks_are_spans() -> None:
    """A mask of 0 and -inf that a model adds to the scores costs no pass over a dense bias."""
    model, q = Calls(added), torch.randn(2, 2, 20, 8)
    past = torch.ones(20, 20, dtype=torch.bool).tril()
    for lowest in (-torch.inf, torch.finfo(torch.float32).min):
        mask = torch.zeros(1, 1, 20, 20).masked_fill(~past, lowest)
        with watch(model, keep="exact") as recording:
            torch.testing.assert_close(model(q, mask), model(q, mask.exp().log()))
        inputs = recording[0]._source.inputs
        assert (inputs.bias, inputs.dense_mask) == (None, None)
        assert inputs.spans is not None
        assert torch.equal(recording[0].masked()[0, 0], ~past)


@pytest.mark.parametrize("biased", [False, True])
def test_a_row_that_an_added_mask_leaves_nothing(biased: bool) -> None:
    """The lowest number all along a row gives what it gives unwatched, and counts as a row that sees nothing."""
    model, q = Calls(added), torch.randn(1, 2, 6, 8)
    for lowest in (torch.finfo(torch.float32).min, -torch.inf):
        mask = torch.randn(1, 2, 6, 6) if biased else torch.zeros(1, 1, 6, 6)
        mask[..., 2, :] = lowest
        mask[..., 4, 1:3] = lowest
        plain, found, recording = plain_and_watched(model, lambda mask=mask: model(q, mask), keep="exact")
        torch.testing.assert_close(found, plain)
        weights = recording[0].dense()
        assert not weights[..., 2, :].any()
        scores = q @ q.transpose(-2, -1) / 8**0.5 + mask
        assert distance(weights[..., 3:, :], scores.softmax(-1)[..., 3:, :]) < LIMIT
