"""Whoever listens takes part in a call once, in any order of blocks, and may change what goes in and what comes out."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import permutations
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import regard
from regard.doors import MULTI_HEAD, Call, Given, Listener, ModelListener, Result, Run
from regard.errors import ArgumentError
from regard.integrations import use_fast_attention
from tests.doors.models import Calls, HandMadeAttention

HEADS, LENGTH = 4, 64
X = torch.randn(2, HEADS, LENGTH, 16)


def of_torch(x: Tensor, dropout: float = 0.0) -> Tensor:
    return F.scaled_dot_product_attention(x, x + 1, x, dropout_p=dropout)


def of_ours(x: Tensor) -> Tensor:
    return regard.attention(x, x + 1, x)


class Edit(ModelListener):
    """Changes the attention of one head."""

    def __init__(self, model: nn.Module, change: Callable[[Call, Run], Result]) -> None:
        super().__init__(model)
        self.change, self.modules, self.weights = change, list[str](), list[Tensor]()

    def heard(self, call: Call, run: Run) -> Result:
        self.modules.append(self.frame.name)
        result = self.change(call.asking(True), run)
        self.weights.append(result.weights.dense())
        return result

    @contextmanager
    def block(self) -> Iterator["Edit"]:
        self.begin()
        try:
            yield self
        finally:
            self.end()


def _ablated(call: Call, run: Run) -> Result:
    result = run(call)
    output = result.output.clone()
    output[:, 1] = 0
    return result._replace(output=output)


def _uniform(call: Call, run: Run) -> Result:
    query = call.given.arguments["query"].clone()
    query[:, 1] = 0
    return run(call.changed(query=query))


def _expected(change: Callable[[Call, Run], Result]) -> tuple[Tensor, Tensor]:
    weights = (X @ (X + 1).mT / 4).softmax(-1)
    if change is _uniform:
        weights[:, 1] = 1 / LENGTH
    output = weights @ X
    if change is _ablated:
        output[:, 1] = 0
    return output, weights


@pytest.mark.parametrize("change", [_ablated, _uniform])
@pytest.mark.parametrize("attend", [of_torch, of_ours])
def test_editing_watching_and_speeding_up_in_any_order(attend: Any, change: Any) -> None:
    """The output is the edited one, and all see the weights that it was made with, once."""
    model = Calls(attend)
    expected, weights = _expected(change)
    for order in permutations(range(3)):
        edit, watch, fast = Edit(model, change), regard.watch(model, keep="exact"), use_fast_attention()
        with ExitStack() as blocks:
            found = [blocks.enter_context((edit.block(), watch, fast)[place]) for place in order]
            torch.testing.assert_close(model(X), expected, rtol=1e-4, atol=1e-5)
        recording = found[order.index(1)]
        assert len(recording) == 1, order
        assert not recording.missed
        torch.testing.assert_close(recording[0].dense(), weights, rtol=1e-4, atol=1e-5)
        assert edit.modules == ["Calls"]
        torch.testing.assert_close(edit.weights[0], weights, rtol=1e-4, atol=1e-5)
        assert fast.calls <= 1


@pytest.mark.parametrize("first", ["fast", "watch"])
def test_a_call_with_dropout_is_recorded_once_by_each(first: str) -> None:
    """Two recordings and the kernel, which draws the same numbers as without them."""
    model = Calls(lambda x: of_torch(x, 0.4))
    with use_fast_attention():
        torch.manual_seed(3)
        expected = model(X)
    fast, watches = use_fast_attention(), [regard.watch(model, keep="exact") for _ in range(2)]
    with ExitStack() as blocks:
        order: list[Any] = [fast, *watches] if first == "fast" else [*watches, fast]
        found = [blocks.enter_context(one) for one in order]
        torch.manual_seed(3)
        assert torch.equal(model(X), expected)
    assert fast.taken == fast.calls == 1
    _, weights = _expected(_ablated)
    for recording in found:
        if recording is not fast:
            assert [call.door for call in recording.calls] == ["scaled_dot_product_attention"]
            torch.testing.assert_close(recording[0].dense(), weights, rtol=1e-4, atol=1e-5)


def test_one_who_enters_twice_hears_once() -> None:
    """The same object around a block and around a model inside it counts each call once."""
    model = Calls(of_torch)
    fast = use_fast_attention(model)
    with fast, fast:
        model(X)
        model(X[..., :3, :])
    fast.remove()
    assert (fast.taken, fast.calls) == (1, 2)


@pytest.mark.parametrize("watches", [1, 2])
def test_softmax_is_shown_once(watches: int) -> None:
    """A function of PyTorch that calls another of its own, under two watches, is one softmax."""
    model = HandMadeAttention(lambda x: F.softmax(x @ x.mT, -1) @ x)
    heads = nn.MultiheadAttention(16, 2, batch_first=True).eval()
    for module, given in ((model, (X,)), (heads, (X[:, 0],) * 3)):
        with ExitStack() as blocks:
            found = [blocks.enter_context(regard.watch(module)) for _ in range(watches)]
            module(*given)
        assert [len(recording) for recording in found] == [1] * watches


def test_softmax_can_be_changed() -> None:
    """What a listener returns is what the function that called softmax goes on with, heads apart."""

    class Flat(Listener):
        def softmax(self, door: str, scores: Tensor, weights: Tensor) -> Tensor:
            assert door == MULTI_HEAD
            assert scores.shape == weights.shape == (2, 2, LENGTH, LENGTH)
            return torch.full_like(weights, 1 / LENGTH)

    heads, x, flat = nn.MultiheadAttention(16, 2, batch_first=True).eval(), X[:, 0], Flat()
    flat.begin()
    output, weights = heads(x, x, x)
    flat.end()
    torch.testing.assert_close(weights, torch.full_like(weights, 1 / LENGTH))
    torch.testing.assert_close(output, output[:, :1].expand_as(output))


WRONG: dict[str, Callable[[], Tensor]] = {
    "fewer heads without enable_gqa": lambda: F.scaled_dot_product_attention(X, X[:, :2], X[:, :2]),
    "scale by position": lambda: F.scaled_dot_product_attention(X, X, X, None, 0.0, False, 0.5),  # type: ignore[misc]
    "no such argument": lambda: F.scaled_dot_product_attention(X, X, X, causal=True),  # type: ignore[call-arg]
    "no tensor": lambda: F.scaled_dot_product_attention(X, None, X),  # type: ignore[arg-type]
}


@pytest.mark.filterwarnings("ignore:.*:regard.recorder.NotRecordedWarning")
@pytest.mark.parametrize("name", WRONG)
def test_mistakes_are_told_by_pytorch(name: str) -> None:
    """Its error comes through, watched or served, where we could have computed something."""
    model = Calls(WRONG[name])
    with pytest.raises((RuntimeError, TypeError)) as expected:
        model()
    for around in (regard.watch(model), use_fast_attention()):
        with pytest.raises(type(expected.value)) as found, around:
            model()
        assert str(found.value) == str(expected.value)


def test_a_mask_beside_is_causal_stays_with_pytorch() -> None:
    """Releases differ in what they make of both, so nobody here reads them: output as it is, and the reason."""
    keep = torch.rand(LENGTH, LENGTH) < 0.5
    model = Calls(lambda: (of_torch(X), F.scaled_dot_product_attention(X, X, X, keep, is_causal=True))[1])
    try:
        expected = model()
    except RuntimeError:
        pytest.skip("this release refuses both")
    with use_fast_attention() as fast:
        assert torch.equal(model(), expected)
    with regard.watch(model) as recording:
        assert torch.equal(model(), expected)
    assert list(fast.left) == ["is_causal beside a mask"]
    assert list(recording.missed) == ["scaled_dot_product_attention: is_causal beside a mask"]


def test_a_call_that_fails_leaves_the_thread_as_it_was() -> None:
    """Also what no handler catches, out of a listener: the next call is caught as ever."""

    class Stops(Listener):
        def heard(self, call: Call, run: Run) -> Result:
            raise KeyboardInterrupt

    with use_fast_attention() as fast:
        stops = Stops()
        stops.begin()
        with pytest.raises(KeyboardInterrupt):
            F.scaled_dot_product_attention(X, X, X)
        stops.end()
        F.scaled_dot_product_attention(X, X, X)
    assert fast.taken == 1


def test_grouped_heads_are_heads_to_all() -> None:
    """Heads of a group that come packed into the queries are seen and changed as the heads of the model."""
    model: Any = Calls(lambda query, key: F.scaled_dot_product_attention(query, key, key))
    model.num_key_value_groups, model.config = 3, SimpleNamespace(num_key_value_heads=2)
    query, key = torch.randn(1, 2, 3, 8), torch.randn(1, 2, 50, 8)
    expected = model(query, key)
    expected[:, 0, 1] = 0
    for around in (use_fast_attention(), regard.watch(model)):
        edit = Edit(model, _ablated)
        with edit.block(), around:
            torch.testing.assert_close(model(query, key), expected)
        assert edit.weights[0].shape == (1, 6, 1, 50)


def test_a_call_that_is_not_read_cannot_be_changed() -> None:
    """Who asks for its arguments, or for others, is told why; it runs as it is."""
    given = Given("some door", lambda: "its own", (), {}, "nested or sparse tensors")
    assert given.own() == "its own"
    with pytest.raises(ArgumentError, match=r"some door.*nested or sparse"):
        given.changed(scale=2.0)
    with pytest.raises(ArgumentError, match=r"some door.*nested or sparse"):
        _ = given.arguments
