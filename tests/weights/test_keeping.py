"""Weights looked at after their tensors were written to: those of the call, or an error that says what changed."""

import copy
import pickle
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import Tensor, nn

import regard
from regard.errors import StaleWeightsError
from regard.weights import AttentionWeights, from_dense, summarise
from tests.weights.cases import LARGEST, QUESTIONS

LENGTH = 20
Inputs = dict[str, Tensor]


def inputs(**more: Tensor) -> Inputs:
    """Return tensors that nobody has written to."""
    return {name: torch.randn(1, 2, LENGTH, 8) for name in ("query", "key", "value")} | more


def call(given: Inputs, **settings: object) -> AttentionWeights:
    """Return the weights of a call."""
    return regard.attention(**given, need_weights=True, **settings)[1]  # type: ignore[call-overload,no-any-return]


WRITES: dict[str, Callable[[Tensor], object]] = {
    "in place": lambda x: x.mul_(3),
    "through a view": lambda x: x[..., 3:5, :].zero_(),
    "by out=": lambda x: torch.add(x, 1, out=x),
    "copied over": lambda x: x.copy_(torch.randn(x.shape)),
    "all tensors at once": lambda x: torch._foreach_mul_([x], 2.0),
    "in .data": lambda x: x.data.mul_(3),
    "one number in NumPy": lambda x: x.numpy().__setitem__((0, 0, 3, 2), 9.0),
    "rolled in .data": lambda x: x.data.copy_(x.roll(-1, 2)),
    "resized": lambda x: x.resize_(3, 4),
    "freed": lambda x: x.untyped_storage().resize_(0),
    "set to another": lambda x: x.set_(torch.randn(x.shape)),
    "given other data": lambda x: setattr(x, "data", torch.randn(x.shape)),
    "made half": lambda x: setattr(x, "data", x.data.half()),
    "transposed": lambda x: x.transpose_(1, 2),
}


@pytest.mark.parametrize("name", ["query", "key", "bias"])
@pytest.mark.parametrize("write", WRITES)
def test_no_write_changes_an_answer(name: str, write: str) -> None:
    """Whatever way a tensor is written to, the answer is that of the call or an error with its name."""
    given = inputs(bias=torch.randn(1, 2, LENGTH, LENGTH))
    want = call({n: t.clone() for n, t in given.items()}).dense()
    weights = call(given)
    WRITES[write](given[name])
    if write in ("given other data", "made half"):  # the memory is what it was
        torch.testing.assert_close(weights.dense(), want)
        return
    with pytest.raises(StaleWeightsError, match=rf"(of these|the) {name} changed \((written|other memory)"):
        weights.dense()


ASKED: dict[str, Callable[[AttentionWeights], object]] = {
    **QUESTIONS,
    **LARGEST,
    "numpy": lambda w: w.numpy(),
    "head": lambda w: w.head(0, 1).dense(),
    "detach": lambda w: w.detach().dense(),
    "to": lambda w: w.to("cpu").dense(),
    "clone": lambda w: w.clone(),
    "pickle": lambda w: pickle.dumps(w),
    "deepcopy": lambda w: copy.deepcopy(w),
    "summarise": lambda w: summarise(w),
    "record": lambda w: regard.recorder.record({"a": w}, keep="exact"),
    "mean": lambda w: w.mean(1),
}


@pytest.mark.parametrize("question", ASKED)
def test_each_question_notices(question: str) -> None:
    """No way of asking reads a tensor that has changed."""
    given = inputs()
    weights = call(given)
    ASKED[question](weights)  # what it keeps for later does not help it
    given["key"].mul_(2)
    with pytest.raises(StaleWeightsError, match=r"key changed \(written in place"):
        ASKED[question](weights)


def test_what_is_not_read_does_not_matter() -> None:
    """Values count for `value_weighted` alone; what the mask hides and the lse of the call outlive the keys."""
    given = inputs(mask=torch.rand(LENGTH, LENGTH) > 0.4)
    weights = call(given)
    dense, lse, masked = weights.dense(), weights.lse, weights.masked()
    given["value"].zero_()
    assert torch.equal(weights.dense(), dense)
    with pytest.raises(StaleWeightsError, match=r"value changed \(written"):
        weights.value_weighted()
    given["key"].zero_()
    assert torch.equal(weights.masked(), masked)
    assert torch.equal(weights.lse, lse)
    given["mask"].fill_(True)
    with pytest.raises(StaleWeightsError, match=r"the mask changed \(written in place"):
        weights.masked()


def test_an_optimiser_step_between_call_and_look() -> None:
    """A step on a learnt bias is noticed; from then on the bias has been written to before the call and is copied."""
    given = inputs()
    bias = nn.Parameter(torch.randn(2, 1, LENGTH))
    optimiser = torch.optim.SGD([bias], lr=1.0)
    for step in range(2):
        out, weights = regard.attention(**given, bias=bias, need_weights=True)  # type: ignore[arg-type]
        want = weights.dense().detach()
        out.square().sum().backward()
        optimiser.step()
        if step == 0:
            with pytest.raises(StaleWeightsError, match=r"the bias changed \(written in place"):
                weights.dense()
        else:
            assert torch.equal(weights.dense(), want)


@pytest.mark.parametrize("queries", [1, LENGTH])
@pytest.mark.parametrize("grad", [torch.no_grad, torch.inference_mode])
def test_a_ring_buffer_gives_the_weights_of_each_call(queries: int, grad: Callable[[], object]) -> None:
    """What was written before the call will be again, so it is copied; in inference mode everything is."""
    with grad():  # type: ignore[attr-defined]
        key, value = torch.zeros(2, 1, 2, LENGTH, 8).unbind()
        kept = []
        for step in range(2 * LENGTH):
            key[:, :, step % LENGTH], value[:, :, step % LENGTH] = torch.randn(2, 1, 2, 8).unbind()
            query = torch.randn(1, 2, queries, 8)
            weights = regard.attention(query, key, value, need_weights=True)[1]
            kept.append((weights, torch.softmax(query @ key.mT / 8**0.5, -1), value.norm(dim=-1)))
        for weights, want, norms in kept:
            torch.testing.assert_close(weights.dense(), want)
            torch.testing.assert_close(weights.entropy(), torch.special.entr(want).sum(-1))
            torch.testing.assert_close(weights.value_weighted().dense(), want * norms[:, :, None])
            torch.testing.assert_close(weights.peak().values, want.amax(-1))


def test_a_step_over_a_cache_keeps_scores_in_place_of_keys() -> None:
    """A step of decoding holds less than a copy of the keys; masks, lse and shapes are those of the call."""
    key, value = torch.zeros(2, 1, 2, 512, 32).unbind()
    key.normal_()
    value.normal_()
    query = torch.randn(1, 4, 1, 32)
    mask = regard.masks.window(99, 0)
    weights = regard.attention(query, key, value, mask=mask, need_weights=True)[1]
    want = regard.attention(query, key.clone(), value, mask=mask, need_weights=True)[1]
    lse, dense, masked = want.lse, want.dense(), want.masked()
    key.zero_()
    held = weights._source.inputs
    tensors = (held.query, held.key, held.value, held.bias)
    assert sum(t.untyped_storage().nbytes() for t in tensors if t is not None) < key.numel()
    torch.testing.assert_close(weights.dense(), dense)
    torch.testing.assert_close(weights.lse, lse)
    assert torch.equal(weights.masked(), masked)
    assert torch.equal(weights.visible_keys(), torch.full((1, 4, 1), 100))
    with pytest.raises(regard.errors.ArgumentError, match="norms of the values"):
        weights.value_weighted(torch.eye(128))


def test_gradients_flow_through_a_copy() -> None:
    """Queries scaled in place before the call get the gradient that scaled ones get."""
    base = torch.randn(1, 2, 5, 8, requires_grad=True)
    key = torch.randn(1, 2, 5, 8)
    gradients = []
    for scaled in (base * 1.0, base * 0.5 * 2.0):
        query = scaled.mul_(0.5) if not gradients else scaled * 0.5
        weights = regard.attention(query, key, key, need_weights=True)[1]
        gradients.append(torch.autograd.grad(weights.entropy().sum(), base)[0])
    torch.testing.assert_close(*gradients)


def test_a_gradient_is_not_taken_of_other_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks that the backward pass makes again see what the forward pass saw, or nothing."""
    monkeypatch.setattr("regard.weights._stream._STRIPE_ENTRIES", 64)
    given = inputs()
    given["query"].requires_grad_()
    entropy = call(given).entropy().sum()
    given["key"].data.mul_(2)
    with pytest.raises(StaleWeightsError, match=r"key changed \(written"):
        entropy.backward()


def test_copies_outlive_every_write() -> None:
    """`clone`, `copy.deepcopy` and pickles hold their own tensors; only the first keeps the gradient."""
    given = inputs()
    given["query"].requires_grad_()
    weights = call(given)
    want = weights.dense().detach()
    copies = [weights.clone(), copy.deepcopy(weights), pickle.loads(pickle.dumps(weights))]
    assert [one.requires_grad for one in copies] == [True, False, False]
    assert copy.copy(weights).requires_grad
    with torch.no_grad():
        for tensor in given.values():
            tensor.mul_(2)
    for one in copies:
        torch.testing.assert_close(one.dense().detach(), want)
    assert copies[1].entropy().shape == weights.shape[:3]


@pytest.mark.parametrize("keep", ["summary", "exact", "dense"])
def test_recorded_weights_are_pickled(keep: str, tmp_path: object) -> None:
    """What `watch` and `load` give answers the same after a pickle and a deep copy."""
    model = nn.TransformerEncoderLayer(16, 2, batch_first=True).eval()
    with regard.watch(model, keep=keep) as recording:  # type: ignore[arg-type]
        model(torch.randn(1, 5, 16))
    recording.save(f"{tmp_path}/a.regard")
    for weights in (recording[0], regard.load(f"{tmp_path}/a.regard")[0]):
        for one in (pickle.loads(pickle.dumps(weights)), copy.deepcopy(weights), weights.clone()):
            assert one.kept_cell == weights.kept_cell
            assert torch.equal(one.received(), weights.received())
            if keep != "summary":
                torch.testing.assert_close(one.dense(), weights.dense())


def test_an_answer_that_is_written_to_changes_nothing() -> None:
    """Answers are the caller's own: to divide an entropy in place is common."""
    weights = call(inputs(), causal=True)
    recorded = AttentionWeights.of_summary(summarise(weights))
    for one in (weights, recorded):
        for question in ("entropy", "received", "mean_distance"):
            want = getattr(one, question)().clone()
            getattr(one, question)().add_(1)
            assert torch.equal(getattr(one, question)(), want)
        lse = one.lse.clone()
        one.lse.zero_()
        assert torch.equal(one.lse, lse)
        one.peak().values.zero_()
        one.top(2).values.zero_()
        assert bool((one.peak().values > 0).all())


def test_linear_attention_keeps_its_features() -> None:
    """Features are tensors of their own, unless the map gives its argument back; values are the caller's."""
    for features in ("elu", lambda x: x):
        given = {name: t.abs() for name, t in inputs().items()}
        weights = regard.linear_attention(**given, feature_map=features, need_weights=True)[1]
        want = weights.dense()
        given["key"].mul_(torch.rand(8))
        if features == "elu":
            assert torch.equal(weights.dense(), want)
        else:
            with pytest.raises(StaleWeightsError, match=r"key changed \(written"):
                weights.dense()


def test_layers_and_their_caches() -> None:
    """A layer's weights outlive the model, its cast to half, and the steps of its cache."""
    layer = regard.layers.MultiHeadAttention(16, 2).eval()
    with torch.no_grad():
        cache, seen = regard.layers.KeyValueCache(8), []
        x = torch.randn(1, 8, 16)
        for i in range(8):
            seen.append(layer(x[:, i : i + 1], cache=cache, causal=True, need_weights=True)[1])
        whole = layer(x, causal=True, need_weights=True)[1]
        want = whole.dense()
        cache.reset()
        layer.half()
        del layer
        torch.testing.assert_close(whole.dense(), want)
        for i, weights in enumerate(seen):
            torch.testing.assert_close(weights.dense()[:, :, 0], want[:, :, i, : i + 1])


def test_a_compiled_graph_copies() -> None:
    """A graph cannot ask whether a tensor was written, so its weights own theirs, whatever it does itself later."""

    def call_and_write(query: Tensor, key: Tensor) -> AttentionWeights:
        key.mul_(1.5)
        weights = regard.attention(query, key, key, need_weights=True)[1]
        key.mul_(2)
        return weights

    query, key = torch.randn(2, 1, 2, 6, 8).clone().unbind()
    want = torch.softmax(query @ (1.5 * key).mT / 8**0.5, -1)
    compiled = torch.compile(call_and_write, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(query.clone(), key).dense(), want)


def test_in_another_thread() -> None:
    """Weights answer, and refuse, in whichever thread they are asked."""
    given = inputs()
    weights = call(given)
    with ThreadPoolExecutor(1) as pool:
        torch.testing.assert_close(pool.submit(weights.dense).result(), weights.dense())
        given["key"].mul_(2)
        with pytest.raises(StaleWeightsError):
            pool.submit(weights.dense).result()


def test_a_stored_matrix_does_not_follow_what_it_was_made_of() -> None:
    """`from_dense` takes copies of the matrix and of what is visible."""
    matrix, visible = torch.eye(3), torch.ones(3, 3, dtype=torch.bool).tril()
    weights = from_dense(matrix, visible)
    matrix.zero_()
    visible.fill_(True)
    torch.testing.assert_close(weights.dense(), torch.eye(3))
    assert bool(weights.masked()[0, 1])
