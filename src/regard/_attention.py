"""The call: check the arguments, bring them to one form, choose a backend, run it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypedDict, Unpack, overload

import torch
from torch import Tensor
from torch.overrides import handle_torch_function, has_torch_function

from ._checks import checked_tensors, joined_mask
from ._inputs import AttentionInputs, Dropout, NeedWeights, Spans
from ._tracing import in_backward, jit_traced, quiet
from ._values import described, flag, instance, number, probability
from .backends import asked_for, choose, hand_on, kernels, refusals
from .biases import PositionBias
from .errors import ArgumentError, DeviceError, DtypeError, ShapeError, unknown_argument
from .masks import Mask
from .weights import AttentionWeights, summary_is_enough


class Arguments(TypedDict, total=False):
    """What a call says by keyword, beside what is wanted of it: `attention` says what each means."""

    mask: Mask | Tensor | None
    causal: bool
    window: tuple[int | None, int | None] | None
    bias: PositionBias | Tensor | None
    scale: float | None
    softcap: float | None
    sinks: Tensor | None
    dropout: float
    generator: torch.Generator | None


_ARGUMENTS = ["query", "key", "value", *Arguments.__annotations__, "need_weights", "backend"]


@overload
def attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    need_weights: Literal[False] = False,
    backend: str | None = None,
    **arguments: Unpack[Arguments],
) -> Tensor: ...


@overload
def attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    need_weights: Literal[True],
    backend: str | None = None,
    **arguments: Unpack[Arguments],
) -> tuple[Tensor, AttentionWeights]: ...


@overload
def attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    need_weights: bool,
    backend: str | None = None,
    **arguments: Unpack[Arguments],
) -> Tensor | tuple[Tensor, AttentionWeights]: ...


def attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    mask: Mask | Tensor | None = None,
    causal: bool = False,
    window: tuple[int | None, int | None] | None = None,
    bias: PositionBias | Tensor | None = None,
    scale: float | None = None,
    softcap: float | None = None,
    sinks: Tensor | None = None,
    dropout: float = 0.0,
    generator: torch.Generator | None = None,
    need_weights: bool = False,
    backend: str | None = None,
    **unknown: Any,
) -> Tensor | tuple[Tensor, AttentionWeights]:
    """Scaled dot-product attention, `softmax(scale · QKᵀ (→ softcap) + bias, over visible keys) · V`.

    Shapes: `query` `(B, H, L, E)`, `key` `(B, G, S, E)`, `value` `(B, G, S, Ev)` with `H % G == 0`: query head `h`
    reads key/value head `h // (H / G)`. Leading dimensions may be left out, `(H, L, E)` or `(L, E)`, and the result
    comes back in the same form. Any strides.

    Args:
        query, key, value: float32, bfloat16, float16 or float64, all of one dtype and device.
        mask: a `regard.masks` mask, or a bool tensor broadcastable to `(B, H, L, S)`, True = may look.
        causal: each query sees its past; the last query is aligned with the last key (bottom-right).
        window: `(left, right)`, keys `i - left … i + right` inclusive in aligned positions; None = open side.
        bias: added to the scores: a `regard.biases` object, or a tensor broadcastable to `(B, H, L, S)`.
        scale: factor on `QKᵀ`; `1/√E` unless given.
        softcap: `c` in `c · tanh(score / c)`, applied before the bias; None = none.
        sinks: score of one more key in each row, which holds no value: a tensor of one per head `(H,)`, or
            broadcastable to `(B, H, L)`. Neither scaled nor capped; a row's weights then sum to less than 1.
        dropout: probability in [0, 1) to drop a weight; kept ones are scaled by `1 / (1 - dropout)`.
        generator: source of the dropout's seed; torch's default generator unless given (a compiled graph takes
            only that one, and gradient checkpointing restores only that one: in a backward pass another is refused).
        need_weights: also return the weights, as a lazy matrix; the output does not change by a bit.
        backend: a backend by name, which then obeys or refuses; the first that accepts unless given.

    Returns:
        The output `(B, H, L, Ev)` in the query's dtype; with `need_weights=True` also an `AttentionWeights` of
        shape `(B, H, L, S)`: the weights of exactly this call, before dropout.

    Raises:
        ShapeError, DtypeError, DeviceError, ArgumentError, UnknownArgumentError: see each message.
        RefusedError: the backend asked for by name does not honour an argument. BackendError: there is none of that
            name, or one that is required is missing. KernelError, TooLargeError: a kernel failed while it ran.

    All masks hold together. A query that sees nothing gives zeros. Keys and values that nobody sees have no effect,
    even if they are NaN. Half precision accumulates in float32.

    Cost: time O(B·H·L·S·(E + Ev)), less what the spans hide; memory O(inputs + outputs), the weights O(B·H·L) more.

    Source: Vaswani et al. 2017, arXiv:1706.03762, equation 1.

    >>> q = k = v = torch.eye(3)
    >>> out, weights = attention(q, k, v, causal=True, need_weights=True)
    >>> bool(torch.allclose(weights.dense() @ v, out)), bool(out[0, 0] == 1)
    (True, True)
    """
    if unknown:
        raise unknown_argument("attention", unknown, _ARGUMENTS)
    arguments: Arguments = {
        "mask": mask, "causal": causal, "window": window, "bias": bias, "scale": scale, "softcap": softcap,
        "sinks": sinks, "dropout": dropout, "generator": generator,
    }  # fmt: skip
    if has_torch_function((query, key, value)):  # a mode that watches, or a tensor subclass with its own attention
        given: dict[str, Any] = {**arguments, "need_weights": need_weights, "backend": backend}
        function: Any = attention  # its type is that of three signatures
        watched: Tensor | tuple[Tensor, AttentionWeights] = handle_torch_function(
            function, (query, key, value), query, key, value, **given
        )
        return watched
    with quiet():
        inputs, rank = _prepare(query, key, value, need_weights, arguments)
        if inputs.dropout is not None and generator is not None and in_backward():
            _refuse_another_seed(generator)
        chosen = choose(inputs, backend)
        result = chosen.run(inputs)
        output = result.output
        if rank != 4:
            output = output.reshape(output.shape[4 - rank :])
        if not need_weights:
            return output
        return output, AttentionWeights.of_call(inputs, result, rank, result.backend or chosen.name)


@dataclass(frozen=True)
class Explanation:
    """Which backend a call would take, and why each other one would not. Printing it shows the table."""

    rows: tuple[tuple[str, str | None], ...]
    """Name and reason to refuse (None = accepts) of each backend, in the order in which they are asked."""
    asked: str | None = None
    """The backend that a surrounding `use_backend` asks for: it runs the call or the call fails."""
    instead: Mapping[str, str] = field(default_factory=dict)
    """For a backend that may hand a call on when it sees the numbers, to which and when; `weights.backend` tells it."""
    kernels: Mapping[str, str] = field(default_factory=dict)
    """For a backend that has several kernels for the device of the call, which of them takes it, and why."""

    @property
    def chosen(self) -> str | None:
        """Name of the backend that runs the call; None if the one that was asked for refuses."""
        able = [name for name, reason in self.rows if reason is None and self.asked in (None, name)]
        return able[0] if able else None

    def __repr__(self) -> str:
        """Draw the table, one backend a line."""
        chosen = self.chosen
        width = max(len(name) for name, _ in self.rows)
        lines = []
        for name, reason in self.rows:
            verdict = "runs this call" if name == chosen else "could run it" if reason is None else reason
            if reason is None and name in self.kernels:
                verdict = f"{verdict} {self.kernels[name]}"
            asked = " (asked for by use_backend)" if name == self.asked else ""
            instead = f", or {self.instead[name]}" if name == chosen and name in self.instead else ""
            lines.append(f"{'->' if name == chosen else '  '} {name:{width}}  {verdict}{instead}{asked}")
        return "\n".join(lines)


def explain(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    mask: Mask | Tensor | None = None,
    causal: bool = False,
    window: tuple[int | None, int | None] | None = None,
    bias: PositionBias | Tensor | None = None,
    scale: float | None = None,
    softcap: float | None = None,
    sinks: Tensor | None = None,
    dropout: float = 0.0,
    generator: torch.Generator | None = None,
    need_weights: bool = False,
    **unknown: Any,
) -> Explanation:
    """Say which backend `attention` would choose for these arguments, and why each other one would not.

    Takes the arguments of `attention` except `backend`, checks them in the same way (and raises the same errors),
    and computes nothing. Draws no random number. Cost: O(L).

    >>> q = torch.ones(2, 3, 4)
    >>> explain(q, q, q, causal=True).chosen in ("native", "fused", "math")
    True
    """
    if unknown:
        raise unknown_argument("explain", unknown, _ARGUMENTS[:-1])
    state = generator
    if state is None:
        state = torch.Generator().manual_seed(0)
    elif isinstance(state, torch.Generator):
        state = state.clone_state()
    arguments: Arguments = {
        "mask": mask, "causal": causal, "window": window, "bias": bias, "scale": scale, "softcap": softcap,
        "sinks": sinks, "dropout": dropout, "generator": state,
    }  # fmt: skip
    inputs, _ = _prepare(query, key, value, need_weights, arguments)
    return Explanation(tuple(refusals(inputs)), asked_for(), hand_on(inputs), kernels(inputs))


def _prepare(
    query: Tensor, key: Tensor, value: Tensor, need_weights: bool, arguments: Arguments
) -> tuple[AttentionInputs, int]:
    query, key, value, rank = checked_tensors(query, key, value)
    batch, heads, queries, width = query.shape
    keys = key.shape[2]
    spans = dense_mask = position_bias = dense_bias = None
    visible = joined_mask(arguments.get("mask"), arguments.get("causal", False), arguments.get("window"), queries, keys)
    if visible is not None:
        start, stop, dense_mask = visible.resolve(queries, keys, query.device)
        for part, full in ((start, (batch, heads, queries)), (dense_mask, (batch, heads, queries, keys))):
            if part is not None:
                _check_broadcasts("mask", part, full)
        if start is not None and stop is not None:
            # What is traced may run again with more keys than queries.
            spans = Spans(start, stop, not jit_traced() and visible.is_causal(queries, keys))
    bias, scale, softcap = arguments.get("bias"), arguments.get("scale"), arguments.get("softcap")
    sinks, generator, dropout = arguments.get("sinks"), arguments.get("generator"), arguments.get("dropout", 0.0)
    if isinstance(bias, PositionBias):
        position_bias = bias.vector(queries, keys, query.device)
        _check_position_bias(position_bias, heads, max(queries + keys - 1, 0))
        position_bias = _as_scores(position_bias, query.dtype)
    elif bias is not None:
        dense_bias = _dense_bias(bias, query, (batch, heads, queries, keys))
    if scale is None:
        scale = 1.0 / math.sqrt(width) if width else 1.0
    else:
        scale = number("scale", scale, rule="a finite number (1/sqrt(head_dim) unless given)")
    if softcap is not None:
        softcap = number("softcap", softcap, 0, rule="a finite number > 0, or None for no cap", open_low=True)
    # A tiny call takes some thirty microseconds: what is as by default is not checked.
    looked_at: NeedWeights = need_weights if type(need_weights) is bool else flag("need_weights", need_weights)
    if looked_at and summary_is_enough():
        looked_at = "summary"
    if generator is not None:
        instance("generator", generator, torch.Generator, "a torch.Generator, or None for torch's default one")
    dropped = None
    if not (type(dropout) is float and dropout == 0.0) and probability("dropout", dropout) != 0.0:
        device = "cpu" if generator is None else generator.device
        dropped = Dropout(float(dropout), torch.randint(2**63 - 1, (), generator=generator, device=device))
    return AttentionInputs(
        query, key, value, float(scale), spans, dense_mask, position_bias, dense_bias, softcap, dropped,
        None if sinks is None else _checked_sinks(sinks, query), looked_at,
    ), rank  # fmt: skip


def _refuse_another_seed(generator: torch.Generator) -> None:
    if any(generator is kept for kept in (torch.default_generator, *torch.cuda.default_generators)):
        return
    raise ArgumentError(
        "attention runs in a backward pass with dropout and a generator of its own; run again there by gradient "
        "checkpointing, it would draw another seed and drop other weights than the output was made with. Leave out "
        "generator=: torch.utils.checkpoint restores PyTorch's default one (torch.manual_seed seeds it)."
    )


def _check_position_bias(vector: Tensor, heads: int, distances: int) -> None:
    if vector.ndim != 2 or vector.shape[0] not in (1, heads) or vector.shape[1] != distances:
        raise ShapeError(
            f"The position bias is a vector of shape {tuple(vector.shape)}; {heads} heads and these lengths need "
            f"(1 or {heads}, L + S - 1 = {distances})."
        )
    if not vector.is_floating_point():
        raise DtypeError(f"The position bias is {vector.dtype}; its vector must be floating.")


def _as_scores(vector: Tensor, dtype: torch.dtype) -> Tensor:
    """Return a float64 vector as the scores hold it: what is finite stays finite, and hides nothing."""
    if vector.dtype != torch.float64 or dtype == torch.float64:
        return vector
    limits = torch.finfo(torch.float32)
    return torch.where(vector.isinf(), vector, vector.clamp(limits.min, limits.max)).to(torch.float32)


def _dense_bias(bias: Tensor, query: Tensor, shape: tuple[int, int, int, int]) -> Tensor:
    if not isinstance(bias, Tensor) or not bias.is_floating_point():
        raise DtypeError(
            f"bias is {described(bias)}; give a floating tensor that is added to the scores, or a regard.biases "
            "object. A bool tensor goes into mask=."
        )
    _check_like_query("bias", bias, query)
    if bias.ndim > 4:
        raise ShapeError(f"bias has shape {tuple(bias.shape)}; the rule is broadcastable to (B, H, L, S) = {shape}.")
    bias = bias.reshape((1,) * (4 - bias.ndim) + tuple(bias.shape))
    _check_broadcasts("bias", bias, shape)
    return bias


def _checked_sinks(sinks: Tensor, query: Tensor) -> Tensor:
    if not isinstance(sinks, Tensor) or not sinks.is_floating_point():
        raise DtypeError(f"sinks is {described(sinks)}; give a floating tensor of one score per head, (H,).")
    _check_like_query("sinks", sinks, query)
    batch, heads, queries, _ = query.shape
    if sinks.ndim > 3 or (sinks.ndim == 1 and sinks.shape[0] != heads):
        raise ShapeError(
            f"sinks has shape {tuple(sinks.shape)}; the rule is one score per head, ({heads},), or a tensor "
            f"broadcastable to (B, H, L) = {(batch, heads, queries)}."
        )
    shape = (1, heads, 1) if sinks.ndim == 1 else (1,) * (3 - sinks.ndim) + tuple(sinks.shape)
    sinks = sinks.reshape(shape)
    _check_broadcasts("sinks", sinks, (batch, heads, queries))
    return sinks


def _check_like_query(name: str, given: Tensor, query: Tensor) -> None:
    if given.dtype not in (query.dtype, torch.float32):
        raise DtypeError(f"{name} is {given.dtype}; it must be {query.dtype} like the query, or float32.")
    if given.device != query.device:
        raise DeviceError(f"{name} lies on {given.device}, the query on {query.device}. Move them to one device.")


def _check_broadcasts(name: str, tensor: Tensor, full: tuple[int, ...]) -> None:
    if any(size not in (1, whole) for size, whole in zip(tensor.shape, full, strict=True)):
        letters = "(B, H, L)" if len(full) == 3 else "(B, H, L, S)"
        raise ShapeError(f"{name} has shape {tuple(tensor.shape)}, which does not broadcast to {letters} = {full}.")
