"""Modes of PyTorch's functions that leave a thread as they found it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from ._checkpointing import runs_again

__all__ = ["ASIDE", "FAST_PATHS", "Mode", "has_nested"]

FAST_PATHS: tuple[type[nn.Module], ...] = (nn.MultiheadAttention, nn.TransformerEncoderLayer, nn.TransformerEncoder)
"""Modules of PyTorch that compute nested tensors in one operation, and only where no mode is entered."""


class Mode(TorchFunctionMode):
    """A mode that can be left in any order, and from another thread, where it does nothing from then on.

    Blocks end out of order where generators or coroutines hold them; PyTorch's own modes then take off what lies on
    top, whosever it is.
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

    def alone(self) -> bool:
        """Say at once, where no gradient is recorded, that nothing inside runs again."""
        return self.quiet and not torch.is_grad_enabled()


def has_nested(args: tuple[Any, ...], settings: dict[str, Any]) -> bool:
    """Say whether a nested tensor is among what a module is given."""
    return any(isinstance(given, Tensor) and given.is_nested for given in (*args, *settings.values()))


class _Aside:
    """Takes the modes of ours off the thread while one of `FAST_PATHS` computes nested tensors."""

    def around(self, module: nn.Module, call: Callable[..., Any], /, *args: Any, **settings: Any) -> Any:
        """Call the module."""
        if not has_nested(args, settings):
            return call(*args, **settings)
        with _without_modes():
            return call(*args, **settings)


ASIDE = _Aside()


@contextmanager
def _without_modes() -> Iterator[None]:
    before = torch.overrides._get_current_function_mode_stack()
    _keep(lambda mode: not isinstance(mode, Mode))
    try:
        yield
    finally:
        _keep(lambda mode: False)
        for mode in before:
            if not getattr(mode, "over", False):
                torch._C._push_on_torch_function_stack(mode)


def _keep(wanted: Callable[[Any], bool]) -> None:
    """Take off what is not wanted from the thread's stack of modes."""
    modes = torch.overrides._get_current_function_mode_stack()
    first = next((place for place, mode in enumerate(modes) if not wanted(mode)), len(modes))
    for _ in modes[first:]:
        torch._C._pop_torch_function_stack()
    for mode in modes[first:]:
        if wanted(mode):
            torch._C._push_on_torch_function_stack(mode)
