"""Attention and all its gradients in NumPy float64, one row at a time, from the visible keys alone.

It shares no line with the package: a hidden key is never read, so nothing needs to be masked, and the gradients are the
formulas on paper. Slow, and easy to check by eye.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass
class Problem:
    """A call in dense form. Sizes as in the package; `bias` is everything that is added, `(B, H, L, S)`."""

    query: Array
    key: Array
    value: Array
    scale: float
    sees: NDArray[np.bool_]
    bias: Array
    softcap: float | None = None
    factor: Array | None = None
    """What dropout multiplies each weight by, `(B, H, L, S)`."""
    sinks: Array | None = None
    """The score of one more key of each row, which holds no value, `(B, H, L)`."""


@dataclass
class Answer:
    """Output, lse and weights, and the gradients of query, key, value, of the dense bias and of the sinks."""

    output: Array
    lse: Array
    weights: Array
    query: Array
    key: Array
    value: Array
    bias: Array
    sinks: Array


def solve(problem: Problem, grad_output: Array, grad_lse: Array) -> Answer:
    """Return the answer for upstream gradients `(B, H, L, Ev)` and `(B, H, L)`."""
    q, k, v = problem.query, problem.key, problem.value
    batch, heads, queries, _ = q.shape
    answer = Answer(
        np.zeros((batch, heads, queries, v.shape[3])), np.full((batch, heads, queries), -np.inf),
        np.zeros(problem.sees.shape), np.zeros(q.shape), np.zeros(k.shape), np.zeros(v.shape),
        np.zeros(problem.sees.shape), np.zeros((batch, heads, queries)),
    )  # fmt: skip
    shared = heads // k.shape[1] if k.shape[1] else 1
    with np.errstate(invalid="ignore", over="ignore"):
        for place in np.ndindex(batch, heads, queries):
            _solve_row(problem, answer, place, shared, grad_output[place], grad_lse[place])
    return answer


def _solve_row(
    problem: Problem, answer: Answer, place: tuple[int, ...], shared: int, grad_output: Array, grad_lse: float
) -> None:
    b, h, _ = place
    g = h // shared
    seen = np.flatnonzero(problem.sees[place] & (problem.bias[place] != -np.inf))
    sink = np.empty(0) if problem.sinks is None else problem.sinks[place][None]
    if not len(seen):
        answer.lse[place] = sink[0] if len(sink) else -np.inf
        answer.sinks[place] = grad_lse if len(sink) else 0.0
        return
    q, k, v = problem.query[place], problem.key[b, g, seen], problem.value[b, g, seen]
    score = problem.scale * (k @ q)
    slope = np.ones_like(score)
    if problem.softcap is not None:
        bent = np.tanh(score / problem.softcap)
        score, slope = problem.softcap * bent, 1 - bent**2
    score = score + problem.bias[place][seen]
    every = np.concatenate([score, sink])
    powers = np.exp(every - every.max())
    lse = every.max() + np.log(powers.sum())
    powers = powers / powers.sum()  # not exp(score - lse), which far from zero has lost the sum
    weights, sunk = powers[: len(score)], powers[len(score) :]
    factor = np.ones_like(weights) if problem.factor is None else problem.factor[place][seen]
    answer.output[place], answer.lse[place] = (weights * factor) @ v, lse
    answer.weights[place][seen] = weights
    grad_weights = factor * (v @ grad_output)
    common = grad_lse - (weights * grad_weights).sum()
    grad_score = weights * (grad_weights + common)
    answer.sinks[place] = (sunk * common).sum()
    answer.bias[place][seen] = grad_score
    grad_product = problem.scale * slope * grad_score
    answer.query[place] = grad_product @ k
    answer.key[b, g, seen] += np.outer(grad_product, q)
    answer.value[b, g, seen] += np.outer(weights * factor, grad_output)


def along_diagonals(vector: Array, queries: int, keys: int) -> Array:
    """Return the dense bias `(1 or H, L, S)` of a vector over relative positions, `(1 or H, L + S - 1)`."""
    return vector[:, np.arange(keys)[None, :] - np.arange(queries)[:, None] + queries - 1]


def diagonal_sums(matrix: Array) -> Array:
    """Return `(H, L + S - 1)`: the sum along each diagonal of a matrix `(H, L, S)`."""
    heads, queries, keys = matrix.shape
    sums = np.zeros((heads, max(queries + keys - 1, 0)))
    for i, j in np.ndindex(queries, keys):
        sums[:, j - i + queries - 1] += matrix[:, i, j]
    return sums


def dropout_factor(seed: int, dropout: float, shape: tuple[int, int, int, int]) -> Array:
    """Return 0 or `1 / (1 - dropout)` for each weight, from Philox4x32-7 written out for one 4-word counter each."""
    batch, heads, queries, keys = shape
    j = np.arange(keys, dtype=np.uint64)
    counter = [
        np.broadcast_to(part, (batch * heads, queries, keys))
        for part in (
            16 * (j // np.uint64(64)) + j % np.uint64(16),
            np.arange(queries, dtype=np.uint64)[:, None],
            np.arange(batch * heads, dtype=np.uint64)[:, None, None],
            np.zeros((), dtype=np.uint64),
        )
    ]
    word, key = np.uint64(0xFFFFFFFF), [seed & 0xFFFFFFFF, seed >> 32]
    for _ in range(7):
        a, b = counter[0] * np.uint64(0xD2511F53), counter[2] * np.uint64(0xCD9E8D57)
        counter = [
            (b >> np.uint64(32)) ^ counter[1] ^ np.uint64(key[0]), b & word,
            (a >> np.uint64(32)) ^ counter[3] ^ np.uint64(key[1]), a & word,
        ]  # fmt: skip
        key = [(key[0] + 0x9E3779B9) & 0xFFFFFFFF, (key[1] + 0xBB67AE85) & 0xFFFFFFFF]
    chosen = np.choose((j % np.uint64(64) // np.uint64(16)).astype(int), counter)
    kept = chosen >= np.uint64(int(dropout * 2**32 + 0.5))
    return (kept / (1 - dropout)).reshape(shape)
