"""A call of attention that was caught: what was called, what listeners ask of it, and what came of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

from .._inputs import NeedWeights
from ..errors import ArgumentError
from ..weights import AttentionWeights, consumed_at_once

_NOTHING = nullcontext()


class Result(NamedTuple):
    """What came of a call."""

    output: Any
    """`(B, H, L, Ev)`; where the call has a `reason`, whatever the function returned."""
    weights: AttentionWeights | None = None
    """Where a listener asked for them: those before dropout."""
    reason: str | None = None
    """Why there are none, where one asked."""
    backend: str | None = None
    """The backend that computed the output in place of the function that was called; None if none did."""
    refusals: Mapping[str, str] = {}
    """Backends that were asked first, with their reasons."""
    difference: float | None = None
    """Largest difference of the output from that of the function itself, where a listener compares."""


class Given:
    """What was called: here a call that `regard.attention` cannot express, which runs as it is; subclasses can be."""

    def __init__(
        self, door: str, function: Callable[..., Any], args: Any, settings: dict[str, Any], reason: str | None = None
    ) -> None:
        self.door = door
        """Name of the function through which it came."""
        self.reason = reason
        """Why it cannot be expressed as a call of `regard.attention`, in one sentence; None if it can."""
        self._function, self._args, self._settings = function, args, settings

    def own(self) -> Any:
        """Call the function as its caller did."""
        return self._function(*self._args, **self._settings)

    @property
    def arguments(self) -> dict[str, Any]:
        """The call as arguments of `regard.attention`. Raises `ArgumentError` with the `reason` where it has one."""
        raise self._unread()

    def alike(self) -> bool:
        """Say whether `regard.attention` may replace the function: the same output to rounding."""
        return False

    def changed(self, **arguments: Any) -> Given:
        """Return the call with other `arguments`; it then runs as `regard.attention`. Raises like `arguments`."""
        raise self._unread()

    def run(self, call: Call) -> Result:
        """Compute what `call` asks for."""
        return Result(self.own(), reason=self.reason)

    def returned(self, result: Result) -> Any:
        """Return to the caller what the function would have returned."""
        return result.output

    def _unread(self) -> ArgumentError:
        return ArgumentError(f"This call of {self.door} is none of attention as regard knows it: {self.reason}.")


class Call(NamedTuple):
    """A call on its way through the listeners, with what they ask of it. Immutable: listeners change copies."""

    given: Given
    alone: bool
    """Whether it is known, without inspecting the stack, that nothing here is recomputed in a backward pass."""
    needs: NeedWeights = False
    """Whether weights are asked for; "summary": only their summary, which a kernel may make with the output."""
    backends: tuple[str, ...] = ()
    """Backends that may compute the output, in this order; the function itself where none does."""
    apart: bool = False
    """Whether weights must be computed apart from the output, which is then computed as if nobody asked for them."""
    compare: bool = False
    """Whether the output is compared with that of the function itself."""

    def asking(self, needs: NeedWeights, *, apart: bool = False, compare: bool = False) -> Call:
        """Return the call with weights asked for, beside what is asked already."""
        needs = "summary" if "summary" in (self.needs, needs) else bool(self.needs or needs)
        return self._replace(needs=needs, apart=self.apart or apart, compare=self.compare or compare)

    def consumed(self) -> AbstractContextManager[None]:
        """Return what stands around the attention of this call: its weights are looked at before it returns."""
        return consumed_at_once(summary=self.needs == "summary") if self.needs else _NOTHING

    def served(self, *names: str) -> Call:
        """Return the call with backends that may compute its output, behind those that may already."""
        if self.backends:
            names = (*self.backends, *(name for name in names if name not in self.backends))
        return self._replace(backends=names)

    def changed(self, **arguments: Any) -> Call:
        """Return the call with other arguments of `regard.attention`."""
        return self._replace(given=self.given.changed(**arguments))


Run = Callable[[Call], Result]
