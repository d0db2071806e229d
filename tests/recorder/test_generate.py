"""Text generation with a cache: each step appends its rows to one matrix, which is that of the whole text at once."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import transformers
from torch import Tensor

import regard
from regard.recorder import Recording

SIZES: dict[str, Any] = {"num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": 60}
STEPS = 12


def llama(**changes: Any) -> Any:
    """A small Llama (or Mistral, with a window) that attends by SDPA."""
    torch.manual_seed(0)
    kind = transformers.MistralConfig if "sliding_window" in changes else transformers.LlamaConfig
    config = kind(
        hidden_size=32, intermediate_size=48, num_key_value_heads=2, max_position_embeddings=256, pad_token_id=0,
        bos_token_id=1, eos_token_id=None, **SIZES, **changes,
    )  # fmt: skip
    return transformers.AutoModelForCausalLM.from_config(config, attn_implementation="sdpa").eval()


def at_once(model: Any, tokens: Tensor, mask: Tensor | None = None) -> list[Tensor]:
    """Weights of each layer for the whole text in one pass, by the model's own eager attention."""
    model.set_attn_implementation("eager")
    with torch.no_grad():
        found = model(tokens, attention_mask=mask, output_attentions=True, use_cache=False).attentions
    model.set_attn_implementation("sdpa")
    return list(found)


def check(recording: Recording, wanted: list[Tensor], keep: str, rows: Tensor | None = None) -> None:
    """Compare every layer with its eager weights, `rows` says which (batch, row) count."""
    assert len(recording) == len(wanted)
    for found, eager in zip(recording.values(), wanted, strict=True):
        length = found.shape[2]
        eager = eager[:, :, :length, :length]
        assert tuple(found.shape) == tuple(eager.shape)
        real = torch.ones(eager.shape[0], length, dtype=torch.bool) if rows is None else rows[:, :length]
        eager = eager * real[:, None, :, None]
        close = {"atol": 2e-5, "rtol": 1e-4}
        entropy = torch.special.entr(eager).sum(-1)
        torch.testing.assert_close(found.entropy() * real[:, None], entropy, **close)
        torch.testing.assert_close(found.peak().values * real[:, None], eager.max(-1).values, **close)
        if rows is None:
            torch.testing.assert_close(found.received(), eager.sum(2), **close)
            place = torch.arange(length)
            far = (eager * (place - place[:, None]).abs()).sum(-1)
            torch.testing.assert_close(found.mean_distance(), far, atol=2e-4, rtol=1e-4)
            for offset in (-1, 0, 1):
                share = eager.diagonal(offset, 2, 3).sum(-1) / length
                torch.testing.assert_close(found.share(offset), share, **close)
            cell = found.kept_cell if keep == "summary" else 4
            pad = torch.nn.functional.pad(eager, (0, -length % cell, 0, -length % cell))
            sums = pad.unflatten(3, (-1, cell)).sum(4).unflatten(2, (-1, cell)).sum(3)
            counts = torch.arange(0, length + cell, cell).clamp(max=length).diff()[: sums.shape[2]]
            torch.testing.assert_close(found.pooled(cell), sums / counts[:, None], **close)
            past = torch.ones(length, length, dtype=torch.bool).tril()
            if found.masked(cell).shape[-1] > 1 and not found.visible_keys()[0, 0, -1] < length:
                hidden = ~torch.nn.functional.pad(past, (0, -length % cell, 0, -length % cell)).unflatten(
                    1, (-1, cell)).any(2).unflatten(0, (-1, cell)).any(1)  # fmt: skip
                assert torch.equal(found.masked(cell)[0, 0], hidden)
        if keep != "summary":
            torch.testing.assert_close(found.dense() * real[:, None, :, None], eager, **close)


@pytest.mark.parametrize("keep", ["summary", "exact", "dense"])
@pytest.mark.parametrize("cache", [None, "static"])
def test_greedy_generation_is_one_matrix(keep: Any, cache: str | None) -> None:
    """Prompt and steps together equal one pass over the whole text, with a cache that grows and one of fixed size."""
    model = llama()
    prompt = torch.randint(2, 60, (2, 7))
    with regard.watch(model, keep=keep) as recording:
        text = model.generate(prompt, max_new_tokens=STEPS, do_sample=False, cache_implementation=cache)
    assert repr(recording).startswith(
        f"{2 * STEPS} of {2 * STEPS} attention calls recorded (2 layers x {STEPS} passes)"
    )
    assert [call.passes for call in recording.calls] == [STEPS, STEPS]
    assert recording[0].shape[2:] == (7 + STEPS - 1, 7 + STEPS - 1)
    check(recording, at_once(model, text[:, :-1]), keep)


def test_a_long_text_stays_small() -> None:
    """More rows than a map has cells: the cells grow, the sums stay."""
    model = llama()
    with regard.watch(model) as recording:
        text = model.generate(torch.randint(2, 60, (1, 3)), max_new_tokens=150, do_sample=False)
    assert recording[0].kept_cell == 4
    assert recording[0].pooled(4).shape[2:] == (38, 38)
    check(recording, at_once(model, text[:, :-1]), "summary")


@pytest.mark.parametrize("keep", ["summary", "exact", "dense"])
def test_beams_take_their_history_with_them(keep: Any) -> None:
    """What is recorded of a batch row is the history of the hypothesis that ended there."""
    model = llama()
    prompt = torch.randint(2, 60, (1, 5))
    with regard.watch(model, keep=keep) as recording:
        found = model.generate(
            prompt, max_new_tokens=STEPS, num_beams=4, num_return_sequences=4, do_sample=False,
            return_dict_in_generate=True, output_scores=True,
        )  # fmt: skip
    assert len(recording) == 2
    eager = at_once(model, found.sequences[:, :-1])
    # Rows of the recording stand in the order before the last choice; each is one of the returned texts' histories.
    last = found.beam_indices[:, STEPS - 1] if found.beam_indices.shape[1] >= STEPS else found.beam_indices[:, -1]
    for layer, whole in enumerate(eager):
        kept = recording[layer]
        entropy = torch.special.entr(whole).sum(-1)
        for text, row in enumerate(last.tolist()):
            torch.testing.assert_close(kept.entropy()[row], entropy[text], atol=2e-5, rtol=1e-4)
            torch.testing.assert_close(kept.received()[row], whole[text].sum(1), atol=2e-5, rtol=1e-4)
            if keep != "summary":
                torch.testing.assert_close(kept.dense()[row], whole[text], atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("keep", ["summary", "exact", "dense"])
def test_a_window_slides(keep: Any) -> None:
    """A cache that forgets: keys keep their place in the whole text."""
    model = llama(sliding_window=6)
    with regard.watch(model, keep=keep) as recording:
        text = model.generate(torch.randint(2, 60, (1, 9)), max_new_tokens=STEPS, do_sample=False)
    check(recording, at_once(model, text[:, :-1]), keep)


@pytest.mark.parametrize("keep", ["summary", "exact"])
def test_padding_on_the_left(keep: Any) -> None:
    """A batch of prompts of two lengths: rows of real tokens are those of one pass."""
    model = llama()
    prompt = torch.randint(2, 60, (2, 6))
    mask = torch.ones_like(prompt)
    prompt[0, :3], mask[0, :3] = 0, 0
    with regard.watch(model, keep=keep) as recording:
        text = model.generate(prompt, attention_mask=mask, max_new_tokens=STEPS, do_sample=False)[:, :-1]
    whole = torch.cat([mask, torch.ones(2, text.shape[1] - 6, dtype=torch.long)], 1)
    model.set_attn_implementation("eager")
    places = (whole.cumsum(1) - 1).clamp(min=0)
    with torch.no_grad():
        eager = model(text, attention_mask=whole, position_ids=places, output_attentions=True, use_cache=False)
    check(recording, list(eager.attentions), keep, whole.bool())


@pytest.mark.parametrize("keep", ["summary", "exact", "dense"])
def test_encoder_and_decoder(keep: Any) -> None:
    """The encoder is one call, the decoder's own attention grows, and so does its attention to the source."""
    torch.manual_seed(0)
    config = transformers.BartConfig(
        vocab_size=60, d_model=32, encoder_layers=2, decoder_layers=2, encoder_attention_heads=4,
        decoder_attention_heads=4, encoder_ffn_dim=32, decoder_ffn_dim=32, max_position_embeddings=64, pad_token_id=0,
        bos_token_id=1, eos_token_id=2, decoder_start_token_id=2, forced_eos_token_id=None,
    )  # fmt: skip
    model = transformers.AutoModelForSeq2SeqLM.from_config(config, attn_implementation="sdpa").eval()
    source = torch.randint(3, 60, (2, 8))
    with regard.watch(model, keep=keep) as recording:
        for _ in range(2):
            text = model.generate(source, max_new_tokens=STEPS, min_new_tokens=STEPS, do_sample=False, num_beams=1)
    text = text[:, :STEPS]
    assert len(recording) == 12  # two runs of 2 encoder, 2 x 2 decoder
    model.set_attn_implementation("eager")
    with torch.no_grad():
        eager = model(source, decoder_input_ids=text, output_attentions=True, use_cache=False)
    for run in ("", "#1"):
        for layer in range(2):
            name = f"model.decoder.layers.{layer}"
            found, cross = recording[f"{name}.self_attn{run}"], recording[f"{name}.encoder_attn{run}"]
            wanted, other = eager.decoder_attentions[layer], eager.cross_attentions[layer]
            torch.testing.assert_close(found.entropy(), torch.special.entr(wanted).sum(-1), atol=2e-5, rtol=1e-4)
            torch.testing.assert_close(cross.received(), other.sum(2), atol=2e-5, rtol=1e-4)
            if keep != "summary":
                torch.testing.assert_close(cross.dense(), other, atol=2e-5, rtol=1e-4)
                torch.testing.assert_close(found.dense(), wanted, atol=2e-5, rtol=1e-4)


def test_two_passes_are_two_calls() -> None:
    """Without a cache nothing grows: the same text twice, and a longer one that begins alike, are calls."""
    model = llama()
    tokens = torch.randint(2, 60, (1, 9))
    with regard.watch(model) as recording, torch.no_grad():
        for length in (6, 6, 9):
            model(tokens[:, :length], use_cache=False)
    assert [call.passes for call in recording.calls] == [1] * 6
    assert list(recording)[2] == "model.layers.0.self_attn#1"
