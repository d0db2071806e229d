"""Modes of PyTorch's functions that leave a thread as they found it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Self

import torch
from torch.overrides import TorchFunctionMode

from ._checkpointing import runs_again


class _Inside(threading.local):
    now = False
    """Whether a call is being handled: what listeners and the call itself call in turn is not caught."""


inside = _Inside()


class Mode(TorchFunctionMode):
    """A mode that can be left in any order, and from another thread, where it does nothing from then on.

    Blocks end out of order where generators or coroutines hold them; PyTorch's own modes then pop whatever lies on
    top of the stack.
    """

    over = False
    """Whether it was left."""
    quiet = False
    """Whether it was entered where no gradient is recorded: nothing inside runs again in a backward pass."""

    def __enter__(self) -> Self:
        """Begin on this thread."""
        self.quiet = not (torch.is_grad_enabled() or runs_again())
        _keep(lambda mode: not getattr(mode, "over", False))
        torch._C._push_on_torch_function_stack(self)
        return self

    def __exit__(self, *error: object) -> None:
        """End."""
        self.over = True
        _keep(lambda mode: mode is not self)


class _Within:
    """Catches nothing in a block; such blocks do not nest."""

    def __enter__(self) -> None:
        inside.now = True

    def __exit__(self, *error: object) -> None:
        inside.now = False


WITHIN = _Within()


@contextmanager
def without_modes() -> Iterator[None]:
    """Take the modes of ours off the thread."""
    before = modes()
    _keep(lambda mode: not isinstance(mode, Mode))
    try:
        yield
    finally:
        _keep(lambda mode: False)
        for mode in before:
            if not getattr(mode, "over", False):
                torch._C._push_on_torch_function_stack(mode)


def modes() -> list[Any]:
    """Return the modes of this thread, the outermost first; one that handles a function is not among them."""
    stack: list[Any] = torch.overrides._get_current_function_mode_stack()
    return stack


def _keep(wanted: Callable[[Any], bool]) -> None:
    """Take off what is not wanted from the thread's stack of modes."""
    stack = modes()
    first = next((place for place, mode in enumerate(stack) if not wanted(mode)), len(stack))
    for _ in stack[first:]:
        torch._C._pop_torch_function_stack()
    for mode in stack[first:]:
        if wanted(mode):
            torch._C._push_on_torch_function_stack(mode)
