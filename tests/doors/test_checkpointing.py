"""Gradient checkpointing of served and watched models: the gradients are those of the forward pass that ran."""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint, checkpoint_sequential

import regard
from regard.errors import ArgumentError
from regard.integrations import use_fast_attention
from tests.doors.models import Calls, distance, gradients


def _layer(dropout: float) -> nn.Module:
    """Return one layer of attention with dropout."""
    maps = nn.Linear(32, 96)

    def attend(x: Tensor) -> Tensor:
        q, k, v = maps(x).unflatten(-1, (3, 4, 8)).permute(2, 0, 3, 1, 4)
        return x + F.scaled_dot_product_attention(q, k, v, dropout_p=dropout).transpose(1, 2).flatten(2)

    return Calls(attend, maps=maps)


class Model(nn.Module):
    """Two blocks, each of which runs again in the backward pass if asked."""

    def __init__(self, dropout: float, how: str) -> None:
        super().__init__()
        self.blocks = nn.Sequential(_layer(dropout), _layer(dropout))
        self.how = how

    def forward(self, x: Tensor) -> Tensor:
        if self.how == "sequential":
            out: Tensor = checkpoint_sequential(self.blocks, 2, x, use_reentrant=False)
            return out
        for block in self.blocks:
            x = BLOCKS[self.how](block, x)
        return x


class Again(torch.autograd.Function):
    """Checkpointing as other libraries write it themselves."""

    @staticmethod
    def forward(ctx: Any, block: nn.Module, x: Tensor, state: Tensor) -> Tensor:
        ctx.block, ctx.state = block, state
        ctx.save_for_backward(x)
        out: Tensor = block(x)
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        (x,) = ctx.saved_tensors
        x = x.detach().requires_grad_()
        now = torch.get_rng_state()
        torch.set_rng_state(ctx.state)
        with torch.enable_grad():
            ctx.block(x).backward(grad)
        torch.set_rng_state(now)
        return None, x.grad, None


class Parts(torch.autograd.Function):
    """The same with its context set up apart, so that `forward` is not given it."""

    @staticmethod
    def forward(block: nn.Module, x: Tensor, state: Tensor) -> Tensor:
        out: Tensor = block(x)
        return out

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[nn.Module, Tensor, Tensor], output: Tensor) -> None:
        ctx.block, x, ctx.state = inputs
        ctx.save_for_backward(x)

    backward = staticmethod(Again.backward)


class Decorated(torch.autograd.Function):
    """The same under a decorator, as mixed precision puts one."""

    forward = staticmethod(torch.amp.custom_fwd(Again.forward, device_type="cpu"))
    backward = staticmethod(torch.amp.custom_bwd(Again.backward, device_type="cpu"))


def _around(block: nn.Module) -> nn.Module:
    """Return a block in PyTorch's own checkpoint, to be put into one of another library."""

    def run(x: Tensor) -> Tensor:
        with torch.enable_grad():  # some do, to see what requires a gradient
            out: Tensor = checkpoint(block, x, use_reentrant=True)
        return out.detach() if not torch.is_grad_enabled() else out

    return Calls(run, block=block)


def _by(kind: Any, block: nn.Module, x: Tensor) -> Any:
    return kind.apply(block, x, torch.get_rng_state())


OTHERS: dict[str, Callable[[nn.Module, Tensor], Any]] = {
    "another's": lambda block, x: _by(Again, block, x),
    "another's in parts": lambda block, x: _by(Parts, block, x),
    "another's decorated": lambda block, x: _by(Decorated, block, x),
    "another's around PyTorch's": lambda block, x: _by(Again, _around(block), x),
    "another's in parts around PyTorch's": lambda block, x: _by(Parts, _around(block), x),
}
again = partial(checkpoint, use_reentrant=False)
WAYS: dict[str, Callable[[nn.Module, Tensor], Any]] = {
    "reentrant": partial(checkpoint, use_reentrant=True),
    "not reentrant": again,
    "inside another": lambda block, x: again(lambda y: again(block, y), x),
}
if hasattr(torch.utils.checkpoint, "_CheckpointedFunction"):  # PyTorch 2.14
    WAYS["decorated"] = lambda block, x: checkpoint(use_reentrant=False)(block)(x)  # type: ignore[call-arg,operator]
BLOCKS = {"none": lambda block, x: block(x), **WAYS, **OTHERS}
Run = Callable[[nn.Module, Callable[[], Tensor]], Iterator[Tensor]]
"""Gives the output of a forward pass, and takes over again after the backward pass."""


def _plain(model: nn.Module, forward: Callable[[], Tensor]) -> Iterator[Tensor]:
    yield forward()


def _attached(model: nn.Module, forward: Callable[[], Tensor]) -> Iterator[Tensor]:
    fast = use_fast_attention(model)
    yield forward()
    assert (fast.taken, fast.calls) == (2, 2), fast  # what runs again is not counted
    fast.remove()


def _removed(model: nn.Module, forward: Callable[[], Tensor]) -> Iterator[Tensor]:
    fast = use_fast_attention(model)
    out = forward()
    assert fast.calls == 2
    fast.remove()
    yield out


def _block(model: nn.Module, forward: Callable[[], Tensor]) -> Iterator[Tensor]:
    with use_fast_attention():
        out = forward()
    yield out


def _watched(model: nn.Module, forward: Callable[[], Tensor]) -> Iterator[Tensor]:
    with regard.watch(model) as recording:
        out = forward()
    assert len(recording) == 2
    yield out


def _watched_through(model: nn.Module, forward: Callable[[], Tensor]) -> Iterator[Tensor]:
    with regard.watch(model) as recording:
        yield forward()
    assert repr(recording) == "2 of 2 attention calls recorded (2 layers x 1 passes); 0 took another path"


def _gradients(run: Run, dropout: float, how: str) -> Tensor:
    torch.manual_seed(0)
    model, x = Model(dropout, how).train(), torch.randn(2, 64, 32, requires_grad=True)
    torch.manual_seed(1)
    with contextmanager(run)(model, lambda: model(x)) as out:
        out.pow(2).sum().backward()
    return torch.cat([p.grad.flatten() for p in (x, *model.parameters()) if p.grad is not None])


@pytest.mark.parametrize("run", [_plain, _attached, _removed, _block, _watched, _watched_through])
@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_gradients_are_those_of_the_forward_pass(run: Run, dropout: float) -> None:
    """Whatever is over by the time of the backward pass: the same gradients with checkpoints as without."""
    expected = _gradients(run, dropout, "none")
    for how in ("sequential", *WAYS):
        found = _gradients(run, dropout, how)
        assert distance(found, expected) < 1e-5, how


@pytest.mark.parametrize("how", OTHERS)
@pytest.mark.parametrize("run", [_removed, _block, _watched])
def test_checkpoints_of_other_libraries_keep_the_way_of_pytorch(run: Run, how: str) -> None:
    """Code that runs a function again in its own way is left alone, both times."""
    for dropout in (0.0, 0.3):
        expected, found = _gradients(_plain, dropout, how), _gradients(run, dropout, how)
        assert torch.equal(found, expected)


def test_a_model_inside_what_runs_again() -> None:
    """A served model that is only a part of the checkpointed function; and one served after the forward pass."""
    block, x = _layer(0.3), torch.randn(2, 64, 32)

    def gradient(late: bool, run: Callable[[Callable[[Tensor], Tensor], Tensor], Tensor]) -> Tensor:
        y = x.clone().requires_grad_()
        torch.manual_seed(2)
        fast = None if late else use_fast_attention(block)
        out = run(lambda z: block(z) * 2, y)
        fast = fast or use_fast_attention(block)
        out.sin().sum().backward()
        fast.remove()
        return y.grad

    for reentrant in (True, False):
        for late in (True, False):
            found = gradient(late, partial(checkpoint, use_reentrant=reentrant))
            torch.testing.assert_close(found, gradient(late, lambda part, y: part(y)))


@pytest.mark.parametrize("reentrant", [True, False])
def test_a_model_of_transformers(reentrant: bool) -> None:
    """`gradient_checkpointing_enable` of a served and of a watched model."""
    transformers = pytest.importorskip("transformers")
    config = transformers.LlamaConfig(
        vocab_size=61, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=48
    )
    torch.manual_seed(0)
    model = transformers.LlamaForCausalLM._from_config(config, attn_implementation="sdpa").train()
    ids = torch.randint(4, 60, (2, 64))

    def found(run: Run) -> list[Tensor]:
        with contextmanager(run)(model, lambda: model(ids, labels=ids, use_cache=False).loss) as loss:
            return gradients(model, loss)

    expected = found(_plain)
    with warnings.catch_warnings(action="ignore"):  # an older name, which what people wrote goes on using
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": reentrant})
    for run in (_plain, _attached, _watched):
        torch.testing.assert_close(found(run), expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("reentrant", [True, False])
def test_dropout_with_a_generator_of_its_own(reentrant: bool) -> None:
    """Run again, it would draw another seed: refused. PyTorch's default one is restored, given by name or not."""
    x = torch.randn(1, 2, 16, 8, requires_grad=True)

    def gradient(generator: torch.Generator | None, again: bool, dropout: float = 0.5) -> Tensor:
        torch.manual_seed(3)

        def call(y: Tensor) -> Tensor:
            return regard.attention(y, y, y, dropout=dropout, generator=generator)

        out = checkpoint(call, x, use_reentrant=reentrant) if again else call(x)
        x.grad = None
        out.square().sum().backward()
        return x.grad

    for generator in (None, torch.default_generator):
        torch.testing.assert_close(gradient(generator, True), gradient(generator, False))
    own = torch.Generator()
    torch.testing.assert_close(gradient(own, True, 0.0), gradient(own, False, 0.0))
    with pytest.raises(ArgumentError, match=r"dropout and a generator of its own.* Leave out generator="):
        gradient(own, True)
