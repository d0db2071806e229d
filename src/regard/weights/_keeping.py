"""Holding on to the tensors of a call: lazy weights read them later, and by then somebody may have written to them.

What was written in place before the call (a cache of fixed size, a ring buffer) will be again, so it is copied.
Everything else is witnessed: PyTorch counts the writes to a tensor, and a sum over each row shows many of those that
it does not count. A question about weights whose tensors have changed is an error, never another answer.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import replace

import torch
from torch import Tensor

from .._inputs import AttentionInputs
from .._tracing import traced
from ._norms_source import NormsSource
from ._questions import full_precision
from ._source import WeightSource
from ._witness import EVERYTHING, Witness, tensors_of_call, version_of, witness

__all__ = ["consumed_at_once", "keeping", "owned"]

_at_once: ContextVar[bool] = ContextVar("regard_weights_consumed_at_once", default=False)


@contextmanager
def consumed_at_once() -> Iterator[None]:
    """Say that weights made in this block are asked before anything is written: nothing is copied or witnessed."""
    token = _at_once.set(True)
    try:
        yield
    finally:
        _at_once.reset(token)


def keeping(source: WeightSource, *, copy_all: bool = False) -> WeightSource:
    """Return the source of a new call so that no later write changes its answers: copied, or witnessed.

    A tensor that was written in place before the call will be again, and one of inference mode cannot be witnessed:
    both are copied. Of what is larger than query, key and value only tensors of inference mode are. Where the matrix
    is smaller than its keys (a step of decoding) the scores are kept in their place. `copy_all` witnesses nothing.
    """
    if traced():  # a graph cannot ask how often a tensor was written
        return _with_copies(source, {name for name, _ in tensors_of_call(source.inputs)})
    if _at_once.get():
        return source
    x = source.inputs
    most = max(x.query.numel(), x.key.numel(), x.value.numel())
    risky = {
        name
        for name, tensor in tensors_of_call(x)
        if copy_all
        or name == "sinks"  # small, and an optimizer writes to them
        or (version := version_of(tensor)) is None
        or (version > 0 and tensor.numel() <= most)
    }
    few = x.query.shape[1] * x.query.shape[2] <= x.key.shape[1] * x.key.shape[3]
    if few and risky & {"query", "key"} and not source.requires_grad:
        return _scores_only(source)
    kept = _with_copies(source, risky)
    inputs = _aliases(kept.inputs)
    return replace(kept, inputs=inputs, witness=witness(inputs, risky))


def owned(source: WeightSource) -> WeightSource:
    """Return a source whose tensors nobody else can write to, after a check that they are those of the call."""
    names = {name for name, _ in tensors_of_call(source.inputs)}
    if source.witness is not None:
        source.witness.check(EVERYTHING)
        names = {one.name for one in source.witness.seen}
    return replace(_with_copies(source, names), witness=Witness(()))


def _scores_only(source: WeightSource) -> WeightSource:
    """Return the same matrix out of its scores, and the norms of the values: O(B·H·L·S), for few queries."""
    x, (batch, heads, queries, keys) = source.inputs, source.shape
    plain = source.detached()
    with full_precision(source.device.type):
        logs = plain.scores(slice(0, queries), slice(0, keys))
    nothing = logs.new_zeros(())
    inputs = replace(
        x,
        query=nothing.expand(batch, heads, queries, 1),
        key=nothing.expand(batch, x.key.shape[1], keys, 1),
        value=nothing.expand(x.value.shape),
        scale=1.0,
        position_bias=None,
        bias=logs,
        softcap=None,
    )
    return NormsSource(
        inputs.map(_copy, ("dense_mask", "sinks")), source.lse, lse_of=source.lse_of, log_factor=source.log_factor,
        map=source.map, map_cell=source.map_cell, summary=source.summary, backend=source.backend, witness=Witness(()),
        value_norms=x.value.detach().to(source.dtype).norm(dim=-1),
    )  # fmt: skip


def _with_copies(source: WeightSource, names: set[str]) -> WeightSource:
    return replace(source, inputs=source.inputs.map(_copy, names)) if names else source


def _aliases(x: AttentionInputs) -> AttentionInputs:
    """Return the same memory in tensors of our own: `set_`, `resize_`, `.data =` change a tensor, not its memory."""
    return x.map(lambda tensor: tensor if tensor.requires_grad else tensor.detach(), ("query", "key", "value", "bias"))


def _copy(tensor: Tensor) -> Tensor:
    # What is the same along a dimension is kept once.
    once = tensor[tuple(slice(0, 1) if step == 0 else slice(None) for step in tensor.stride())]
    with torch.set_grad_enabled(tensor.requires_grad):
        return once.clone().expand(tensor.shape)
