"""What goes wrong inside `watch`: a fault of ours costs a recording, a mistake of the caller's leaves nothing."""

import warnings
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import regard
from regard.doors import _scaled_dot_product as product
from regard.errors import ArgumentError, KernelError, TooLargeError
from regard.integrations import use_fast_attention
from regard.recorder import EmptyRecordingError, NotRecordedWarning
from regard.recorder import _wanted as wanted
from regard.recorder import _watch as watching
from tests.doors.models import Calls, HandMadeAttention, Marked

X = torch.randn(2, 2, 60, 8)


class Plain(nn.Module):
    """Two calls of SDPA."""

    def forward(self, q: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(F.scaled_dot_product_attention(q, q, q), q, q)


def _by_hand(q: Tensor) -> tuple[Tensor, Tensor]:
    weights = (q @ q.mT).softmax(-1)
    return weights @ q, weights


def _steps(keys: Tensor, bias: Tensor | None = None) -> nn.Module:
    """Return a model that is given a length: of 8 it computes every row, of more the last one."""

    def attend(length: int) -> Tensor:
        first, seen = 0 if length == 8 else length - 1, keys[:, :, :length]
        added = None if bias is None else bias[..., first:length, :length]
        return F.scaled_dot_product_attention(seen[:, :, first:], seen, seen, added, is_causal=length == 8)

    return Calls(attend)


INNER = nn.MultiheadAttention(8, 2, batch_first=True)
BY_HAND = HandMadeAttention(_by_hand)
OURS = Calls(lambda q: regard.attention(q, q, q))
OF_TORCH = Calls(lambda q: INNER(q[0], q[0], q[0])[0], inner=INNER)


def _fails(error: Exception, times: list[int]) -> Callable[..., Any]:
    def fail(*args: Any, **settings: Any) -> Any:
        times.append(1)
        raise error

    return fail


PLACES = {
    "reading the mask or the heads": (product, "grouped", (Plain(),)),
    "our own attention": (product, "attention", (Plain(),)),
    "a summary": (wanted, "summarise", (Plain(), BY_HAND, OURS, OF_TORCH)),
    "the weights of a softmax": (watching, "weights_of_softmax", (OF_TORCH,)),
}
FAULTS = [
    RuntimeError("a shape that nobody thought of"),
    MemoryError(),
    IndexError("no such place"),
    TooLargeError("no room for a summary"),
]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: type(fault).__name__)
def test_a_fault_of_ours_costs_the_recording(place: str, fault: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    """The output is the model's own, the call counts as missed, a warning names it, and the next one is recorded."""
    module, name, models = PLACES[place]
    for model in models:
        expected, times = model.eval()(X), list[int]()
        with regard.watch(model) as recording:
            with monkeypatch.context() as patched:
                patched.setattr(module, name, _fails(fault, times))
                with pytest.warns(NotRecordedWarning, match=type(fault).__name__):
                    found = model(X)
            torch.testing.assert_close(found, expected)
            assert times
            assert len(recording) == 0
            assert recording.missed.total() == len(times)
            assert type(fault).__name__ in repr(recording)
            model(X)
        assert len(recording) == len(times)


def test_a_growing_matrix_that_breaks_is_taken_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Numbers that half of a step may have changed are no recording; what comes after begins anew."""
    model = _steps(torch.randn(1, 2, 12, 8))
    with torch.no_grad(), regard.watch(model) as recording:
        model(8)
        model(9)
        assert recording.calls[0].passes == 2
        with monkeypatch.context() as patched:
            patched.setattr("regard.recorder._joined_steps.top_of", _fails(RuntimeError("odd"), []))
            with pytest.warns(NotRecordedWarning):
                model(10)
        assert len(recording) == 0
        model(11)
        model(12)
    assert recording.missed.total() == 3
    assert recording[0].shape[2:] == (2, 12)


def test_a_kernel_that_fails_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """It reaches the user, and is not counted as another path."""
    fail = _fails(KernelError("The native kernel failed."), [])
    model = Plain()
    for run in (regard.watch(model), use_fast_attention()):
        with monkeypatch.context() as patched:
            patched.setattr(product, "attention", fail)
            with pytest.raises(KernelError), run as found:
                model(X)
        assert sum(getattr(found, "missed", getattr(found, "left", {})).values()) == 0


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "heads that no layer has": ({"heads": [7]}, r"heads is \[7\]; 0 has 2 heads"),
    "heads below 0": ({"heads": [-1]}, "heads is -1; it must be a whole number >= 0"),
    "no heads": ({"heads": []}, r"heads is \[\]; give numbers of heads"),
    "one head that is no list": ({"heads": 1}, "heads is 1; give a list"),
    "heads by name": ({"heads": ["first"]}, "heads is 'first'; it must be a whole number"),
    "a layer that is no list": ({"layers": 3}, "layers is 3; give a list"),
    "a pattern that is no list": ({"layers": "encoder.*"}, "layers is one string; give a list"),
    "layers that are no numbers": ({"layers": [1.5]}, "layers is 1.5; it must be a whole number"),
    "a keep that is not there": ({"keep": "everything"}, "keep is 'everything'.*'summary', 'exact', 'dense'"),
    "a folder that is a number": ({"folder": 3}, "folder is 3; it must be the path of a folder"),
}


@pytest.mark.parametrize("name", WRONG)
def test_mistakes_leave_nothing(name: str) -> None:
    """One error, which says what was given and the rule; afterwards attention runs, and the model can be watched."""
    model, (settings, words) = nn.Sequential(Plain()), WRONG[name]
    with pytest.raises(ArgumentError, match=words), regard.watch(model, **settings):
        model(X)
    F.scaled_dot_product_attention(X, X, X)
    with regard.watch(model) as recording:
        model(X)
    assert len(recording) == 2


def test_what_cannot_be_watched(tmp_path: Any) -> None:
    """No module, a folder that is there, a block inside its own block."""
    with pytest.raises(ArgumentError, match="model is a <lambda>"):
        regard.watch(lambda x: x)  # type: ignore[arg-type]
    (tmp_path / "full" / "of").mkdir(parents=True)
    model = Plain()
    with pytest.raises(ArgumentError, match="there already"), regard.watch(model, folder=tmp_path / "full"):
        pass
    assert "__call__" not in Plain.__dict__
    watching = regard.watch(model)
    with watching as recording:
        with pytest.raises(ArgumentError, match="entered already"), watching:
            pass
        model(X)
    assert len(recording) == 2


def test_the_compiler_is_given_back() -> None:
    """Blocks that overlap in any order leave the stance that the first one found."""
    before, model = torch._dynamo.eval_frame._stance.stance, Plain()
    first, second = regard.watch(model), regard.watch(model)
    first.__enter__(), second.__enter__()
    model(X)
    first.__exit__(None)
    assert torch._dynamo.eval_frame._stance.stance == "force_eager"
    second.__exit__(None)
    assert torch._dynamo.eval_frame._stance.stance == before


RUNS: dict[str, Callable[[nn.Module], Any]] = {
    "torch.func": lambda model: torch.func.vmap(lambda x: model(x[None])[0])(X),
    "torch.jit.trace": lambda model: torch.jit.trace(model, X, check_trace=False)(X + 1),  # type: ignore[no-untyped-call]
    "fx": lambda model: torch.fx.symbolic_trace(model)(X),
    "meta": lambda model: model(X.to("meta")).shape,
    "inference mode": torch.inference_mode()(lambda model: model(X).clone()),
    "export": lambda model: torch.export.export(model, (X,)).module()(X),
    "subclass": lambda model: model(X.as_subclass(Marked)).as_subclass(Tensor),
}


@pytest.mark.parametrize("name", RUNS)
def test_what_runs_alone_runs_inside(name: str) -> None:
    """Tools that trace, transform or wrap get what they get without us; no warning, and what was missed is said."""
    model = Plain().eval()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        warnings.filterwarnings("ignore", message="There is a performance drop")
        expected = RUNS[name](model)
        recorded = name in ("inference mode", "subclass")
        empty = pytest.raises(EmptyRecordingError, match=r"traced or transformed|without numbers|no module of it")
        with nullcontext() if recorded else empty, regard.watch(model) as recording:
            torch.testing.assert_close(RUNS[name](model), expected)
        assert len(recording) == 2 * recorded
        with use_fast_attention():
            torch.testing.assert_close(RUNS[name](model), expected)


@pytest.mark.parametrize("keep", ["exact", "dense"])
def test_steps_are_put_together_on_the_device_of_the_call(keep: Any) -> None:
    """Nothing is made on the default device, which is another one here."""
    keys = torch.randn(2, 2, 12, 8, dtype=torch.float64)
    for bias in (None, torch.randn(1, 2, 12, 12, dtype=torch.float64)):
        model, found = _steps(keys, bias), []
        for device in ("cpu", "meta"):
            with torch.no_grad(), regard.watch(model, keep=keep) as recording, torch.device(device):
                for last in (8, 9, 10) if bias is None else (9, 10, 11):
                    model(last)
            found.append(recording[0].dense())
        torch.testing.assert_close(found[0], found[1])
