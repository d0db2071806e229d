"""Who stands around the calls that come through the doors: inside a block, or inside the calls of modules."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import ExitStack
from threading import get_ident
from typing import Any

import torch
from torch import Tensor, nn

from ._call import Call, Result, Run
from ._doors import Listening
from ._module_calls import Standing, StandingEverywhere
from ._nested import ASIDE, FAST_PATHS

__all__ = ["Listener"]


class Listener:
    """Takes part in every call of attention, and does nothing; a kind of it says what it does.

    It acts on the thread that enters. One object may be entered by several threads and more than once, and ended in
    any order.
    """

    def __init__(self) -> None:
        self._blocks: list[tuple[int, Listening, ExitStack]] = []

    def hears(self, door: str) -> bool:
        """Say whether this one takes part in what comes through a door now."""
        return True

    def heard(self, call: Call, run: Run) -> Result:
        """Stand around a call: pass it on with `run(call)`, changed or not, and return its result, changed or not.

        A call whose `given` has a reason has no arguments that are known, and no weights.
        """
        return run(call)

    def softmax(self, door: str, scores: Tensor, weights: Tensor) -> Tensor:
        """See what softmax made of scores, last dimension the keys; return what is to be used in its place."""
        return weights

    def module(self) -> nn.Module | None:
        """Return the module that is running, where this one knows."""
        return None

    def again(self) -> Listening:
        """Return what is entered where gradient checkpointing runs something a second time."""
        return Listening(self)

    def around(self, module: nn.Module, call: Callable[..., Any], /, *args: Any, **settings: Any) -> Any:
        """Call a module around which this one stands."""
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
        """Stand around the calls of modules until the result is closed."""
        with ExitStack() as standing:
            standing.callback(StandingEverywhere(ASIDE, FAST_PATHS).remove)
            standing.callback(Standing(self, modules).remove)
            return standing.pop_all()
