"""Listening to one model: which of its modules runs is known."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn

from .._tracing import in_backward
from ._doors import Listener, Listening
from ._returned import Frame, computes_attention


class ModelListener(Listener):
    """Wraps every module of one model and is offered every call made inside them, in whichever thread."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self._modules: list[nn.Module] = []
        self._names: dict[int, str] = {}
        for name, module in model.named_modules():
            if module is model or not _is_leaf_of_torch(module):
                self._modules.append(module)
                self._names[id(module)] = name.replace("_orig_mod.", "") or type(module).__name__
        self._running = _Running()
        self._standing: ExitStack | None = None

    def begin(self) -> None:
        """Begin; compiled code runs uncompiled from now on."""
        with ExitStack() as standing:
            standing.enter_context(_Uncompiled())
            standing.enter_context(self.stand(self._modules))
            self._standing = standing.pop_all()

    def end(self) -> None:
        """End."""
        standing, self._standing = self._standing, None
        if standing is not None:
            standing.close()

    @property
    def began(self) -> bool:
        """Whether it has begun and not ended."""
        return self._standing is not None

    def hears(self, door: str) -> bool:
        """Say whether the block is open, a module is running, and this is no recomputation in a backward pass."""
        return self._awake and bool(self._running.frames)

    @property
    def _awake(self) -> bool:
        return self._standing is not None and not in_backward()

    def module(self) -> nn.Module:
        """Return the module that is running."""
        return self.frame.module

    @property
    def frame(self) -> Frame:
        """The module that is running, and what is known of this call of it."""
        return self._running.frames[-1]

    def softmax(self, door: str, scores: Tensor, weights: Tensor) -> Tensor:
        """Note what the running module gave to softmax, if it is an attention, until it returns."""
        if computes_attention(self.frame.module):
            self.frame.softmaxes = [*(self.frame.softmaxes or ()), (scores, weights)]
        return weights

    def around(self, module: nn.Module, call: Callable[..., Any], /, *args: Any, **settings: Any) -> Any:
        """Call a module of the model."""
        if not self._awake:
            return call(*args, **settings)
        frames, frame = self._running.frames, Frame(self._names[id(module)], module)
        depth = len(frames)
        frames.append(frame)
        try:
            if depth:
                output = self.called(frame, call, args, settings)
            else:
                with Listening(self):
                    output = self.called(frame, call, args, settings)
            if (frame.softmaxes or not (frame.seen or output is None)) and self._awake:
                self.returned(frame, output)
            return output
        finally:
            del frames[depth:]
            if depth:
                frames[-1].seen += frame.seen

    def called(self, frame: Frame, call: Callable[..., Any], args: tuple[Any, ...], settings: dict[str, Any]) -> Any:
        """Call a module; return what it returns."""
        return call(*args, **settings)

    def returned(self, frame: Frame, output: Any) -> None:
        """See what a module returned that made no call of attention, or gave scores to softmax."""


class _Running(threading.local):
    """What runs in a thread."""

    def __init__(self) -> None:
        self.frames: list[Frame] = []


class _Uncompiled:
    """Switches the compiler off inside a block, for nothing can be seen inside a graph.

    Its stance is one for the process, so blocks are counted.
    """

    _lock = threading.Lock()
    _inside = 0
    _stance: Any = None

    def __enter__(self) -> None:
        """Begin; without the compiler's package nothing is compiled."""
        with _Uncompiled._lock:
            _Uncompiled._inside += 1
            if _Uncompiled._stance is None and "torch._dynamo" in sys.modules:
                _Uncompiled._stance = torch.compiler.set_stance("force_eager")

    def __exit__(self, *error: object) -> None:
        """End; the last of several blocks gives back the stance that the first one found."""
        with _Uncompiled._lock:
            _Uncompiled._inside -= 1
            if not _Uncompiled._inside and _Uncompiled._stance is not None:
                stance, _Uncompiled._stance = _Uncompiled._stance, None
                stance.__exit__(None, None, None)


def _is_leaf_of_torch(module: nn.Module) -> bool:
    """Say whether a module is one of PyTorch's own that calls no attention: it needs no hooks, which cost time."""
    return type(module).__module__.startswith("torch.nn.modules.") and not module._modules
