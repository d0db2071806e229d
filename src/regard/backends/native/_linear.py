"""Linear attention on the kernels of `csrc/linear.h`: a node of autograd's graph, and the steps of a state."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .._again import beyond_kernels
from .._compiled import empty_output
from ._library import library
from ._words import DTYPES, NOTHING, address, plain_rows, rows

LINEAR_FEATURES = {"given": 0, "elu": 1, "relu": 2, "softmax": 3}
"""Feature maps that are computed inside; "given" takes query and key as features."""
_MOST_FEATURES, _MOST_VALUES = 512, 256

# size | dtype and map | sizes | query key value | stops | seen | states | strange | output totals
# | grad_output grad_totals | gradients of query key value
_ARGS = struct.Struct("=q 2q 7q 12q q 3q 2q q 5q 5q 12q")
_NO_ROWS = (NOTHING, 0, 0, 0)

Sums = tuple[Tensor, Tensor]
"""Output `(B, H, L, Ev)`, and what it was divided by, float32 `(B, H, L)`."""


class LinearVisible(NamedTuple):
    """Which keys the queries of a call see; None = all."""

    stops: Tensor | None
    """int32 `(L,)`: one past the last key that each query sees, never going back."""
    keys: Tensor | None
    """bool, broadcastable to `(B, G, S)`: keys that are seen at all."""


_ALL = LinearVisible(None, None)


def why_not_linear(query: Tensor, key: Tensor, value: Tensor, features: str) -> str | None:
    """Say why the kernel does not serve tensors `(B, H, L, E)`, `(B, G, S, E)`, `(B, G, S, Ev)`, or None."""
    width = query.shape[3] * (2 if features == "softmax" else 1)
    if query.device.type != "cpu" or query.dtype not in DTYPES:
        return f"does not compute in {query.dtype} on {query.device}"
    if not 0 < width <= _MOST_FEATURES or not 0 < value.shape[3] <= _MOST_VALUES:
        return f"covers up to {_MOST_FEATURES} features and {_MOST_VALUES} values, none of them 0"
    if not (query.numel() and key.numel()):
        return "has no path for empty tensors"
    return None


def linear(
    query: Tensor, key: Tensor, value: Tensor, features: str, sees: LinearVisible, again: Callable[..., Sums]
) -> Sums | None:
    """Return output and sums of weights, both differentiable; None if a key or value that is seen is not finite.

    `again(query, key, value)` computes the same in PyTorch's operations, for derivatives beyond the first.
    """
    try:
        found: Sums = _Linear.apply(query, key, value, features, sees, again)  # type: ignore[no-untyped-call]
    except _NotFinite:
        return None
    return found


def linear_update(key: Tensor, value: Tensor, sums: Tensor | None, features: str) -> Tensor:
    """Return the sums `(B, G, F, Ev + 1)` of a state with more keys and values; no gradient."""
    batch, heads, _, width = key.shape
    shape = (batch, heads, width * (2 if features == "softmax" else 1), value.shape[3] + 1)
    more = torch.empty(shape, dtype=torch.float32, device="cpu")
    before = None if sums is None else sums.contiguous()
    _run("forward", key[:, :, :0], key, value, features, state_in=before, state_out=more)
    return more


def linear_read(query: Tensor, sums: Tensor, features: str) -> Tensor:
    """Return the output `(B, H, L, Ev)` of queries that see all keys of a state; no gradient."""
    batch, groups, _, width = sums.shape
    nothing = query.new_empty(batch, groups, 0, query.shape[3])
    value = query.new_empty(batch, groups, 0, width - 1)
    output = empty_output(query, value)
    _run("forward", query, nothing, value, features, state_in=sums.contiguous(), output=output)
    return output


class _NotFinite(Exception):
    """A key or value that is seen is not finite: the rows that see it must be told from the others."""


class _Linear(torch.autograd.Function):
    """Keeps query, key and value; the backward pass computes the sums again."""

    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, features: str, sees: LinearVisible,
        again: Callable[..., Sums],
    ) -> Sums:  # fmt: skip
        """Run the kernel."""
        output = empty_output(query, value)
        totals = torch.empty(query.shape[:3], dtype=torch.float32, device="cpu")
        if _run("forward", query, key, value, features, sees, output=output, totals=totals):
            raise _NotFinite
        ctx.save_for_backward(query, key, value)
        ctx.rest = features, sees, again
        ctx.set_materialize_grads(False)
        return output, totals

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor | None, grad_totals: Tensor | None) -> tuple[Tensor | None, ...]:
        """Run the kernel, or PyTorch's operations where more than numbers is wanted."""
        tensors, (features, sees, again) = ctx.saved_tensors, ctx.rest
        if beyond_kernels(grad_output, grad_totals):
            wanted = [tensor for tensor, needed in zip(tensors, ctx.needs_input_grad, strict=False) if needed]
            with torch.enable_grad():
                sums = [(of, grad) for of, grad in zip(again(*tensors), (grad_output, grad_totals), strict=True)
                        if grad is not None]  # fmt: skip
            made = iter(
                torch.autograd.grad(
                    [of for of, _ in sums], wanted, [grad for _, grad in sums],
                    create_graph=torch.is_grad_enabled(), allow_unused=True,
                )
            )  # fmt: skip
            return (*(next(made) if needed else None for needed in ctx.needs_input_grad[:3]), None, None, None)
        query, key, value = tensors
        if grad_output is None:
            grad_output = torch.zeros_like(empty_output(query, value))
        of = tuple(torch.empty_like(tensor) for tensor in map(plain_rows, tensors))
        _run("backward", query, key, value, features, sees, grad_output=grad_output, grad_totals=grad_totals, of=of)
        return (*of, None, None, None)


def _run(
    name: str,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    features: str,
    sees: LinearVisible = _ALL,
    *,
    output: Tensor | None = None,
    totals: Tensor | None = None,
    state_in: Tensor | None = None,
    state_out: Tensor | None = None,
    grad_output: Tensor | None = None,
    grad_totals: Tensor | None = None,
    of: tuple[Tensor, ...] = (),
) -> bool:
    """Run the kernel; return whether a key or value that is seen is not finite."""
    query, key, value = plain_rows(query), plain_rows(key), plain_rows(value)
    seen = None
    seen_words: tuple[int, ...] = (NOTHING, 0, 0)
    if sees.keys is not None:
        seen = sees.keys.expand(*sees.keys.shape[:2], key.shape[2]).contiguous()
        seen_words = (seen.data_ptr(), *(seen.stride(i) if seen.shape[i] > 1 else 0 for i in (0, 1)))
    strange = torch.zeros(1, dtype=torch.int32, device="cpu")
    grad_output = None if grad_output is None else plain_rows(grad_output)
    grad_totals = None if grad_totals is None else grad_totals.contiguous()
    batch, heads, queries, width = query.shape
    words = _ARGS.pack(
        _ARGS.size, DTYPES[query.dtype], LINEAR_FEATURES[features],
        batch, heads, key.shape[1], queries, key.shape[2], width, value.shape[3],
        *rows(query), *rows(key), *rows(value), address(sees.stops), *seen_words,
        address(state_in), address(state_out), address(strange),
        *(_NO_ROWS if output is None else rows(output)), address(totals),
        *(_NO_ROWS if grad_output is None else rows(grad_output)), address(grad_totals),
        *(word for gradient in of for word in rows(gradient)), *(() if of else _NO_ROWS * 3),
    )  # fmt: skip
    library().call(f"linear_{name}", words)
    return bool(strange)
