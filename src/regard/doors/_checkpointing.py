"""Gradient checkpointing runs a function again in the backward pass, which may come when a block is over.

What was taken over the first time must be taken over the second time: other random numbers are a wrong gradient, and
other saved tensors an error. So a listener that replaces calls is registered with what is to be recomputed, and
entered again there.
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

_CHECKPOINT, _AUTOGRAD = checkpointing.__file__, torch.autograd.function.__file__
# Frames of PyTorch that lead from a call of `checkpoint` to the function, in any of its versions.
_ON_THE_WAY = ("checkpoint", "_checkpoint_impl", "_CheckpointedFunction.")


class Replayed(Protocol):
    """A listener that replaces calls."""

    def again(self) -> AbstractContextManager[Any]:
        """Return what is to be entered when a function runs again."""
        ...


def runs_again() -> bool:
    """Say whether what runs now runs twice, now or later. Cost: looks at each frame of the thread, microseconds."""
    return _hook() is not None or _in_function() or next(_frames(), None) is not None


def join(owner: Replayed) -> bool:
    """Enter `owner` as well when what runs now runs again; return whether it may take calls over.

    It may not where a function is run again by code that is not known here, or runs again now after `owner` took no
    part the first time. Cost: that of `runs_again`.
    """
    found: list[tuple[Any, str]] = []  # what holds a function that will run again, and under which attribute
    hook = _hook()
    if hook is not None:
        closure = dict(zip(hook.__code__.co_freevars, hook.__closure__, strict=True))
        if "frame" in closure:
            found.append((closure["frame"].cell_contents, "recompute_fn"))
        elif "target_frame_ref" not in closure:  # what packs while a function runs again
            return False
    for frame in _frames():
        variables, name = frame.f_locals, frame.f_code.co_qualname
        if frame.f_code is _Replay.__call__.__code__:
            if owner not in variables["self"].owners:
                return False
            break  # what lies further out led to this backward pass
        if name == "CheckpointFunction.forward":
            found.append((variables["ctx"], "run_function"))
        elif name.startswith(_ON_THE_WAY):
            planned = variables["gen"].gi_frame.f_locals.get("new_frame") if "gen" in variables else None
            if planned is not None:
                found.append((planned, "recompute_fn"))
        elif name != "Function.apply" and not name.endswith(".recompute_fn"):
            return False
    if _in_function() and not _in_known_function():
        return False
    for holder, name in found:
        _replayed(holder, name).add(owner)
    return True


class _Replay:
    """A function that is to be recomputed, and the listeners to enter then."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function
        self.owners: list[Replayed] = []

    def add(self, owner: Replayed) -> None:
        """Add a listener."""
        if owner not in self.owners:
            self.owners.append(owner)

    def __call__(self, *args: Any, **settings: Any) -> Any:
        with ExitStack() as entered:
            for owner in self.owners:
                entered.enter_context(owner.again())
            return self._function(*args, **settings)


def _replayed(holder: Any, name: str) -> _Replay:
    function = getattr(holder, name)
    if isinstance(function, _Replay):
        return function
    replay = _Replay(function)
    setattr(holder, name, replay)
    return replay


def _frames() -> Iterator[FrameType]:
    """Go outwards through the frames of this thread that run a function twice, or may."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        code = frame.f_code
        if code.co_filename in (_CHECKPOINT, _AUTOGRAD) or code is _Replay.__call__.__code__:
            yield frame
        frame = frame.f_back


def _in_function() -> bool:
    """Say whether an `autograd.Function` runs forward, which turns both ways of differentiation off around it."""
    return not (torch._C._is_fwd_grad_enabled() or torch.is_inference_mode_enabled())


def _in_known_function() -> bool:
    """Say whether each `autograd.Function` that runs forward is the one of reentrant checkpointing.

    Nothing but the code of its `forward` is sure to be among the frames. Cost: looks at each such class.
    """
    codes, kinds = set[int](), [torch.autograd.Function]
    while kinds:
        kind = kinds.pop()
        kinds += kind.__subclasses__()
        codes.add(id(getattr(inspect.unwrap(kind.forward), "__code__", None)))
    known, seen = checkpointing.CheckpointFunction.forward.__code__, set[Any]()
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_code is not _Replay.__call__.__code__:
        if id(frame.f_code) in codes:
            seen.add(frame.f_code)
        frame = frame.f_back
    return seen == {known}


def _hook() -> Any:
    """Return what packs saved tensors here, if it belongs to gradient checkpointing."""
    hooks = torch._C._autograd._top_saved_tensors_default_hooks(True)
    ours = hooks is not None and getattr(hooks[0], "__module__", None) == checkpointing.__name__
    return inspect.unwrap(hooks[0]) if ours else None
