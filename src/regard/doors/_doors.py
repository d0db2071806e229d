"""The doors: functions through which attention is called. Listeners wrap the calls that come through them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from threading import get_ident
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .._attention import attention
from ._call import Call, Given, Result, Run
from ._modes import WITHIN, Mode, inside, modes
from ._module_calls import Standing, StandingEverywhere
from ._multi_head import NAME as MULTI_HEAD
from ._multi_head import with_inner
from ._nested import ASIDE, FAST_PATHS
from ._ours import Ours
from ._scaled_dot_product import NAME as SCALED_DOT_PRODUCT
from ._scaled_dot_product import ScaledDotProduct
from ._untouched import untouched


class Listener:
    """Base class: is offered every call of attention and does nothing; subclasses override what they need.

    It acts on the thread that enters. One object may be entered by several threads and more than once, and ended in
    any order.
    """

    def __init__(self) -> None:
        self._blocks: list[tuple[int, Listening, ExitStack]] = []

    def hears(self, door: str) -> bool:
        """Say whether this listener wants what comes through a door now."""
        return True

    def heard(self, call: Call, run: Run) -> Result:
        """Handle a call: pass it on with `run(call)`, changed or not, and return its result, changed or not.

        A call whose `given` has a reason has no arguments that are known, and no weights.
        """
        return run(call)

    def softmax(self, door: str, scores: Tensor, weights: Tensor) -> Tensor:
        """See what softmax made of scores, last dimension the keys; return what is to be used in its place."""
        return weights

    def module(self) -> nn.Module | None:
        """Return the module that is running, if this listener knows."""
        return None

    def again(self) -> Listening:
        """Return what is entered where gradient checkpointing runs something a second time."""
        return Listening(self)

    def around(self, module: nn.Module, call: Callable[..., Any], /, *args: Any, **settings: Any) -> Any:
        """Call a module that this listener wraps."""
        with Listening(self):
            return call(*args, **settings)

    def begin(self) -> None:
        """Begin a block; nothing where the block itself is being compiled."""
        if not torch.compiler.is_compiling():
            self._blocks.append((get_ident(), Listening(self).__enter__(), self.stand(())))

    def end(self) -> None:
        """End the last block of this thread; a generator that holds it may be closed on another."""
        if torch.compiler.is_compiling() or not self._blocks:
            return
        here = [place for place, (thread, _, _) in enumerate(self._blocks) if thread == get_ident()]
        _, mode, standing = self._blocks.pop(here[-1] if here else -1)
        mode.__exit__()
        standing.close()

    def stand(self, modules: Iterable[nn.Module]) -> ExitStack:
        """Wrap the calls of modules until the result is closed."""
        with ExitStack() as standing:
            standing.callback(StandingEverywhere(ASIDE, FAST_PATHS).remove)
            standing.callback(Standing(self, modules).remove)
            return standing.pop_all()


class Listening(Mode):
    """Adds a listener for the calls of this thread, until the mode is left."""

    def __init__(self, listener: Listener) -> None:
        super().__init__()
        self.listener = listener

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run a function; a door goes through all listeners, and the modes below this one see the rest."""
        door = _BY_ID.get(id(func))
        if door is None or self.over or inside.now or torch.compiler.is_compiling():
            return func(*args, **(kwargs or {}))
        if not (listening := _listening(self, door.name)).listeners:
            return func(*args, **(kwargs or {}))
        return door.run(listening, func, args, kwargs or {})


class _Listeners(NamedTuple):
    """The listeners of a call, the innermost first."""

    listeners: Sequence[Listener]
    alone: bool

    def attend(self, given: Given) -> Any:
        """Pass a call through all of them; return what its caller gets."""
        with WITHIN:
            return given.returned(_passed_on(self.listeners, Call(given, self.alone)))

    def softmax(self, door: str, scores: Tensor, weights: Tensor) -> Tensor:
        """Show all of them what softmax made."""
        with WITHIN:
            for listener in self.listeners:
                weights = listener.softmax(door, scores, weights)
        return weights

    def module(self) -> nn.Module | None:
        """Return the module that is running, if one of them knows."""
        for listener in self.listeners:
            module = listener.module()
            if module is not None:
                return module
        return None


def _passed_on(listeners: Sequence[Listener], call: Call) -> Result:
    return listeners[0].heard(call, functools.partial(_passed_on, listeners[1:]) if listeners[1:] else _run)


def _run(call: Call) -> Result:
    return call.given.run(call)


def _listening(innermost: Listening, door: str) -> _Listeners:
    """Return the listeners of this thread; one that has entered twice is listed once."""
    found = [innermost.listener] if innermost.listener.hears(door) else []
    quiet = innermost.quiet
    for mode in reversed(modes()) if torch._C._len_torch_function_stack() else ():
        if isinstance(mode, Listening) and not mode.over:
            quiet = quiet or mode.quiet
            if all(mode.listener is not one for one in found) and mode.listener.hears(door):
                found.append(mode.listener)
    return _Listeners(found, quiet and not torch.is_grad_enabled())


def _scaled_dot_product(listening: _Listeners, function: Any, args: tuple[Any, ...], settings: dict[str, Any]) -> Any:
    try:
        given = ScaledDotProduct(listening.module(), args, settings)
    except TypeError:  # PyTorch says what is wrong
        return function(*args, **settings)
    return listening.attend(given)


def _multi_head(listening: _Listeners, function: Any, args: tuple[Any, ...], settings: dict[str, Any]) -> Any:
    reason = untouched((*args, *settings.values()))
    if reason is not None:
        return listening.attend(Given(MULTI_HEAD, function, args, settings, reason))

    def attend(*given: Any, **options: Any) -> Any:
        return _scaled_dot_product(listening, F.scaled_dot_product_attention, given, options)

    return with_inner(args, settings, attend, functools.partial(listening.softmax, MULTI_HEAD))


def _ours(listening: _Listeners, function: Any, args: tuple[Any, ...], settings: dict[str, Any]) -> Any:
    return listening.attend(Ours("regard.attention", function, args, settings))


def _softmax(listening: _Listeners, function: Any, args: tuple[Any, ...], settings: dict[str, Any]) -> Any:
    with WITHIN:
        weights = function(*args, **settings)
    dim = args[1] if len(args) > 1 else settings.get("dim")
    if weights.ndim in (3, 4) and dim in (-1, weights.ndim - 1) and untouched((weights,)) is None:
        return listening.softmax("softmax", args[0] if args else settings["input"], weights)
    return weights


class _Door(NamedTuple):
    name: str
    functions: tuple[Any, ...]
    run: Callable[[_Listeners, Any, tuple[Any, ...], dict[str, Any]], Any]


_DOORS = (
    _Door(SCALED_DOT_PRODUCT, (F.scaled_dot_product_attention,), _scaled_dot_product),
    _Door(MULTI_HEAD, (F.multi_head_attention_forward,), _multi_head),
    _Door("regard.attention", (attention,), _ours),
    _Door("softmax", (F.softmax, torch.softmax, Tensor.softmax), _softmax),
)
NAMES = tuple(door.name for door in _DOORS)
"""What the doors are called, in recordings too."""
_BY_ID = {id(function): door for door in _DOORS for function in door.functions}
