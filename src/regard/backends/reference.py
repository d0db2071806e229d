"""The textbook: attention in NumPy, in float64, every step written out. Slow; everything else must agree with it.

Read it from the top. Each function stands on the ones above it: softmax, one head, masks and biases, learnt
projections, several heads, linear attention, positions. At the end `Reference` lets `regard.attention` run on it.

Letters: `B` batch, `H` query heads, `G` key/value heads, `L` queries, `S` keys, `E` head width, `Ev` value width,
`D` model width. `...` stands for any leading dimensions, such as `B, H`.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from .._inputs import AttentionInputs, AttentionResult
from .._tracing import forward_mode, traced, transformed
from ._contract import FEATURES

__all__ = [
    "Attended",
    "Projections",
    "Reference",
    "along_diagonals",
    "combine_heads",
    "cross_attention",
    "keep",
    "linear_attention",
    "linear_attention_by_steps",
    "multi_head_attention",
    "philox",
    "repeat_heads",
    "scaled_dot_product",
    "see_past",
    "see_window",
    "self_attention",
    "sinusoidal_encoding",
    "softmax",
    "split_heads",
]

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


class Attended(NamedTuple):
    """What one attention gives."""

    output: Floats
    """The mixed values, `(..., L, Ev)`."""
    weights: Floats
    """How much each query takes of each key, `(..., L, S)`, before dropout. A row sums to 1, or 0 if it sees none;
    to less beside a sink."""
    lse: Floats
    """The logarithm of what each row was divided by, `(..., L)`; -inf for a row that sees nothing."""


# One head ---------------------------------------------------------------------------------------------------------


def softmax(scores: ArrayLike) -> tuple[Floats, Floats]:
    """Turn scores `(..., S)` into weights that sum to 1, and return them with the log of what they were divided by.

    >>> weights, lse = softmax([0.0, 0.0, -np.inf])
    >>> weights.tolist(), bool(np.isclose(lse, np.log(2)))
    ([0.5, 0.5, 0.0], True)
    """
    scores = np.asarray(scores, dtype=np.float64)
    # exp(1000) overflows. Subtracting the largest score changes nothing in the result, and makes the largest exp 1.
    largest = np.max(scores, axis=-1, keepdims=True, initial=-np.inf)
    # A row of -inf only sees nothing. Subtracting -inf would give NaN; subtracting 0 gives exp(-inf) = 0, as it should.
    largest = np.where(largest == -np.inf, 0.0, largest)
    powers = np.exp(scores - largest)
    total = powers.sum(axis=-1, keepdims=True)
    # A row that sees nothing has total 0: its weights are 0, and its lse is log(0) = -inf.
    weights = powers / np.where(total == 0.0, 1.0, total)
    with np.errstate(divide="ignore"):
        lse = np.log(total) + largest
    return weights, lse[..., 0]


@np.errstate(invalid="ignore", over="ignore")
def scaled_dot_product(
    query: ArrayLike,
    key: ArrayLike,
    value: ArrayLike,
    *,
    mask: ArrayLike | None = None,
    bias: ArrayLike | None = None,
    scale: float | None = None,
    softcap: float | None = None,
    sinks: ArrayLike | None = None,
    dropout: float = 0.0,
    seed: int = 0,
) -> Attended:
    """Attention: every query takes a mean of the values, weighted by how well their keys match it.

    Shapes: `query` `(..., L, E)`, `key` `(..., S, E)`, `value` `(..., S, Ev)`; `mask` (bool, True = may look) and
    `bias` broadcast to `(..., L, S)`, `sinks` to `(..., L)`. `scale` is `1/√E` unless given.
    Source: Vaswani et al. 2017, equation 1.

    >>> memory = np.eye(3)
    >>> scaled_dot_product(100 * memory[1:2], memory, memory).output.round().tolist()  # asks for key 1, gets value 1
    [[0.0, 1.0, 0.0]]
    """
    query, key, value = (np.asarray(array, dtype=np.float64) for array in (query, key, value))
    width = query.shape[-1]
    # The dot product of two random vectors grows like √E. Divided by it, scores stay near 1 and softmax stays soft.
    if scale is None:
        scale = 1.0 / math.sqrt(width) if width else 1.0
    scores = scale * (query @ np.swapaxes(key, -1, -2))  # (..., L, S)
    # A softcap bends scores smoothly so that none leaves (-c, c).
    if softcap is not None:
        scores = softcap * np.tanh(scores / softcap)
    visible = np.ones(scores.shape, dtype=bool) if mask is None else np.broadcast_to(mask, scores.shape)
    if bias is not None:
        bias = np.asarray(bias, dtype=np.float64)
        scores = scores + bias
        visible = visible & (bias != -np.inf)  # a bias of -inf hides a key like a mask
    # np.where, not an addition of -inf: a NaN at a place that nobody may see disappears here.
    scores = np.where(visible, scores, -np.inf)
    # A sink is one more key, which holds no value: a row may look at it instead of at nothing that fits.
    if sinks is not None:
        sink = np.broadcast_to(np.asarray(sinks, dtype=np.float64), scores.shape[:-1])
        scores = np.concatenate([scores, sink[..., None]], axis=-1)  # (..., L, S + 1)
    weights, lse = softmax(scores)
    if sinks is not None:
        # A sink of +inf takes all there is; as a score among others it would make NaN of the row.
        everything = np.isposinf(sink) & ~(np.isnan(scores) | np.isposinf(scores))[..., :-1].any(axis=-1)
        weights = np.where(everything[..., None], 0.0, weights)[..., :-1]
        lse = np.where(everything, np.inf, lse)
    # Dropout acts on the mixing only; the weights that are returned are those before it.
    mixing = weights
    if dropout:
        mixing = np.where(keep(seed, weights.shape, dropout), weights / (1.0 - dropout), 0.0)
    return Attended(_mix(mixing, value, visible), weights, lse)


def _mix(weights: Floats, value: Floats, visible: Bools) -> Floats:
    # The mean of the values is one matrix product, but for one thing: 0 · NaN is NaN. A value that is not finite
    # must not reach a row that may not see it, so such keys are added one by one, only to the rows that see them.
    finite = np.isfinite(value)
    output = weights @ np.where(finite, value, 0.0)  # (..., L, Ev)
    for key in np.unique(np.nonzero(~finite)[-2]):
        strange = np.where(finite[..., key, :], 0.0, value[..., key, :])  # (..., Ev)
        part = weights[..., key, None] * strange[..., None, :]  # (..., L, Ev)
        output = output + np.where(visible[..., key, None], part, 0.0)
    return output


# Who may see whom -------------------------------------------------------------------------------------------------


def see_past(num_queries: int, num_keys: int, offset: int | None = None) -> Bools:
    """Causal mask `(L, S)`: query `i` sees the keys up to its own position `i + offset`.

    Unless given, `offset` is `S - L`: the last query stands on the last key, as when earlier keys were kept.

    >>> see_past(2, 3).astype(int).tolist()
    [[1, 1, 0], [1, 1, 1]]
    """
    offset = num_keys - num_queries if offset is None else offset
    position = np.arange(num_queries)[:, None] + offset  # of each query, counted in keys
    return np.arange(num_keys) <= position


def see_window(num_queries: int, num_keys: int, left: int | None, right: int | None) -> Bools:
    """Sliding window `(L, S)`: the keys from `left` before to `right` after the query, both ends included.

    >>> see_window(2, 3, 1, 0).astype(int).tolist()
    [[1, 1, 0], [0, 1, 1]]
    """
    position = np.arange(num_queries)[:, None] + num_keys - num_queries
    distance = np.arange(num_keys) - position  # negative = in the past
    after = np.ones_like(distance, dtype=bool) if left is None else distance >= -left
    before = np.ones_like(distance, dtype=bool) if right is None else distance <= right
    return after & before


def along_diagonals(vector: ArrayLike, num_queries: int, num_keys: int) -> Floats:
    """Spread a bias that depends on the distance only, `(..., L + S - 1)`, over the matrix `(..., L, S)`.

    Entry `j - i + L - 1` belongs to query `i` and key `j`: one number for each diagonal.

    >>> along_diagonals([-1, 0, 1], 2, 2).tolist()
    [[0.0, 1.0], [-1.0, 0.0]]
    """
    query, key = np.arange(num_queries)[:, None], np.arange(num_keys)
    diagonals: Floats = np.asarray(vector, dtype=np.float64)[..., key - query + num_queries - 1]
    return diagonals


# Learnt projections -----------------------------------------------------------------------------------------------


def cross_attention(
    x: ArrayLike,
    context: ArrayLike,
    w_query: ArrayLike,
    w_key: ArrayLike,
    w_value: ArrayLike,
    *,
    mask: ArrayLike | None = None,
) -> Attended:
    """One sequence looks at another: queries from `x` `(..., L, D)`, keys and values from `context` `(..., S, D)`.

    The learnt matrices are `(D, E)`, `(D, E)` and `(D, Ev)`: what to ask for, what to be found by, what to hand over.

    >>> x, context, same = np.ones((2, 4)), np.ones((3, 4)), np.eye(4)
    >>> cross_attention(x, context, same, same, same).weights.shape
    (2, 3)
    """
    x, context = np.asarray(x, dtype=np.float64), np.asarray(context, dtype=np.float64)
    return scaled_dot_product(x @ w_query, context @ w_key, context @ w_value, mask=mask)


def self_attention(
    x: ArrayLike, w_query: ArrayLike, w_key: ArrayLike, w_value: ArrayLike, *, mask: ArrayLike | None = None
) -> Attended:
    """A sequence `x` `(..., L, D)` looks at itself: cross-attention whose context is the sequence.

    >>> rng = np.random.default_rng(0)
    >>> x, w = rng.normal(size=(4, 8)), rng.normal(size=(3, 8, 2))
    >>> self_attention(x, *w, mask=see_past(4, 4)).weights[0].tolist()  # the first token sees only itself
    [1.0, 0.0, 0.0, 0.0]
    """
    return cross_attention(x, x, w_query, w_key, w_value, mask=mask)


# Several heads ----------------------------------------------------------------------------------------------------


class Projections(NamedTuple):
    """The learnt matrices of multi-head attention; the columns of head `h` are the `h`-th piece of `head_dim`."""

    query: Floats
    """`(D, H · E)`."""
    key: Floats
    """`(D, G · E)`."""
    value: Floats
    """`(D, G · Ev)`."""
    output: Floats
    """`(H · Ev, D)`."""


def split_heads(x: ArrayLike, num_heads: int) -> Floats:
    """Cut the features of each token into heads: `(..., L, H · E)` to `(..., H, L, E)`.

    >>> split_heads([[1.0, 2.0, 3.0, 4.0]], 2).tolist()
    [[[1.0, 2.0]], [[3.0, 4.0]]]
    """
    x = np.asarray(x, dtype=np.float64)
    pieces = x.reshape(*x.shape[:-1], num_heads, x.shape[-1] // num_heads)  # (..., L, H, E)
    return np.swapaxes(pieces, -2, -3)


def combine_heads(x: ArrayLike) -> Floats:
    """Lay the heads side by side again, `(..., H, L, E)` to `(..., L, H · E)`: the inverse of `split_heads`.

    >>> x = np.arange(24.0).reshape(2, 12)
    >>> bool((combine_heads(split_heads(x, 3)) == x).all())
    True
    """
    pieces = np.swapaxes(np.asarray(x, dtype=np.float64), -2, -3)  # (..., L, H, E)
    return pieces.reshape(*pieces.shape[:-2], pieces.shape[-2] * pieces.shape[-1])


def repeat_heads(x: ArrayLike, num_heads: int) -> Floats:
    """Grouped heads: let key/value head `g` of `(..., G, S, E)` serve `H / G` query heads that stand together.

    >>> repeat_heads([[[1.0]], [[2.0]]], 4).ravel().tolist()
    [1.0, 1.0, 2.0, 2.0]
    """
    x = np.asarray(x, dtype=np.float64)
    groups = x.shape[-3]
    # Query head h reads key/value head h // (H / G).
    return np.repeat(x, num_heads // groups if groups else 1, axis=-3)


def multi_head_attention(
    x: ArrayLike,
    context: ArrayLike,
    learnt: Projections,
    *,
    num_heads: int,
    num_kv_heads: int | None = None,
    mask: ArrayLike | None = None,
) -> Attended:
    """Several heads look at `context` `(..., S, D)` in parallel, each at its own kind of thing: output `(..., L, D)`.

    Self-attention if `context` is `x`. `num_kv_heads` is `num_heads` unless given (fewer: grouped heads; 1:
    multi-query). `mask` broadcasts to `(..., H, L, S)`. Source: Vaswani et al. 2017, section 3.2.2.

    >>> x = np.ones((3, 4))
    >>> learnt = Projections(np.eye(4), np.eye(4), np.eye(4), np.eye(4))
    >>> multi_head_attention(x, x, learnt, num_heads=2).weights.shape
    (2, 3, 3)
    """
    x, context = np.asarray(x, dtype=np.float64), np.asarray(context, dtype=np.float64)
    groups = num_heads if num_kv_heads is None else num_kv_heads
    query = split_heads(x @ learnt.query, num_heads)  # (..., H, L, E)
    key = repeat_heads(split_heads(context @ learnt.key, groups), num_heads)  # (..., H, S, E)
    value = repeat_heads(split_heads(context @ learnt.value, groups), num_heads)  # (..., H, S, Ev)
    each = scaled_dot_product(query, key, value, mask=mask)
    # The heads have not spoken to each other so far; the last matrix lets them.
    return Attended(combine_heads(each.output) @ learnt.output, each.weights, each.lse)


# Linear attention -------------------------------------------------------------------------------------------------


def _positive(x: ArrayLike) -> Floats:
    # elu(x) + 1: x + 1 for positive x, exp(x) for negative x. Smooth, and never negative.
    x = np.asarray(x, dtype=np.float64)
    return np.where(x > 0, x + 1.0, np.exp(np.minimum(x, 0.0)))


def linear_attention(query: ArrayLike, key: ArrayLike, value: ArrayLike, *, mask: ArrayLike | None = None) -> Attended:
    """Attention whose weights are `φ(q)·φ(k)`, divided by their sum, instead of `exp(q·k)`; `φ = elu + 1`.

    Shapes as `scaled_dot_product`. Written here with the matrix of weights, which shows what it means.
    Source: Katharopoulos et al. 2020, arXiv:2006.16236, equations 4 and 7.

    >>> q, k, v = np.random.default_rng(0).normal(size=(3, 5, 4))
    >>> weights = linear_attention(q, k, v).weights
    >>> bool((weights >= 0).all() and np.allclose(weights.sum(-1), 1))
    True
    """
    likeness = _positive(query) @ np.swapaxes(_positive(key), -1, -2)  # (..., L, S), never negative
    if mask is not None:
        likeness = np.where(mask, likeness, 0.0)
    total = likeness.sum(axis=-1, keepdims=True)
    weights = likeness / np.where(total == 0.0, 1.0, total)
    with np.errstate(divide="ignore"):
        return Attended(weights @ np.asarray(value, dtype=np.float64), weights, np.log(total[..., 0]))


def linear_attention_by_steps(query: ArrayLike, key: ArrayLike, value: ArrayLike) -> Floats:
    """Causal linear attention in one walk over the tokens: the reason for its name. `(..., L, Ev)`, `L = S`.

    `φ(q)·Σ φ(k)vᵀ` needs only the running sum `Σ φ(k)vᵀ`, so the past has one size however long it is.

    >>> q, k, v = np.random.default_rng(0).normal(size=(3, 5, 4))
    >>> bool(np.allclose(linear_attention_by_steps(q, k, v), linear_attention(q, k, v, mask=see_past(5, 5)).output))
    True
    """
    query, key, value = _positive(query), _positive(key), np.asarray(value, dtype=np.float64)
    memory = np.zeros((*key.shape[:-2], key.shape[-1], value.shape[-1]))  # (..., E, Ev)
    total = np.zeros((*key.shape[:-2], key.shape[-1]))  # (..., E)
    output = np.empty((*query.shape[:-1], value.shape[-1]))
    for token in range(query.shape[-2]):
        # Write the token into the memory, then read with its query.
        memory = memory + key[..., token, :, None] * value[..., token, None, :]
        total = total + key[..., token, :]
        read = np.einsum("...e,...ev->...v", query[..., token, :], memory)
        output[..., token, :] = read / np.sum(query[..., token, :] * total, axis=-1, keepdims=True)
    return output


# Positions --------------------------------------------------------------------------------------------------------


def sinusoidal_encoding(length: int, width: int, base: float = 10000.0) -> Floats:
    """One vector per position, `(L, D)`, added to the tokens: attention by itself does not know their order.

    Feature `2i` is `sin(position / base^(2i/D))`, feature `2i + 1` the cosine: clock hands from fast to slow.
    Source: Vaswani et al. 2017, section 3.5.

    >>> sinusoidal_encoding(1, 4).tolist()
    [[0.0, 1.0, 0.0, 1.0]]
    """
    position = np.arange(length)[:, None]
    speed = base ** (-np.arange(0, width, 2) / width)  # (ceil(D / 2),)
    angle = position * speed
    encoding = np.empty((length, width))
    encoding[:, 0::2] = np.sin(angle)
    encoding[:, 1::2] = np.cos(angle[:, : width // 2])  # an odd width has one cosine less
    return encoding


# Dropout ----------------------------------------------------------------------------------------------------------

_LOW = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)


def keep(seed: int, shape: tuple[int, ...], dropout: float) -> Bools:
    """Return which weights of `(..., L, S)` dropout keeps: random, but a function of the seed and the place alone.

    The numbers come from Philox4x32 with 7 rounds (Salmon et al. 2011): a counter, scrambled until it looks random.
    One counter gives four words of 32 bits, for the columns `j`, `j + 16`, `j + 32`, `j + 48` of a group of 64.

    >>> kept = keep(0, (64, 64), 0.25)
    >>> bool((kept[:8] == keep(0, (8, 64), 0.25)).all()), bool(0.7 < kept.mean() < 0.8)
    (True, True)
    """
    rows, columns = shape[-2:]
    head = np.arange(math.prod(shape[:-2]), dtype=np.uint64).reshape(*shape[:-2], 1, 1)
    row = np.arange(rows, dtype=np.uint64)[:, None]
    column = np.arange(columns, dtype=np.uint64)
    counter = (column // np.uint64(64) * np.uint64(16) + column % np.uint64(16), row, head, np.uint64(0))
    words = philox(np.broadcast_arrays(*counter), seed)
    word = np.choose((column % np.uint64(64) // np.uint64(16)).astype(np.intp), words)
    # A word is a number in [0, 2^32): the lowest share of them means "drop".
    return word >= np.uint64(min(int(dropout * 2**32 + 0.5), 2**32 - 1))


def philox(counter: tuple[NDArray[np.uint64], ...], seed: int, rounds: int = 7) -> tuple[NDArray[np.uint64], ...]:
    """Scramble counters of four 32-bit words under a 64-bit key; returns four words of 32 bits.

    >>> zero = np.zeros(1, dtype=np.uint64)
    >>> one, other = philox((zero, zero, zero, zero), 0), philox((zero, zero, zero, zero), 1)
    >>> bool(one[0][0] != other[0][0])
    True
    """
    key = [np.uint64(seed & 0xFFFFFFFF), np.uint64(seed >> 32 & 0xFFFFFFFF)]
    a, b, c, d = counter
    for _ in range(rounds):
        # A product of 32-bit words has 64 bits: its high and its low half go to different places.
        left, right = a * np.uint64(0xD2511F53), c * np.uint64(0xCD9E8D57)
        a, b, c, d = (right >> _HALF) ^ b ^ key[0], right & _LOW, (left >> _HALF) ^ d ^ key[1], left & _LOW
        # The key walks on by two odd constants, so that no two rounds are alike.
        key = [(key[0] + np.uint64(0x9E3779B9)) & _LOW, (key[1] + np.uint64(0xBB67AE85)) & _LOW]
    return a, b, c, d


# The backend ------------------------------------------------------------------------------------------------------


class Reference:
    """The textbook as a backend: right to 64 bits, without gradients, and never chosen unless asked for by name."""

    name = "reference"
    honours = frozenset(FEATURES) - {"gradient"} | {"float64", "float32", "bfloat16", "float16", "cpu"}

    def why_not(self, inputs: AttentionInputs) -> str | None:
        """Refuse where tensors hold no plain numbers, but symbols, batches or tangents."""
        if transformed() or forward_mode():
            return "computes in NumPy, which torch.func and forward-mode gradients cannot look into"
        if traced():
            return "computes in NumPy, which cannot be traced"
        return None

    def instead(self, inputs: AttentionInputs) -> None:
        """No other backend runs in its place."""

    def run(self, inputs: AttentionInputs) -> AttentionResult:
        """Convert to NumPy, follow the textbook, convert back."""
        _, heads, queries, keys = inputs.shape
        mask = np.ones((1, 1, queries, keys), dtype=bool)
        if inputs.spans is not None:
            column, start, stop = np.arange(keys), inputs.spans.start.numpy(), inputs.spans.stop.numpy()
            mask = (column >= start[..., None]) & (column < stop[..., None])
        if inputs.dense_mask is not None:
            mask = mask & inputs.dense_mask.numpy()
        bias = None if inputs.bias is None else _array(inputs.bias)
        if inputs.position_bias is not None:
            diagonals = along_diagonals(_array(inputs.position_bias), queries, keys)  # (1 or H, L, S)
            bias = diagonals if bias is None else bias + diagonals
        output, _, lse = scaled_dot_product(
            _array(inputs.query),
            repeat_heads(_array(inputs.key), heads),
            repeat_heads(_array(inputs.value), heads),
            mask=mask,
            bias=bias,
            scale=inputs.scale,
            softcap=inputs.softcap,
            sinks=None if inputs.sinks is None else _array(inputs.sinks),
            dropout=0.0 if inputs.dropout is None else inputs.dropout.probability,
            seed=0 if inputs.dropout is None else int(inputs.dropout.seed),
        )
        dtype = inputs.query.dtype
        lse_dtype = torch.float64 if dtype == torch.float64 else torch.float32
        return AttentionResult(torch.from_numpy(output).to(dtype), torch.from_numpy(lse).to(lse_dtype))


def _array(tensor: torch.Tensor) -> Floats:
    array: Floats = tensor.detach().double().numpy()
    return array
