"""Each computes the same attention. `BACKENDS` gives the one visible order in which they are asked."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import local

import torch
from torch import Tensor

from .._inputs import AttentionInputs
from .._tracing import recorded
from .._values import instance
from ..errors import BackendError, RefusedError, nearest
from ._cells import any_of, cell_sizes, in_cells
from ._contract import FAR, Backend, Inspector, refusal, wants_gradient
from ._masked import masked_cells, seen_of, uniform_cells, visible_keys, visible_queries
from ._scores import accumulate_dtype, scores, visible
from ._sinks import lse_beside
from ._steady import steady_exp2_, steady_sum
from ._values import all_finite, readable
from .fused import Fused
from .math import Math
from .native import Fp32, Native, ask_fp32, hidden_from_kernel, never_slower, why_slower
from .reference import Reference
from .triton import Triton

__all__ = [
    "BACKENDS",
    "FAR",
    "INSPECTORS",
    "Inspector",
    "accumulate_dtype",
    "all_finite",
    "any_of",
    "asked_for",
    "backend_names",
    "cell_sizes",
    "choose",
    "fastest",
    "hand_on",
    "in_cells",
    "inspectors",
    "kernels",
    "lse_beside",
    "masked_cells",
    "readable",
    "refusals",
    "scores",
    "seen_of",
    "steady_exp2_",
    "steady_sum",
    "uniform_cells",
    "use_backend",
    "visible",
    "visible_keys",
    "visible_queries",
    "why_slower",
]

# Fastest first; `math` accepts everything, so what stands behind it runs only when asked for by name.
_NATIVE, _FUSED, _TRITON, _MATH = Native(), Fused(), Triton(), Math()
BACKENDS: tuple[Backend, ...] = (_NATIVE, _FUSED, _TRITON, _MATH, Reference())
# Those that can also inspect the weights of a finished call.
INSPECTORS: tuple[Inspector, ...] = (_NATIVE, _TRITON)
# Where a tool needs operators that it knows, `math` comes first.
_RECORDED: tuple[Backend, ...] = (_MATH, *(backend for backend in BACKENDS if backend is not _MATH))


class _Chosen(local):
    # For each thread. A ContextVar would serve coroutines too, but torch.compile cannot trace one.
    def __init__(self) -> None:
        self.name: str | None = None


_chosen = _Chosen()


def backend_names() -> tuple[str, ...]:
    """Return the names that `backend=` takes, in the order in which they are asked."""
    return tuple(backend.name for backend in BACKENDS)


def named(name: str) -> Backend:
    """Return the backend called `name`; raises `BackendError` with the nearest name."""
    if type(name) is not str:
        instance("backend", name, str, f"a name, one of {', '.join(backend_names())}")
    for backend in BACKENDS:
        if backend.name == name:
            return backend
    raise BackendError(
        f"There is no backend {name!r}.{nearest(name, backend_names())} Known backends: {', '.join(backend_names())}."
    )


@contextmanager
def use_backend(name: str | None, *, fp32: Fp32 | None = None) -> Iterator[None]:
    """Run every call of this thread inside the block on one backend, unless it names another; None undoes a block.

    `fp32` says how the native kernel multiplies float32 and float16 on processors with tiles of bfloat16 (Intel's AMX):
    "plain", as they are; "parts", as sums of three and two bfloat16 where their range allows it; "auto", by parts where
    that was measured to be faster on the processor. None: as around the block, at first as `REGARD_FP32` says, else
    "auto". Elsewhere it changes nothing.

    Raises `BackendError` for an unknown name and `ArgumentError` for an unknown `fp32` at once, `RefusedError` at each
    call that the backend refuses.

    >>> import regard, torch
    >>> with regard.use_backend("math"):
    ...     regard.attention(*torch.ones(3, 1, 2, 4)).shape
    torch.Size([1, 2, 4])
    """
    if name is not None:
        named(name)
    asked = ask_fp32(fp32)
    if fp32 is None:
        ask_fp32(asked)
    before, _chosen.name = _chosen.name, name
    try:
        yield
    finally:
        _chosen.name = before
        ask_fp32(asked)


def asked_for() -> str | None:
    """Return the name that a surrounding `use_backend` asks for, if any."""
    return _chosen.name


def choose(inputs: AttentionInputs, name: str | None = None) -> Backend:
    """Return the backend for a call: the one asked for by name, or the first that accepts.

    Raises `RefusedError` with the reason if the one asked for refuses.
    """
    name = _chosen.name if name is None else name
    if name is not None:
        backend = named(name)
        reason = refusal(backend, inputs)
        if reason is None:
            return backend
        able = [other.name for other in BACKENDS if refusal(other, inputs) is None]
        raise RefusedError(
            f"Backend {name!r} was asked for, but it {reason}. Leave out backend= to let regard choose"
            + (f", or use one of: {', '.join(able)}." if able else "."),
            name,
            reason,
        )
    for backend in _in_order():
        if refusal(backend, inputs) is None and _slower(backend, inputs) is None:
            return backend
    raise BackendError("No backend accepts this call: " + "; ".join(f"{n} {r}" for n, r in refusals(inputs)) + ".")


def fastest(query: Tensor, key: Tensor, value: Tensor) -> tuple[str, str]:
    """Return the names of the two fast backends, the faster one for tensors of this size first: neither is asked."""
    names = _NATIVE.name, _FUSED.name
    if never_slower(query.dtype):
        return names
    trains = torch.is_grad_enabled() and (query.requires_grad or key.requires_grad or value.requires_grad)
    return names if why_slower(query, key, trains) is None else names[::-1]


def refusals(inputs: AttentionInputs) -> list[tuple[str, str | None]]:
    """Return each backend's name with why it is not to run the call, None if it is, in the order asked."""
    return [(backend.name, refusal(backend, inputs) or _slower(backend, inputs)) for backend in _in_order()]


def _slower(backend: Backend, inputs: AttentionInputs) -> str | None:
    """Say why a backend that accepts a call leaves it to a later one, unless it was asked for by name."""
    if _chosen.name is not None:
        return None
    if backend is _NATIVE:
        if not torch.compiler.is_compiling() and never_slower(inputs.query.dtype):
            return None
        reason = why_slower(inputs.query, inputs.key, wants_gradient(inputs), lambda: hidden_from_kernel(inputs))
        return reason if reason and refusal(_FUSED, inputs) is None else None
    if backend is _TRITON and inputs.query.device.type == "cpu":
        return "runs in Triton's interpreter here, which is slow: only where it is asked for by name"
    if backend is _FUSED and _FUSED.stores_mask(inputs) and refusal(_TRITON, inputs) is None:
        return "would store the mask and compute what it hides; triton does neither"
    return None


def hand_on(inputs: AttentionInputs) -> dict[str, str]:
    """Return which backends may hand this call on once they have read its values, to which, and when."""
    told = ((backend.name, backend.instead(inputs)) for backend in BACKENDS)
    return {name: instead for name, instead in told if instead is not None}


def inspectors(inputs: AttentionInputs, made_by: str | None) -> Iterator[Inspector]:
    """Return the backends that are to look into a call, the one that made it first."""
    yield from (one for one in INSPECTORS if one.name == made_by)
    yield from (one for one in INSPECTORS if one.name != made_by and one.looks_unasked(inputs))


def kernels(inputs: AttentionInputs) -> dict[str, str]:
    """Return, of the backends with several kernels for the call's device, which of them takes the call and why."""
    fused, native = _FUSED.kernel(inputs), _NATIVE.kernel(inputs)
    found = {} if fused is None or fused.kernel is None else {_FUSED.name: fused.why}
    return found if native is None else {**found, _NATIVE.name: native}


def _in_order() -> tuple[Backend, ...]:
    return _RECORDED if recorded() else BACKENDS
