"""Recordings of models that write to their own tensors: every weight is that of its call, exact or settled late."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
import transformers
from torch import Tensor, nn

import regard
from regard.recorder._watch import Keep

GRAD = [torch.no_grad, torch.inference_mode]


class RingBuffer(nn.Module):
    """A decoder's attention over its own buffer of keys, as streaming models have it."""

    def __init__(self, size: int, how: str) -> None:
        super().__init__()
        self.project, self.how = nn.Linear(16, 48), how
        self.key, self.value = torch.zeros(2, 1, 2, size, 8).unbind()
        self.place, self.size = 0, size
        self.seen: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        """Write the new token over the oldest, attend to all that are there."""
        query, key, value = self.project(x).unflatten(-1, (3, 2, 8)).permute(2, 0, 3, 1, 4)
        at = self.place % self.size
        self.key[:, :, at], self.value[:, :, at] = key[:, :, 0], value[:, :, 0]
        self.place += 1
        here = min(self.place, self.size)
        keys, values = self.key[:, :, :here], self.value[:, :, :here]
        self.seen.append((query @ keys.mT / 8**0.5).softmax(-1).detach().clone())
        if self.how == "sdpa":
            return F.scaled_dot_product_attention(query, keys, values)
        out, weights = regard.attention(query, keys, values, need_weights=True)
        self.given = weights
        return out


@pytest.mark.parametrize("grad", GRAD)
@pytest.mark.parametrize("how", ["sdpa", "regard"])
@pytest.mark.parametrize("keep", ["exact", "dense", "summary"])
def test_a_models_own_ring_buffer(keep: Keep, how: str, grad: Any) -> None:
    """The first calls grow into one matrix, each later one stands alone; each has the rows that the model computed."""
    model = RingBuffer(4, how).eval()
    with grad(), regard.watch(model, keep=keep) as recording:
        for _ in range(9):
            model(torch.randn(1, 1, 16))
    rows = iter(model.seen)
    for weights in recording.values():
        for row in range(weights.shape[2]):
            want = next(rows)
            torch.testing.assert_close(weights.entropy()[:, :, row, None], torch.special.entr(want).sum(-1))
            torch.testing.assert_close(weights.peak().values[:, :, row, None], want.amax(-1))
            if keep != "summary":
                torch.testing.assert_close(weights.dense()[:, :, row, None, : want.shape[3]], want)
    assert next(rows, None) is None
    if how == "regard":
        torch.testing.assert_close(model.given.dense(), model.seen[-1])


class Overwrites(nn.Module):
    """Attention whose query, key and mask are used again for something else before the module returns."""

    def forward(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None) -> Tensor:
        """Attend, then write over everything."""
        out = F.scaled_dot_product_attention(query, key, value, mask)
        query.data.zero_()
        key.zero_()
        value.mul_(7)
        if mask is not None:
            mask.fill_(0)
        return out


@pytest.mark.parametrize("mask", ["none", "bool", "bias"])
def test_tensors_written_after_the_call(mask: str) -> None:
    """An exact recording owns query, key, mask and bias, and the norms of the values are those of the call."""
    query, key, value = torch.randn(3, 1, 2, 6, 8).unbind()
    seen = {"none": None, "bool": torch.rand(6, 6) > 0.3, "bias": torch.randn(6, 6)}[mask]
    if mask == "bool":
        seen.fill_diagonal_(True)  # type: ignore[union-attr]
    copies = [x.clone() for x in (query, key, value)]
    settings = {"none": {}, "bool": {"mask": seen}, "bias": {"bias": seen}}[mask]
    _, live = regard.attention(*copies, need_weights=True, **settings)  # type: ignore[call-overload]
    want, norms = live.dense(), live.value_weighted().dense()
    model = Overwrites()
    with torch.no_grad(), regard.watch(model, keep="exact") as recording:
        model(query, key, value, seen)
    torch.testing.assert_close(recording[0].dense(), want)
    torch.testing.assert_close(recording[0].entropy(), torch.special.entr(want).sum(-1))
    torch.testing.assert_close(recording[0].value_weighted().dense(), norms)


@pytest.mark.parametrize("grad", GRAD)
@pytest.mark.parametrize("window", [6, None])
@pytest.mark.parametrize("keep", ["exact", "dense", "summary"])
@pytest.mark.parametrize("attention", ["sdpa", "regard"])
def test_generation_with_a_static_cache(attention: str, keep: Keep, window: int | None, grad: Any) -> None:
    """A cache of fixed size that fills up and rolls: all rows, sums over queries too, are those of the whole text."""
    model, ids = mistral(window, attention)
    with grad(), regard.watch(model, keep=keep) as recording:
        text = model.generate(
            ids, max_new_tokens=12, do_sample=False, cache_implementation="static", disable_compile=True
        )
    model.set_attn_implementation("eager")
    with torch.no_grad():
        eager = model(text[:, :-1], output_attentions=True, use_cache=False).attentions
    assert len(recording) == 2
    for weights, want in zip(recording.values(), eager, strict=True):
        close = {"atol": 2e-5, "rtol": 1e-4}
        torch.testing.assert_close(weights.received(), want.sum(2), **close)
        torch.testing.assert_close(weights.entropy(), torch.special.entr(want).sum(-1), **close)
        cell = weights.kept_cell if keep == "summary" else 1
        torch.testing.assert_close(weights.pooled(cell).sum((2, 3)), want.sum((2, 3)) / cell, atol=1e-3, rtol=1e-3)
        if keep != "summary":
            torch.testing.assert_close(weights.dense(), want, **close)


@pytest.mark.parametrize("grad", GRAD)
@pytest.mark.parametrize("cache", ["static", "dynamic"])
@pytest.mark.parametrize("window", [6, None])
@pytest.mark.parametrize("beams", [1, 3])
def test_output_attentions_of_a_generation(beams: int, window: int | None, cache: str, grad: Any) -> None:
    """`generate(output_attentions=True)`: the lazy weights of each step, looked at when all is over, are eager's."""
    found = {}
    for attention in ("eager", "regard"):
        model, ids = mistral(window, attention)
        with grad():
            found[attention] = model.generate(
                ids, max_new_tokens=10, do_sample=False, num_beams=beams, output_attentions=True,
                return_dict_in_generate=True, cache_implementation=cache, disable_compile=True,
            )  # fmt: skip
    assert torch.equal(found["eager"].sequences, found["regard"].sequences)
    for ours, theirs in zip(found["regard"].attentions, found["eager"].attentions, strict=True):
        for weights, want in zip(ours, theirs, strict=True):
            torch.testing.assert_close(weights.dense(), want, atol=2e-5, rtol=1e-4)


def mistral(window: int | None, attention: str) -> tuple[Any, Tensor]:
    """Return a small Mistral and a prompt."""
    torch.manual_seed(0)
    config = transformers.MistralConfig(
        vocab_size=61, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, head_dim=8, max_position_embeddings=128, sliding_window=window, pad_token_id=0,
        bos_token_id=1, eos_token_id=None,
    )  # fmt: skip
    regard.integrations.transformers.register()
    model = transformers.AutoModelForCausalLM.from_config(config, attn_implementation=attention).eval()
    for name, parameter in model.named_parameters():
        if "norm" not in name:
            nn.init.normal_(parameter, std=0.2)
    return model, torch.randint(4, 60, (2, 5))
