"""What stands around the calls of a model is gone when they end, whatever ends them, and travels into no copy."""

import asyncio
import copy
import gc
import pickle
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import _get_current_function_mode_stack as modes

import regard
from regard.integrations import use_fast_attention

X = torch.randn(1, 2, 64, 16)


class Attends(nn.Module):
    """One call of attention, then perhaps an end."""

    end: BaseException | None = None

    def forward(self, x: Tensor) -> Tensor:
        out = F.scaled_dot_product_attention(x, x, x)
        if self.end is not None:
            raise self.end
        return out


class Nested(nn.Module):
    """A model that holds another."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = Attends()

    def forward(self, x: Tensor) -> Tensor:
        inner: Tensor = self.inner(x)
        return inner


@pytest.fixture(autouse=True)
def nothing_stays() -> Iterator[None]:
    """No mode on the thread and no call of ours in a class, before and after."""
    before = nn.Module.__dict__.get("__call__"), nn.MultiheadAttention.__dict__.get("__call__")
    assert modes() == []
    yield
    assert modes() == []
    assert all("__call__" not in kind.__dict__ for kind in (Attends, Nested))
    assert (nn.Module.__dict__.get("__call__"), nn.MultiheadAttention.__dict__.get("__call__")) == before


@pytest.mark.parametrize("kind", [Attends, Nested])
@pytest.mark.parametrize("end", [ValueError(), KeyboardInterrupt(), SystemExit(), GeneratorExit(), BaseException()])
def test_whatever_ends_a_forward_pass(end: BaseException, kind: type[nn.Module]) -> None:
    """The mode is left at once: nothing else is recorded or served, and the next pass is as the first."""
    model = kind()
    at = model.inner if isinstance(model, Nested) else model

    def interrupted() -> None:
        at.end = end
        with pytest.raises(type(end)):
            model(X)
        assert modes() == []
        F.scaled_dot_product_attention(X, X, X)
        at.end = None
        model(X)

    with regard.watch(model) as recording:
        interrupted()
    assert len(recording) == 2
    fast = use_fast_attention(model)
    interrupted()
    fast.remove()
    model(X)
    assert fast.calls == 2


def test_a_block_that_a_generator_holds() -> None:
    """It may be dropped in any order, beside others, and on another thread."""

    def held() -> Iterator[None]:
        with use_fast_attention():
            yield

    first, second = held(), held()
    next(first), next(second)
    first.close()
    assert len(modes()) == 1
    del second
    gc.collect()
    assert modes() == []
    elsewhere = held()
    next(elsewhere)
    with ThreadPoolExecutor(1) as pool:
        pool.submit(elsewhere.close).result()
    with use_fast_attention() as fast:  # takes what was left behind off this thread
        F.scaled_dot_product_attention(X, X, X)
    assert fast.calls == 1


def test_tasks_that_take_turns() -> None:
    """Coroutines that end in the order in which they began leave nothing."""

    async def turn(ends: asyncio.Event, then: asyncio.Event) -> int:
        with use_fast_attention() as fast:
            await ends.wait()
            F.scaled_dot_product_attention(X, X, X)
        then.set()
        return fast.calls

    async def both() -> list[int]:
        one, two, three = asyncio.Event(), asyncio.Event(), asyncio.Event()
        one.set()
        return await asyncio.gather(turn(one, two), turn(two, three))

    # In a thread: where a browser was driven before, one loop runs in this one already.
    with ThreadPoolExecutor(1) as pool:
        assert sum(pool.submit(lambda: asyncio.run(both())).result()) == 2


def test_threads_at_once() -> None:
    """Blocks of several threads over one class end each for itself."""

    def run() -> list[int]:
        found = []
        for _ in range(20):
            model = Attends()
            with regard.watch(model) as recording:
                model(X)
            found.append(len(recording))
        return found

    with ThreadPoolExecutor(4) as pool:
        running = [pool.submit(run) for _ in range(4)]
    assert [one.result() for one in running] == [[1] * 20] * 4


def _loaded(model: nn.Module) -> nn.Module:
    data = BytesIO()
    torch.save(model, data)
    data.seek(0)
    loaded: nn.Module = torch.load(data, weights_only=False)
    return loaded


COPIES: dict[str, Callable[[Any], Any]] = {
    "deepcopy": copy.deepcopy,
    "copy": copy.copy,
    "pickle": lambda model: pickle.loads(pickle.dumps(model)),
    "torch.save": _loaded,
    "data parallel": lambda model: model._replicate_for_data_parallel(),
}


@pytest.mark.parametrize("name", COPIES)
def test_copies_are_models_of_their_own(name: str) -> None:
    """A copy made inside runs its own weights, is neither served nor recorded, and nothing of ours is in it."""
    model = Nested()
    model.inner.weight = nn.Parameter(torch.ones(1))
    fast = use_fast_attention(model)
    with regard.watch(model) as recording:
        other = COPIES[name](model)
        assert not {"forward", "__call__", "_call_impl"} & other.__dict__.keys()
        if name not in ("copy", "data parallel"):
            assert other.inner.weight is not model.inner.weight
            other(X)
            assert (len(recording), fast.calls) == (0, 0)
        model(X)
    assert len(recording) == 1
    fast.remove()


def test_a_model_that_is_gone_takes_all_with_it() -> None:
    """Dropping a served model without `remove` leaves its class as it was, but for the layers of PyTorch."""
    model = Attends()
    fast = use_fast_attention(model)
    del model
    gc.collect()
    assert "__call__" not in Attends.__dict__
    fast.remove()


def test_a_class_with_a_call_of_its_own() -> None:
    """Its own call runs, once, and stands there again afterwards; so does one that somebody puts there meanwhile."""

    class Calls(Attends):
        def __call__(self, x: Tensor) -> Tensor:
            out: Tensor = super().__call__(x)
            return out + 1

    model, own = Calls(), Calls.__dict__["__call__"]
    expected = model(X)
    with regard.watch(model) as recording:
        torch.testing.assert_close(model(X), expected)
    assert Calls.__dict__["__call__"] is own
    assert len(recording) == 1
    with regard.watch(model):
        ours = Calls.__dict__["__call__"]
        Calls.__call__ = lambda self, x: ours(self, x) * 2  # type: ignore[method-assign]
        theirs = Calls.__dict__["__call__"]
        model(X)
    assert Calls.__dict__["__call__"] is theirs
    torch.testing.assert_close(model(X), expected * 2)


def test_one_model_inside_another() -> None:
    """A watched part of a served model is recorded, a served part of a watched one too; each counts once."""
    model = Nested()
    fast = use_fast_attention(model)
    with regard.watch(model.inner) as recording:
        model(X)
    assert len(recording) == 1  # the watched part is the inner one, so it is asked first
    fast.remove()
    fast = use_fast_attention(model.inner)
    with regard.watch(model) as recording:
        model(X)
    assert (len(recording), fast.taken) == (1, 1)
    fast.remove()


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
@torch.no_grad()
def test_nested_tensors_take_their_way() -> None:
    """PyTorch's layers compute them as without us, bit for bit; watched, each sequence has the weights it has alone."""
    layer = nn.TransformerEncoderLayer(32, 4, 64, batch_first=True)
    model = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False).eval()
    alone = [torch.randn(length, 32) for length in (50, 30)]
    nested = torch.nested.nested_tensor(alone)
    expected = model(nested).unbind()
    with use_fast_attention():
        served = model(nested).unbind()
    with regard.watch(model, keep="exact") as recording:
        watched = model(nested).unbind()
    for found in (served, watched):
        assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
    for row, x in enumerate(alone):
        with regard.watch(model, keep="exact") as single:
            model(x[None])
        for name, weights in single.items():
            part = recording[name].dense()[row : row + 1, :, : len(x), : len(x)]
            torch.testing.assert_close(part, weights.dense())
