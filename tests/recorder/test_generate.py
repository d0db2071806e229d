"""Text generation with a cache: each step appends its rows to one matrix, which is that of the whole text at once."""

from typing import Any

import pytest
import torch
from torch import Tensor

import regard
from regard.integrations.transformers import register
from regard.recorder import Recording
from tests.integrations.transformers.families import FAMILIES, Family, write
from tests.recorder.kept import assert_kept, assert_placed
from tests.weights.cases import pooled

register()

STEPS = 12
CLOSE = {"atol": 2e-5, "rtol": 1e-4}
KEEP = ["summary", "exact", "dense"]
GRAD = [torch.no_grad, torch.inference_mode]


def writer(name: str = "Llama", attention: str = "sdpa", **changes: Any) -> Any:
    """A small model of a family, which writes until it is told to stop."""
    plain = FAMILIES[name]
    settings = {**plain.settings, "max_position_embeddings": 256, "eos_token_id": None, **changes}
    return Family(plain.model, settings, plain.inputs).build(attention)


def at_once(model: Any, text: Tensor, **settings: Any) -> Any:
    """The outputs for a whole text in one pass, by the model's own eager attention."""
    model.set_attn_implementation("eager")
    with torch.no_grad():
        return model(text, output_attentions=True, use_cache=False, **settings)


def check(recording: Recording, wanted: list[Tensor]) -> None:
    """Compare every layer with its eager weights; what eager code hides weighs exactly 0."""
    for found, eager in zip(recording.values(), wanted, strict=True):
        assert_kept(found, eager)
        cell = found.kept_cell or 4
        assert torch.equal(found.masked(cell), pooled(eager, cell) == 0)
        assert_placed(found, eager)


# The family and its settings, cache, attention, and how long the prompt is.
WRITERS: dict[str, tuple[str, dict[str, Any], str | None, str, int]] = {
    "a cache that grows": ("Llama", {}, None, "sdpa", 7),
    "a cache of fixed size": ("Llama", {}, "static", "sdpa", 7),
    "a cache that forgets": ("Mistral", {"sliding_window": 6}, None, "sdpa", 9),
    "a cache of fixed size, SDPA": ("Mistral", {"sliding_window": None}, "static", "sdpa", 5),
    "a cache of fixed size, ours": ("Mistral", {"sliding_window": None}, "static", "regard", 5),
    "a cache that rolls, SDPA": ("Mistral", {"sliding_window": 6}, "static", "sdpa", 5),
    "a cache that rolls, ours": ("Mistral", {"sliding_window": 6}, "static", "regard", 5),
}


@pytest.mark.parametrize("grad", GRAD)
@pytest.mark.parametrize("keep", KEEP)
@pytest.mark.parametrize("kind", WRITERS)
def test_a_text_is_one_matrix(kind: str, keep: Any, grad: Any) -> None:
    """Prompt and steps together equal one pass over the whole text; keys keep their place in it when forgotten, too."""
    family, settings, cache, attention, length = WRITERS[kind]
    model = writer(family, attention, **settings)
    with grad(), regard.watch(model, keep=keep) as recording:
        text = write(model, STEPS, inputs=torch.randint(4, 60, (2, length)), cache_implementation=cache)
    assert repr(recording).startswith(
        f"{2 * STEPS} of {2 * STEPS} attention calls recorded (2 layers x {STEPS} passes)"
    )
    assert [call.passes for call in recording.calls] == [STEPS, STEPS]
    check(recording, at_once(model, text[:, :-1]).attentions)


def test_a_long_text_stays_small() -> None:
    """More rows than a map has cells: the cells grow, the sums stay."""
    model = writer()
    with regard.watch(model) as recording:
        text = write(model, 150, inputs=torch.randint(2, 60, (1, 3)))
    assert recording[0].kept_cell == 4
    assert recording[0].pooled(4).shape[2:] == (38, 38)
    check(recording, at_once(model, text[:, :-1]).attentions)


@pytest.mark.parametrize("keep", KEEP)
def test_beams_take_their_history_with_them(keep: Any) -> None:
    """What is recorded of a batch row is the history of the hypothesis that ended there."""
    model = writer()
    with regard.watch(model, keep=keep) as recording:
        found = write(
            model, STEPS, inputs=torch.randint(2, 60, (1, 5)), num_beams=4, num_return_sequences=4,
            return_dict_in_generate=True, output_scores=True,
        )  # fmt: skip
    # Rows of the recording stand in the order before the last choice; each is one of the returned texts' histories.
    last = found.beam_indices[:, STEPS - 1] if found.beam_indices.shape[1] >= STEPS else found.beam_indices[:, -1]
    for weights, whole in zip(recording.values(), at_once(model, found.sequences[:, :-1]).attentions, strict=True):
        for text, row in enumerate(last.tolist()):
            torch.testing.assert_close(weights.entropy()[row], torch.special.entr(whole[text]).sum(-1), **CLOSE)
            torch.testing.assert_close(weights.received()[row], whole[text].sum(1), **CLOSE)
            if keep != "summary":
                torch.testing.assert_close(weights.dense()[row], whole[text], **CLOSE)


@pytest.mark.parametrize("keep", ["summary", "exact"])
def test_padding_on_the_left(keep: Any) -> None:
    """A batch of prompts of two lengths: rows of real tokens are those of one pass."""
    model = writer()
    prompt = torch.randint(2, 60, (2, 6))
    mask = torch.ones(2, 6 + STEPS - 1, dtype=torch.long)
    prompt[0, :3], mask[0, :3] = 0, 0
    with regard.watch(model, keep=keep) as recording:
        text = write(model, STEPS, inputs=prompt, attention_mask=mask[:, :6])[:, :-1]
    places = (mask.cumsum(1) - 1).clamp(min=0)
    eager = at_once(model, text, attention_mask=mask, position_ids=places).attentions
    for found, own in zip(recording.values(), eager, strict=True):
        assert_kept(found, own, mask.bool())


@pytest.mark.parametrize("keep", KEEP)
def test_encoder_and_decoder(keep: Any) -> None:
    """The encoder is one call, the decoder's own attention grows, and so does its attention to the source."""
    model = writer("BART")
    source = torch.randint(3, 60, (2, 8))
    with regard.watch(model, keep=keep) as recording:
        for _ in range(2):
            text = write(model, STEPS, inputs=source)
    assert len(recording) == 12  # two runs of 2 encoder, 2 x 2 decoder
    eager = at_once(model, source, decoder_input_ids=text[:, :STEPS])
    for run in ("", "#1"):
        for layer in range(2):
            name = f"model.decoder.layers.{layer}"
            assert_kept(recording[f"{name}.self_attn{run}"], eager.decoder_attentions[layer])
            assert_kept(recording[f"{name}.encoder_attn{run}"], eager.cross_attentions[layer])


@pytest.mark.parametrize("grad", GRAD)
@pytest.mark.parametrize("cache", ["static", "dynamic"])
@pytest.mark.parametrize("window", [6, None])
@pytest.mark.parametrize("beams", [1, 3])
def test_output_attentions_of_a_generation(beams: int, window: int | None, cache: str, grad: Any) -> None:
    """`generate(output_attentions=True)`: the lazy weights of each step, looked at when all is over, are eager's."""
    prompt, found = torch.randint(4, 60, (2, 5)), []
    for attention in ("eager", "regard"):
        with grad():
            found.append(write(
                writer("Mistral", attention, sliding_window=window), 10, inputs=prompt, num_beams=beams,
                output_attentions=True, return_dict_in_generate=True, cache_implementation=cache,
            ))  # fmt: skip
    theirs, ours = found
    assert torch.equal(ours.sequences, theirs.sequences)
    for step, own in zip(ours.attentions, theirs.attentions, strict=True):
        for weights, want in zip(step, own, strict=True):
            torch.testing.assert_close(weights.dense(), want, **CLOSE)


def test_two_passes_are_two_calls() -> None:
    """Without a cache nothing grows: the same text twice, and a longer one that begins alike, are calls."""
    model = writer()
    tokens = torch.randint(2, 60, (1, 9))
    with regard.watch(model) as recording, torch.no_grad():
        for length in (6, 6, 9):
            model(tokens[:, :length], use_cache=False)
    assert [call.passes for call in recording.calls] == [1] * 6
    assert list(recording)[2] == "model.layers.0.self_attn#1"
