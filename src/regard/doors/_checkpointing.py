"""Gradient checkpointing runs a function again in the backward pass, which may come when a block is over.

What was taken over the first time must be taken over the second time: other random numbers are a wrong gradient, and
other saved tensors an error. So whoever takes a call over joins what is to run again, and is entered there.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from types import FrameType
from typing import Any, Protocol

import torch
import torch.utils.checkpoint as checkpointing

__all__ = ["Replayed", "join", "runs_again"]

_CHECKPOINT, _AUTOGRAD = checkpointing.__file__, torch.autograd.function.__file__
_REENTRANT: Any = checkpointing.CheckpointFunction


class Replayed(Protocol):
    """Who takes calls over."""

    def again(self) -> AbstractContextManager[Any]:
        """Return what is to be entered when a function runs again."""
        ...


def runs_again() -> bool:
    """Say whether what runs now runs twice, now or later. Cost: looks at each frame of the thread, microseconds."""
    return _hook() is not None or any(True for _ in _frames())


def join(owner: Replayed) -> bool:
    """Enter `owner` as well when what runs now runs again; return whether it may take calls over.

    It may not where a function is run again by code that is not known here, or runs again now after `owner` took no
    part the first time. Cost: that of `runs_again`.
    """
    found: list[tuple[Any, str]] = []
    hook = _hook()
    if hook is not None:
        kept = dict(zip(hook.__code__.co_freevars, hook.__closure__, strict=True))
        if "frame" in kept:
            found.append((kept["frame"].cell_contents, "recompute_fn"))
        elif "target_frame_ref" not in kept:  # what packs while a function runs again
            return False
    for frame in _frames():
        known, name = frame.f_locals, frame.f_code.co_qualname
        if frame.f_code is _Replay.__call__.__code__:
            if owner not in known["self"].owners:
                return False
            break  # what lies further out led to this backward pass
        if name.startswith("checkpoint"):
            planned = known["gen"].gi_frame.f_locals.get("new_frame") if "gen" in known else None
            if planned is not None:
                found.append((planned, "recompute_fn"))
        elif name == "CheckpointFunction.forward":
            found.append((known["ctx"], "run_function"))
        elif not name.endswith(".recompute_fn") and known.get("cls") is not _REENTRANT:
            return False
    for place, name in found:
        _replayed(place, name).add(owner)
    return True


class _Replay:
    """A function that is to run again, and who takes part."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function
        self.owners: list[Replayed] = []

    def add(self, owner: Replayed) -> None:
        """Let one more take part."""
        if owner not in self.owners:
            self.owners.append(owner)

    def __call__(self, *args: Any, **settings: Any) -> Any:
        with ExitStack() as entered:
            for owner in self.owners:
                entered.enter_context(owner.again())
            return self._function(*args, **settings)


def _replayed(place: Any, name: str) -> _Replay:
    function = getattr(place, name)
    if isinstance(function, _Replay):
        return function
    replay = _Replay(function)
    setattr(place, name, replay)
    return replay


def _frames() -> Iterator[FrameType]:
    """Go outwards through the frames of this thread that run a function twice, or may."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        code = frame.f_code
        if code.co_filename in (_CHECKPOINT, _AUTOGRAD) or code is _Replay.__call__.__code__:
            yield frame
        frame = frame.f_back


def _hook() -> Any:
    """Return what packs saved tensors here, if it belongs to gradient checkpointing."""
    hooks = torch._C._autograd._top_saved_tensors_default_hooks(True)
    ours = hooks is not None and getattr(hooks[0], "__module__", None) == checkpointing.__name__
    return inspect.unwrap(hooks[0]) if ours else None
