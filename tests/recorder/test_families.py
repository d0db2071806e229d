"""`watch` on the architectures of transformers: every call, the summaries of their own eager maps, the same output."""

import itertools
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from regard import AttentionWeights, watch
from regard.integrations.transformers import register
from regard.recorder import EmptyRecordingError, Recording
from tests.integrations.transformers.families import FAMILIES, OWN_CODE, tensors

register()

# Calls of one forward pass: layers, twice in a decoder that reads an encoder.
CALLS = {
    "BERT": 2, "RoBERTa": 2, "DistilBERT": 2, "GPT-2": 2, "Llama": 2, "Mistral": 2, "Qwen2": 2, "Qwen3": 2,
    "Gemma-2": 2, "GPT-OSS": 2, "ModernBERT": 2, "T5": 6, "BART": 6, "Whisper": 6, "ViT": 2, "Swin": 4, "CLIP": 4,
    "DeBERTa-v2": 2,
}  # fmt: skip
DOORS = {"eager": "softmax", "sdpa": "scaled_dot_product_attention", "regard": "regard.attention"}
ALL = {**FAMILIES, **OWN_CODE}
# Their code offers no SDPA (softcap, sinks, disentangled positions).
ONLY = {"Gemma-2": ("eager", "regard"), "GPT-OSS": ("eager", "regard"), "DeBERTa-v2": ("eager",)}
TABLE = [
    (name, by, padding)
    for name in CALLS
    for by in ONLY.get(name, tuple(DOORS))
    for padding in ((None,) if ALL[name].inputs in ("image", "sound") else (None, "right"))
]
# Padding on the right leaves their last rows nothing to see: uniform in eager code, 0 elsewhere.
WINDOWS = ("Mistral", "Qwen2", "Gemma-2", "GPT-OSS", "ModernBERT")
LIMIT = 5e-6


def distance(found: Tensor, expected: Tensor) -> float:
    """Return ‖found − expected‖ / ‖expected‖; NaN never passes a comparison."""
    return float((found.double() - expected.double()).norm() / expected.double().norm().clamp_min(1e-30))


def own_maps(model: nn.Module, inputs: dict[str, Tensor]) -> list[Tensor]:
    """Return an eager model's own attentions in the order in which it computes them."""
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


def assert_summary(found: AttentionWeights, expected: Tensor, rows: Tensor | None = None) -> None:
    """Compare all that a recording keeps with the same of a dense map, in the rows that count."""
    wanted = expected.double()
    assert found.shape == tuple(wanted.shape)
    real = torch.ones(wanted.shape[:3], dtype=torch.bool) if rows is None else rows[:, None].expand(wanted.shape[:3])
    entropy = torch.special.entr(wanted).sum(-1)
    assert distance(found.entropy()[real], entropy[real]) < LIMIT
    peak = found.peak()
    at_peak = wanted.gather(-1, peak.indices.long().clamp(min=0)[..., None])[..., 0]
    for values in (peak.values, at_peak):
        assert distance(values[real], wanted.amax(-1)[real]) < LIMIT
    if rows is not None:
        return
    assert distance(found.received(), wanted.sum(-2)) < LIMIT
    cell = found.kept_cell
    assert distance(found.pooled(cell), pooled(wanted, cell)) < LIMIT


def pooled(weights: Tensor, cell: int) -> Tensor:
    """Return the mean over the queries of a cell of the sum over its keys."""
    columns = torch.stack([part.sum(-1) for part in weights.split(cell, -1)], -1)
    return torch.stack([part.mean(-2) for part in columns.split(cell, -2)], -2)


def watched(model: nn.Module, inputs: dict[str, Tensor]) -> tuple[Recording, dict[str, Tensor]]:
    """Return what `watch` records of a pass, and the states that the model computed meanwhile."""
    with torch.no_grad(), watch(model) as recording:
        states = tensors(model(**inputs))
    return recording, states


@pytest.mark.parametrize(("name", "implementation", "padding"), TABLE)
def test_every_call_and_the_same_states(name: str, implementation: str, padding: str | None) -> None:
    """All calls are recorded, each summary is that of the model's own eager map, and the states stay."""
    family = ALL[name]
    inputs, real = family.example(padding)
    with torch.no_grad():
        maps = own_maps(family.build("eager"), inputs)
        model = family.build(implementation)
        expected = tensors(model(**inputs))
    recording, states = watched(model, inputs)
    calls = CALLS[name]
    assert repr(recording).startswith(f"{calls} of {calls} attention calls recorded")
    assert "; 0 took another path" in repr(recording)
    assert {call.door for call in recording.calls} == {DOORS[implementation]}
    for key, state in expected.items():
        assert distance(states[key], state) < LIMIT
        if implementation != "sdpa":  # which the native kernel serves
            assert torch.equal(states[key], state)
    assert len(maps) == calls
    for weights, own in zip(recording.values(), maps, strict=True):
        assert_summary(weights, own, real if padding is not None and name in WINDOWS else None)


@pytest.mark.parametrize("implementation", DOORS)
@pytest.mark.parametrize("name", ["BERT", "GPT-2", "Llama", "Mistral", "T5"])
def test_padding_on_the_left(name: str, implementation: str) -> None:
    """Rows of real tokens are those of the eager maps; states of real tokens stay."""
    family = ALL[name]
    inputs, real = family.example("left")
    with torch.no_grad():
        maps = own_maps(family.build("eager"), inputs)
        model = family.build(implementation)
        expected = tensors(model(**inputs))
    recording, states = watched(model, inputs)
    assert len(recording) == CALLS[name]
    for key, state in expected.items():
        rows = real if state.shape[:2] == real.shape else slice(None)
        assert distance(states[key][rows], state[rows]) < LIMIT
    for weights, own in zip(recording.values(), maps, strict=True):
        every = torch.ones(own.shape[0], own.shape[2], dtype=torch.bool)
        assert_summary(weights, own, real if own.shape[2] == real.shape[1] else every)


def test_one_sequence_of_t5_has_no_bias_for_weights() -> None:
    """With a batch of one the bias that T5's modules return has the shape of weights, and is not taken for them."""
    family = FAMILIES["T5"]
    inputs = {key: tensor[:1] for key, tensor in family.example()[0].items()}
    with torch.no_grad():
        maps = own_maps(family.build("eager"), inputs)
    for implementation in DOORS:
        recording, _ = watched(family.build(implementation), inputs)
        assert len(recording) == CALLS["T5"]
        for weights, own in zip(recording.values(), maps, strict=True):
            assert_summary(weights, own)


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


def test_sinks_take_their_share() -> None:
    """The recorded rows of GPT-OSS sum to less than 1, eager and under "regard"."""
    family = FAMILIES["GPT-OSS"]
    inputs, _ = family.example()
    shares = [
        watched(family.build(implementation), inputs)[0][0].received().sum(-1) for implementation in ("eager", "regard")
    ]
    assert float(shares[0].amax()) < 0.999 * inputs["input_ids"].shape[1]
    assert distance(shares[1], shares[0]) < LIMIT


@pytest.mark.parametrize("name", ["BERT", "GPT-2", "Llama", "T5"])
def test_training_records_the_weights_before_dropout(name: str) -> None:
    """With dropout in eager attention the first map is that without dropout, and the random numbers stay."""
    family = FAMILIES[name]
    inputs, _ = family.example()
    first = own_maps(family.build("eager"), inputs)[0]
    model = family.build("eager")
    for part in model.modules():
        if "Attention" in type(part).__name__:
            part.train()
            for attribute in ("dropout", "attention_dropout"):
                if isinstance(getattr(part, attribute, None), float):
                    setattr(part, attribute, 0.5)
                elif isinstance(getattr(part, attribute, None), nn.Dropout):
                    getattr(part, attribute).p = 0.5
    states = []
    for watching in (False, True):
        torch.manual_seed(5)
        if watching:
            recording, found = watched(model, inputs)
        else:
            with torch.no_grad():
                found = tensors(model(**inputs))
        states.append(found)
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
    assert_summary(recording[0], first.detach())


def test_hidden_keys_are_known_whatever_the_implementation() -> None:
    """What a padded query may see, and so the corrected attention received, agrees: masks are read, not lost."""
    family = FAMILIES["Llama"]
    inputs, _ = family.example("right")
    found = [watched(family.build(by), inputs)[0][1].received(corrected=True) for by in DOORS]
    assert distance(found[1], found[0]) < LIMIT
    assert distance(found[2], found[0]) < LIMIT


def test_added_masks_are_spans() -> None:
    """A mask of 0 and -inf that a model adds to the scores costs no pass over a dense bias."""

    class Added(nn.Module):
        def forward(self, q: Tensor, mask: Tensor) -> Tensor:
            return torch.nn.functional.scaled_dot_product_attention(q, q, q, attn_mask=mask)

    model, q = Added(), torch.randn(2, 2, 20, 8)
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

    class Added(nn.Module):
        def forward(self, q: Tensor, mask: Tensor) -> Tensor:
            return torch.nn.functional.scaled_dot_product_attention(q, q, q, attn_mask=mask)

    model, q = Added(), torch.randn(1, 2, 6, 8)
    for lowest in (torch.finfo(torch.float32).min, -torch.inf):
        mask = torch.randn(1, 2, 6, 6) if biased else torch.zeros(1, 1, 6, 6)
        mask[..., 2, :] = lowest
        mask[..., 4, 1:3] = lowest
        with torch.no_grad():
            expected = model(q, mask)
        with watch(model, keep="exact") as recording:
            torch.testing.assert_close(model(q, mask), expected)
        weights = recording[0].dense()
        assert not weights[..., 2, :].any()
        scores = q @ q.transpose(-2, -1) / 8**0.5 + mask
        assert distance(weights[..., 3:, :], scores.softmax(-1)[..., 3:, :]) < LIMIT
