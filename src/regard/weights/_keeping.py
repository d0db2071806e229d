"""Keeping the tensors of a call: lazy weights read them later, and they may be written to in between.

What was written in place before the call (a cache of fixed size, a ring buffer) will be again, so it is copied.
Everything else is witnessed: PyTorch counts the writes to a tensor, and a sum over each row reveals many of those that
it does not count. A question about weights whose tensors have changed is an error, never a wrong answer.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import replace

from torch import Tensor

from .._inputs import AttentionInputs
from .._tracing import full_precision, traced
from ._softmax_source import NormsSource
from ._source import WeightSource, copied
from ._witness import Witness, tensors_of_call, version_of, witness

# Whether weights are asked before anything is written, and whether a summary is all that is asked for.
_at_once: ContextVar[tuple[bool, bool]] = ContextVar("regard_weights_consumed_at_once", default=(False, False))


@contextmanager
def consumed_at_once(*, summary: bool = False) -> Iterator[None]:
    """Promise that weights made in this block are read before anything is written: nothing is copied or witnessed.

    `summary` says that they will be asked for their summary, which a kernel may then make with the output.
    """
    token = _at_once.set((True, summary))
    try:
        yield
    finally:
        _at_once.reset(token)


def summary_is_enough() -> bool:
    """Return whether a surrounding block will ask for the summary of weights."""
    return not traced() and _at_once.get()[1]  # a graph cannot hold a ContextVar


def keeping(source: WeightSource, *, copy_all: bool = False) -> WeightSource:
    """Return the source of a new call so that no later write changes its answers: copied, or witnessed.

    A tensor that was written in place before the call will be again, and one of inference mode cannot be witnessed:
    both are copied. Of what is larger than query, key and value only tensors of inference mode are. Where the matrix
    is smaller than its keys (a step of decoding) the scores are kept in their place. `copy_all` witnesses nothing.
    """
    if traced():  # a graph cannot ask how often a tensor was written
        return source.copied({name for name, _ in tensors_of_call(source.inputs)})
    if _at_once.get()[0]:
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
    kept = source.copied(risky)
    inputs = _aliases(kept.inputs)
    return replace(kept, inputs=inputs, witness=witness(inputs, risky))


def _scores_only(source: WeightSource) -> WeightSource:
    """Return the same matrix computed from its scores, and the norms of the values: O(B·H·L·S), for few queries."""
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
        inputs.map(copied, ("dense_mask", "sinks")), source.lse, lse_of=source.lse_of, log_factor=source.log_factor,
        map=source.map, map_cell=source.map_cell, summary=source.summary, backend=source.backend, witness=Witness(()),
        value_norms=x.value.detach().to(source.dtype).norm(dim=-1),
    )  # fmt: skip


def _aliases(x: AttentionInputs) -> AttentionInputs:
    """Return the same memory in new tensor objects: `set_`, `resize_`, `.data =` change a tensor, not its memory."""
    bias = None if x.bias is None else _alias(x.bias)
    return replace(x, query=_alias(x.query), key=_alias(x.key), value=_alias(x.value), bias=bias)


def _alias(tensor: Tensor) -> Tensor:
    return tensor if tensor.requires_grad else tensor.detach()
