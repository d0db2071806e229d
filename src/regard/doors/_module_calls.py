"""Wrapping the calls of a module: what is entered before a call is left after it, whatever ends the call.

Hooks of PyTorch do not do that: one that ends a forward pass is skipped by `KeyboardInterrupt` and all else that is no
`Exception`. Nor may anything lie on the module, for it would travel into copies and files of it. So a table says who
stands around which module, and a class has a `__call__` of ours while one of its modules is in the table.
"""

from __future__ import annotations

import functools
import threading
import weakref
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import nn


class Around(Protocol):
    """What wraps the calls of modules."""

    def around(self, module: nn.Module, call: Callable[..., Any], /, *args: Any, **settings: Any) -> Any:
        """Return `call(*args, **settings)`, which is the module's own call."""
        ...


class Standing:
    """Wraps the calls of modules until `remove`, or until a module is collected.

    The last one added is innermost. Copies of a module, and what is read from a file of it, are not concerned.
    """

    def __init__(self, owner: Around, modules: Iterable[nn.Module]) -> None:
        self._owner = owner
        self._modules: list[weakref.ref[nn.Module]] = []
        with _lock:
            for module in modules:
                _put(module, owner)
                self._modules.append(weakref.ref(module))

    def remove(self) -> None:
        """Let the modules be called as they were; a second time does nothing."""
        with _lock:
            while self._modules:
                module = self._modules.pop()()
                if module is not None:
                    _take(module, self._owner)


class StandingEverywhere:
    """The same around every module of some classes."""

    def __init__(self, owner: Around, kinds: Iterable[type[nn.Module]]) -> None:
        self._owner = owner
        self._kinds: list[type[nn.Module]] = []
        with _lock:
            for kind in kinds:
                patch = _patched(kind)
                patch.everywhere = (*patch.everywhere, owner)
                self._kinds.append(kind)

    def remove(self) -> None:
        """Let the modules be called as they were; a second time does nothing."""
        with _lock:
            while self._kinds:
                patch = _patches[self._kinds.pop()]
                patch.everywhere = _without_last(patch.everywhere, self._owner)
                _release(patch)


@dataclass(slots=True)
class _Place:
    """A module that is wrapped."""

    reference: weakref.ref[nn.Module]
    patch: _Patch
    owners: tuple[Around, ...]


class _Patch:
    """The `__call__` of a class for as long as a module of it is wrapped."""

    def __init__(self, kind: type[nn.Module]) -> None:
        self.kind = kind
        self.users = 0
        self.everywhere: tuple[Around, ...] = ()
        self._before = kind.__dict__.get("__call__")
        self._ours = _call_of(self, self._before)
        setattr(kind, "__call__", self._ours)  # noqa: B010 (an assignment is one to an instance, for mypy)

    def end(self) -> None:
        """Restore the class's own call; if other code has wrapped ours meanwhile, ours stays and does nothing."""
        if self.kind.__dict__.get("__call__") is not self._ours:
            return
        if self._before is None:
            del self.kind.__call__
        else:
            setattr(self.kind, "__call__", self._before)  # noqa: B010


def _call_of(patch: _Patch, before: Any) -> Callable[..., Any]:
    kind: Any = patch.kind

    @functools.wraps(kind.__call__)
    def __call__(self: nn.Module, /, *args: Any, **settings: Any) -> Any:
        call: Callable[..., Any] = super(kind, self).__call__ if before is None else before.__get__(self, type(self))
        if torch.compiler.is_compiling():
            return call(*args, **settings)
        for owner in patch.everywhere:
            call = functools.partial(owner.around, self, call)
        place = _table.get(id(self))
        if place is not None and place.patch is patch:
            for owner in reversed(place.owners):
                call = functools.partial(owner.around, self, call)
        return call(*args, **settings)

    return __call__


# By id: a module may say that it equals another.
_table: dict[int, _Place] = {}
_patches: dict[type[nn.Module], _Patch] = {}
# A module may be collected, which takes it off the table, wherever memory is asked for.
_lock = threading.RLock()


def _patched(kind: type[nn.Module]) -> _Patch:
    while True:  # again where the last module of the class was collected in between
        patch = _patches.get(kind)
        if patch is None:
            patch = _patches[kind] = _Patch(kind)
        patch.users += 1
        if _patches.get(kind) is patch:
            return patch


def _release(patch: _Patch) -> None:
    patch.users -= 1
    if not patch.users:
        del _patches[patch.kind]
        patch.end()


def _put(module: nn.Module, owner: Around) -> None:
    number = id(module)
    if number in _table:
        _table[number].owners += (owner,)
    else:
        gone = weakref.ref(module, lambda _: _forget(number))
        _table[number] = _Place(gone, _patched(type(module)), (owner,))


def _take(module: nn.Module, owner: Around) -> None:
    place = _table.get(id(module))
    if place is not None:
        place.owners = _without_last(place.owners, owner)
        if not place.owners:
            _forget(id(module))


def _forget(number: int) -> None:
    with _lock:
        place = _table.pop(number, None)
        if place is not None:
            _release(place.patch)


def _without_last(owners: tuple[Around, ...], owner: Around) -> tuple[Around, ...]:
    last = max(place for place, one in enumerate(owners) if one is owner)
    return owners[:last] + owners[last + 1 :]
