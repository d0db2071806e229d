"""`watch` on models of PyTorch and our own, some of which write to their tensors: every call, and the output."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import regard
from regard.backends.native import Native
from regard.errors import ArgumentError
from regard.recorder import EmptyRecordingError, record, watch
from regard.weights import AttentionWeights, consumed_at_once, summarise
from tests.doors.models import Calls, HandMadeAttention, plain_and_watched
from tests.weights.cases import NOT_KEPT, assert_same_answers


def twice(q: Tensor) -> Tensor:
    return F.scaled_dot_product_attention(F.scaled_dot_product_attention(q, q, q, is_causal=True), q, q)


def weights_of(q: Tensor, k: Tensor, causal: bool = False) -> Tensor:
    scores = q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5
    if causal:
        scores = scores.masked_fill(~torch.ones_like(scores, dtype=torch.bool).tril(), -torch.inf)
    return scores.softmax(-1)


def test_sdpa_is_recorded_and_unchanged() -> None:
    """Both calls are there, equal to weights by hand, and the output is that of the unwatched model."""
    q = torch.randn(2, 3, 70, 8)
    model = Calls(twice)
    plain, found, recording = plain_and_watched(model, lambda: model(q), keep="exact")
    torch.testing.assert_close(found, plain)
    assert list(recording) == ["Calls", "Calls#1"]
    torch.testing.assert_close(recording["Calls"].dense(), weights_of(q, q, causal=True))
    once = F.scaled_dot_product_attention(q, q, q, is_causal=True)
    torch.testing.assert_close(recording[1].dense(), weights_of(once, q))


def test_summaries_are_those_of_the_exact_weights() -> None:
    """What is kept of a call answers as the call does; what is not kept says how to keep it."""
    q = torch.randn(2, 3, 130, 8)
    model = Calls(twice)
    with watch(model) as recording, watch(model, keep="exact") as exact:
        model(q)
    kept, whole = recording[0], exact[0]
    assert_same_answers(kept, whole)
    torch.testing.assert_close(kept.head(1, 2).entropy(), whole.head(1, 2).entropy())
    for ask in NOT_KEPT:
        with pytest.raises(ArgumentError, match='keep="exact"'):
            ask(kept)


@pytest.mark.parametrize("need_weights", [False, True])
def test_own_attention_keeps_its_bits(need_weights: bool) -> None:
    """`regard.attention` returns the same bits watched, and weights only where they were asked for."""
    q = torch.randn(1, 2, 40, 8)
    model = Calls(lambda: regard.attention(q, q, q, causal=True, need_weights=need_weights))
    plain, found, recording = plain_and_watched(model, model, keep="exact")
    assert isinstance(found, tuple) == need_weights
    assert torch.equal(found[0] if need_weights else found, plain[0] if need_weights else plain)
    torch.testing.assert_close(recording[0].dense(), weights_of(q, q, causal=True))


def test_whole_transformer_of_torch_in_eval() -> None:
    """The fast path of an encoder in eval hides nothing: 2 + 2 x 2 calls."""
    model = nn.Transformer(16, 2, 2, 2, 32, batch_first=True).eval()
    source, target = torch.randn(1, 7, 16), torch.randn(1, 5, 16)
    with torch.no_grad():
        expected = model(source, target)
        with watch(model) as recording:
            torch.testing.assert_close(model(source, target), expected)
            model(source, target)
    assert repr(recording) == "12 of 12 attention calls recorded (6 layers x 2 passes); 0 took another path"
    assert recording["decoder.layers.1.multihead_attn"].shape == (1, 2, 5, 7)
    assert len(recording.layer(1)) == 6


def test_layers_can_be_chosen() -> None:
    """Numbers and patterns choose; the rest is counted as not asked for."""
    model = nn.TransformerEncoder(nn.TransformerEncoderLayer(16, 2, batch_first=True), 3, enable_nested_tensor=False)
    with watch(model.eval(), layers=[0, "layers.2.*"]) as recording:
        model(torch.randn(1, 4, 16))
    assert [call.layer for call in recording.calls] == [0, 2]
    assert "2 of 3" in repr(recording)
    assert "1 not asked for" in repr(recording)


def test_a_call_that_cannot_be_recorded_runs_and_counts() -> None:
    """Shapes that PyTorch alone broadcasts leave the model as it is, and are named in the coverage."""
    model = Calls(twice)
    q = torch.randn(2, 2, 2, 5, 8)
    expected = model(q)
    with pytest.raises(EmptyRecordingError, match="differ in rank"), watch(model) as recording:
        assert torch.equal(model(q), expected)
    assert recording.missed.total() == 2


def test_compiled_model_is_recorded() -> None:
    """A compiled model runs uncompiled while it is watched, and compiled again after."""
    compiled = torch.compile(Calls(twice), backend="eager")
    q = torch.randn(1, 2, 60, 8)
    expected = compiled(q)
    with watch(compiled) as recording:
        torch.testing.assert_close(compiled(q), expected)
    assert len(recording) == 2
    torch.testing.assert_close(compiled(q), expected)


@pytest.mark.parametrize("gradient", [False, True])
def test_summaries_come_with_the_output(gradient: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody looks at the weights again; what is kept, of all heads or some, and the output are the same."""
    q = torch.randn(2, 3, 130, 8, requires_grad=gradient)
    own, plain = Calls(lambda: regard.attention(q, q, q, causal=True)), Calls(twice)
    expected, weights = regard.attention(q, q, q, causal=True, need_weights=True)
    wanted = summarise(weights)
    monkeypatch.setattr(Native, "summarise", None)
    with watch(own) as recording, watch(plain, heads=[2, 0]) as some:
        found = own()
        plain(q).square().sum().backward() if gradient else plain(q)
    assert torch.equal(found, expected)
    assert found.requires_grad == gradient
    heads = torch.tensor([2, 0])
    for kept, pick in ((summarise(recording[0]), slice(None)), (summarise(some[0]), heads)):
        assert kept.cell == wanted.cell
        for name in ("map", "entropy", "distance", "top", "top_keys", "received", "neighbours", "lse"):
            torch.testing.assert_close(getattr(kept, name), getattr(wanted, name)[:, pick])
            assert not getattr(kept, name).requires_grad


def test_only_summaries_that_are_kept_are_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """Layers that are not wanted, exact weights and steps of a generation make none."""
    monkeypatch.setattr("regard.backends.native._backend.forward_summary", None)
    q, model = torch.randn(1, 2, 40, 8), Calls(twice)
    with watch(model, layers=["none"]) as recording:
        model(q)
    assert recording.left_out == 2
    with watch(model, keep="exact") as recording:
        model(q)
    with watch(model) as recording:
        model(q[:, :, :1])
    assert recording[0].entropy().shape == (1, 2, 1)


def test_weights_with_a_summary_answer_as_others() -> None:
    """A summary that came with the output changes no answer; a change of the weights leaves it behind."""
    q, k = torch.randn(2, 2, 70, 8), torch.randn(2, 2, 90, 8)
    with consumed_at_once(summary=True):
        output, weights = regard.attention(q, k, k, causal=True, need_weights=True)
    same, others = regard.attention(q, k, k, causal=True, need_weights=True)
    assert torch.equal(output, same)
    torch.testing.assert_close(weights.pooled(64), others.pooled(64))
    torch.testing.assert_close(weights.dense(), others.dense())
    for change in (AttentionWeights.value_weighted, AttentionWeights.clone, AttentionWeights.detach):
        found, expected = summarise(change(weights)), summarise(change(others))
        torch.testing.assert_close(found.map, expected.map)
        torch.testing.assert_close(found.entropy, expected.entropy)


def test_another_thread_is_recorded() -> None:
    """A model that runs in a thread of its own is recorded like any."""
    model = Calls(twice)
    with watch(model) as recording, ThreadPoolExecutor(1) as pool:
        pool.submit(model, torch.randn(1, 2, 20, 8)).result()
    assert len(recording) == 2


def test_nothing_recorded_is_an_error() -> None:
    """A model without attention, and one that computes it itself, say so."""
    by_hand = HandMadeAttention(lambda x: weights_of(x, x).mean(0) @ x[0])
    for model, found in ((nn.Linear(4, 4), "no module of it"), (by_hand, "HandMadeAttention")):
        with pytest.raises(EmptyRecordingError, match=found), watch(model):
            model(torch.randn(1, 4, 4))


def test_the_difference_is_measured_when_asked() -> None:
    """PyTorch's own attention runs beside the native kernel, and the largest difference is noted and printed."""
    model = nn.TransformerEncoderLayer(16, 2, batch_first=True).eval()
    with regard.watch(model, compare=True) as recording, torch.no_grad():
        model(torch.randn(1, 50, 16))
    assert 0 <= recording.difference < 1e-5
    assert "outputs differ from PyTorch's own attention by at most" in repr(recording)


def test_dense_keeps_the_weights() -> None:
    """keep="dense" holds the numbers themselves and knows what was masked."""
    layer = nn.TransformerEncoderLayer(16, 2, batch_first=True).eval()
    x, past = torch.randn(1, 6, 16), nn.Transformer.generate_square_subsequent_mask(6)
    with torch.no_grad(), watch(layer, keep="exact") as exact, watch(layer, keep="dense") as dense:
        layer(x, past)
    torch.testing.assert_close(dense[0].dense(), exact[0].dense())
    assert torch.equal(dense[0].masked()[0, 0], torch.ones(6, 6).triu(1).bool())


def test_weights_that_a_model_gave_are_a_recording() -> None:
    """`record` keeps what `watch` would have kept of the same calls, and counts what was not asked for."""
    q = torch.randn(1, 2, 6, 8)
    _, weights = regard.attention(q, q, q, need_weights=True)
    given = {"layers.0": weights, "layers.1": weights}
    for keep in ("summary", "exact", "dense"):
        found = record(given, layers=[1], keep=keep)  # type: ignore[arg-type]
        assert list(found) == ["layers.1"]
        assert found.left_out == 1
        torch.testing.assert_close(found[0].entropy(), weights.entropy())
    with pytest.raises(ArgumentError, match="Did you mean 'summary'"):
        record(given, keep="sumary")  # type: ignore[arg-type]


def ring_buffer(size: int, how: str, seen: list[Tensor], given: list[AttentionWeights]) -> Calls:
    """Return a decoder's attention over its own buffer of keys, as streaming models have it: it notes its weights."""
    project = nn.Linear(16, 48)
    key, value = torch.zeros(2, 1, 2, size, 8).unbind()

    def step(x: Tensor) -> Tensor:
        query, new_key, new_value = project(x).unflatten(-1, (3, 2, 8)).permute(2, 0, 3, 1, 4)
        at, here = len(seen) % size, min(len(seen) + 1, size)
        key[:, :, at], value[:, :, at] = new_key[:, :, 0], new_value[:, :, 0]  # over the oldest
        keys, values = key[:, :, :here], value[:, :, :here]
        seen.append((query @ keys.mT / 8**0.5).softmax(-1).detach().clone())
        if how == "sdpa":
            return F.scaled_dot_product_attention(query, keys, values)
        out, weights = regard.attention(query, keys, values, need_weights=True)
        given.append(weights)
        return out

    return Calls(step, project=project)


@pytest.mark.parametrize("grad", [torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("how", ["sdpa", "regard"])
@pytest.mark.parametrize("keep", ["exact", "dense", "summary"])
def test_a_models_own_ring_buffer(keep: Any, how: str, grad: Any) -> None:
    """The first calls grow into one matrix, each later one stands alone; each has the rows that the model computed."""
    seen, given = list[Tensor](), list[AttentionWeights]()
    model = ring_buffer(4, how, seen, given)
    with grad(), regard.watch(model, keep=keep) as recording:
        for _ in range(9):
            model(torch.randn(1, 1, 16))
    rows = iter(seen)
    for weights in recording.values():
        for row in range(weights.shape[2]):
            want = next(rows)
            torch.testing.assert_close(weights.entropy()[:, :, row, None], torch.special.entr(want).sum(-1))
            torch.testing.assert_close(weights.peak().values[:, :, row, None], want.amax(-1))
            if keep != "summary":
                torch.testing.assert_close(weights.dense()[:, :, row, None, : want.shape[3]], want)
    assert next(rows, None) is None
    if how == "regard":
        torch.testing.assert_close(given[-1].dense(), seen[-1])


def overwrites(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None) -> Tensor:
    """Attend, then write over everything, as if it were used for something else before the module returns."""
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
    model = Calls(overwrites)
    with torch.no_grad(), regard.watch(model, keep="exact") as recording:
        model(query, key, value, seen)
    torch.testing.assert_close(recording[0].dense(), want)
    torch.testing.assert_close(recording[0].entropy(), torch.special.entr(want).sum(-1))
    torch.testing.assert_close(recording[0].value_weighted().dense(), norms)
