"""The one contract of every backend: honour an argument, or refuse with a reason. There is no third way.

A backend says which features it `honours`; a call that uses any other is refused here, by the shared part, so no
backend can forget the check. What depends on sizes or on the machine, the backend says itself in `why_not`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from .._inputs import AttentionInputs, AttentionResult, Summary

FAR = 64.0
"""An `lse` beyond it, above or below zero, is too coarse in float32: half of its last place shows in every weight. Such
rows are normalised by the sum of their own scores. The native kernel has the same bound (`is_far` in csrc/scores.h)."""


def wants_gradient(inputs: AttentionInputs) -> bool:
    """Return whether a gradient of this call will be asked for."""
    return torch.is_grad_enabled() and inputs.requires_grad


# Each feature a call can use, with how to see that it does. Dtypes and device types count as features of their own.
FEATURES: dict[str, Callable[[AttentionInputs], bool]] = {
    "spans": lambda x: x.spans is not None,
    "dense mask": lambda x: x.dense_mask is not None,
    "position bias": lambda x: x.position_bias is not None,
    "dense bias": lambda x: x.bias is not None,
    "softcap": lambda x: x.softcap is not None,
    "sinks": lambda x: x.sinks is not None,
    "dropout": lambda x: x.dropout is not None,
    "grouped heads": lambda x: x.key.shape[1] != x.query.shape[1],
    "value width": lambda x: x.value.shape[3] != x.query.shape[3],
    "gradient": wants_gradient,
}


class Backend(Protocol):
    """One way to compute attention."""

    name: str
    """What `backend=` calls it."""
    honours: frozenset[str]
    """Names from `FEATURES`, dtype names such as "float32", and device types such as "cpu"."""

    def why_not(self, inputs: AttentionInputs) -> str | None:
        """Say why this machine or these sizes cannot be served, or None. Features are already checked."""
        ...

    def instead(self, inputs: AttentionInputs) -> str | None:
        """Say which other backend may run the call instead, and on which values of the tensors; or None."""
        ...

    def run(self, inputs: AttentionInputs) -> AttentionResult:
        """Compute the call. Whether weights are needed must not change a bit of the output."""
        ...


class Inspector(Protocol):
    """A backend that can also inspect the weights of a finished call: passes over query, key, mask and `lse`.

    No pass has a gradient. A weight is `exp(score - lse)`; of rows whose `lse` is beyond `FAR` it is the softmax of the
    scores. Answers lie on the device of the call; a pass does not wait for them.
    """

    name: str
    takes_sinks: bool
    """Where a sink is counted in `lse`, it is taken as it is for rows far from zero, too."""

    def looks_unasked(self, inputs: AttentionInputs) -> bool:
        """Return whether it is to look into the calls of other backends, too, and not into its own alone."""
        ...

    def cannot_inspect(self, inputs: AttentionInputs, name: str, count: int = 0) -> str | None:
        """Say why there is no such pass over this call, or None. `count` is how many weights of a row "top" keeps."""
        ...

    def inspect(
        self,
        name: str,
        inputs: AttentionInputs,
        lse: Tensor | None,
        rows: slice,
        columns: slice,
        cell: tuple[int, int] = (1, 1),
        count: int = 0,
    ) -> tuple[Tensor, ...]:
        """Run a pass over a rectangle that is not empty, given by slices with plain bounds.

        Returns one tensor in the dtype of the weights, for "peak" and "top" also int64 keys: "tile" `(B, H, r, c)`;
        "pooled" (mean over the rows of a cell of the sum over its keys) and "highest" `(B, H, ⌈r/cell⌉, ⌈c/cell⌉)`;
        "received" `(B, H, c)`; "entropy" and "peak" `(B, H, r)`; "top" `(B, H, r, count)`; "lse" `(B, H, L)`, for
        which `lse` is None.
        """
        ...

    def summarise(self, inputs: AttentionInputs, lse: Tensor, cell: int) -> Summary:
        """Read every weight once, where `cannot_inspect(inputs, "summary")` is None; O(n) memory."""
        ...


def refusal(backend: Backend, inputs: AttentionInputs) -> str | None:
    """Return why `backend` will not run this call, or None if it will."""
    honours = backend.honours
    query = inputs.query
    dtype = _NAMES[query.dtype]
    if dtype not in honours:
        return f"does not compute in {dtype}"
    if query.device.type not in honours:
        return f"does not run on {query.device.type}"
    missing = _missing if torch.compiler.is_compiling() else _missing_cached
    for feature, used in missing(honours):
        if used(inputs):
            return f"has no {feature}"
    return backend.why_not(inputs)


_NAMES = {
    torch.float64: "float64",
    torch.float32: "float32",
    torch.bfloat16: "bfloat16",
    torch.float16: "float16",
}


def _missing(honours: frozenset[str]) -> tuple[tuple[str, Callable[[AttentionInputs], bool]], ...]:
    return tuple((feature, used) for feature, used in FEATURES.items() if feature not in honours)


# Every call asks; a tiny call takes ten microseconds, so looking only at what is missing counts.
_missing_cached = functools.cache(_missing)
