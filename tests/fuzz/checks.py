"""What is asked of a random call: output and gradients by every backend, and every question of the weights."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from regard import AttentionWeights
from regard.backends import BACKENDS
from regard.backends._contract import refusal
from tests.interpreted import sampled

from ..conformance import oracle
from ..conformance.calls import Call, gradient, make, numbers, solved, yardstick
from ..conformance.cases import Case
from ..conformance.tolerances import BACKWARD, FORWARD, error, limit

Array = oracle.Array


def check_call(case: Case, dtype: torch.dtype) -> list[str]:
    """Return what lies beyond its promise: output, `lse` and gradients, by each backend that serves the case."""
    call, faults = make(case, dtype), []
    for backend in BACKENDS:
        if not sampled(backend.name, str(case), 25):
            continue
        differentiable = "gradient" in backend.honours
        with torch.set_grad_enabled(differentiable):
            inputs = call.inputs()
            if refusal(backend, inputs) is not None:
                continue
            result = backend.run(inputs)
        through_lse = result.lse is not None and result.lse_has_gradient
        answer, plain = solved(case, dtype, through_lse), yardstick(case, dtype, through_lse)
        highest = _highest(answer)
        allowed = _allowed(dtype, error(numbers(plain["output"]), answer.output), FORWARD, highest)
        # Where scores are large, what rounding leaves of one score is a change of the weights.
        allowed += rounding(call) if highest > 64 else 0.0
        found = error(numbers(result.output), answer.output)
        if not found <= allowed:
            faults.append(f"{backend.name}: output {found:.1e}, allowed {allowed:.1e}")
        if result.lse is not None:
            found = error(numbers(result.lse), answer.lse)
            allowed = _allowed(dtype, error(numbers(plain["lse"]), answer.lse), FORWARD, highest)
            if not found <= allowed:
                faults.append(f"{backend.name}: lse {found:.1e}, allowed {allowed:.1e}")
        if differentiable:
            faults += [f"{backend.name}: {fault}" for fault in _gradients(call, result, answer, plain)]
    return faults


def _gradients(call: Call, result: object, answer: oracle.Answer, plain: dict[str, torch.Tensor]) -> list[str]:
    ends, upstream = [result.output], [call.grad_output]
    if result.lse is not None and result.lse_has_gradient:
        ends, upstream = [result.output, result.lse], [call.grad_output, call.grad_lse]
    leaves = call.leaves()
    found = torch.autograd.grad(ends, list(leaves.values()), upstream, allow_unused=True)
    size = float(call.grad_output.double().norm())
    highest = _highest(answer)
    coarse = torch.finfo(torch.float32).eps * min(highest, 64.0) if call.query.dtype != torch.float64 else 0.0
    faults = []
    for name, grad in zip(leaves, found, strict=True):
        full, expected = getattr(answer, name), gradient(answer, name, call)
        if not np.isfinite(expected).all():
            continue
        # The size of the whole gradient counts where one row's own is smaller than what rounding leaves of it.
        allowed = _allowed(call.query.dtype, error(numbers(plain[name]), full, size), BACKWARD, highest)
        allowed += coarse + rounding(call)
        small = 8 * torch.finfo(call.query.dtype).eps * size * _reach(call, name)
        distance = float(np.linalg.norm(numbers(grad) - expected))
        if not (error(numbers(grad), expected, size) <= allowed or distance <= small):
            faults.append(f"gradient of {name} {error(numbers(grad), expected, size):.1e}, allowed {allowed:.1e}")
    return faults


def rounding(call: Call) -> float:
    """Return how far two sums of the terms of one score, taken in different orders, may lie apart."""
    dtype = torch.float64 if call.query.dtype == torch.float64 else torch.float32
    problem = call.problem
    longest = [float(np.linalg.norm(x, axis=-1).max(initial=0.0)) for x in (problem.query, problem.key)]
    return torch.finfo(dtype).eps * abs(problem.scale) * longest[0] * longest[1]


def _reach(call: Call, name: str) -> float:
    """Return how much a gradient of the output can grow on its way to a bias, or else through it to query and key."""
    problem = call.problem
    if "bias" in name:
        return float(np.abs(problem.value).max(initial=1e-30))
    return float(abs(problem.scale) * max(np.abs(problem.query).max(), np.abs(problem.key).max(), 1e-30)) or 1e-30


def _allowed(dtype: torch.dtype, plain: float, times: float, highest: float) -> float:
    # Far from zero the error is the rounding of a few scores, which two computations do not share.
    times = times if highest <= 64 else 2 * times
    if not np.isfinite(plain):  # plain PyTorch overflows: nothing to measure with
        return float("inf")
    if dtype == torch.float64:
        return max(1e-11, 4 * plain)
    return max(times * plain + 4 * torch.finfo(dtype).eps, limit(dtype, plain))


def _highest(answer: oracle.Answer) -> float:
    return float(np.max(np.abs(answer.lse), initial=0.0, where=np.isfinite(answer.lse)))


def check_weights(weights: AttentionWeights, call: Call, expected: oracle.Answer, close: float) -> list[str]:
    """Return which question of the weights has an answer that is further than `close` from the reference."""
    exact, sees = expected.weights, seen(call)
    _, _, queries, keys = exact.shape
    shift = keys - queries
    rows = sees.any(-1)
    apart = np.abs(np.arange(keys) - (np.arange(queries) + shift)[:, None])
    logs = np.log(np.where(exact > 0, exact, 1.0))
    cell = (max(1, queries // 3), max(1, keys // 2))
    order = np.sort(exact, -1)[..., ::-1]
    count = min(4, keys)
    own = np.diagonal(exact, shift, 2, 3).sum(-1) / np.maximum(rows.sum(-1), 1)
    values = np.cos(np.arange(keys * 3)).reshape(1, 1, keys, 3) * np.ones((*exact.shape[:2], 1, 1))
    product = torch.from_numpy(values).to(weights.dtype)
    rows = np.broadcast_to(rows, exact.shape[:3]).copy()
    heads = exact.shape[1]
    norms = np.linalg.norm(call.problem.value, axis=-1)
    norms = norms.repeat(heads // norms.shape[1], 1)[:, :, None]
    questions: dict[str, tuple[Callable[[], torch.Tensor], Array]] = {
        "dense": (weights.dense, exact),
        "rows sum to 1": (lambda: weights.dense().sum(-1), exact.sum(-1)),  # less by the share of sinks
        "a rectangle": (lambda: weights[..., queries // 2 :, 1:keys:2], exact[..., queries // 2 :, 1:keys:2]),
        "entropy": (weights.entropy, -(exact * logs).sum(-1)),
        "received": (weights.received, exact.sum(2)),
        "pooled": (lambda: weights.pooled(cell), _pooled(exact, cell)),
        "peak of cells": (lambda: weights.pooled(cell, "peak"), _pooled(exact, cell, peak=True)),
        "peak": (lambda: weights.peak().values, order[..., 0]),
        "top": (lambda: weights.top(count).values, order[..., :count]),
        "mean_distance": (weights.mean_distance, (exact * apart).sum(-1)),
        "visible_keys": (weights.visible_keys, np.broadcast_to(sees, exact.shape).sum(-1)),
        "share": (lambda: weights.share(0), own),
        "product": (lambda: weights @ product, exact @ values),
        "effective_keys": (weights.effective_keys, np.where(rows, np.exp(-(exact * logs).sum(-1)), 0.0)),
        "distance_profile": (lambda: weights.distance_profile(binned=False).mass, _profile(exact, rows)),
        "masked": (lambda: weights.masked(cell), 1.0 - _pooled(np.broadcast_to(sees, exact.shape), cell, peak=True)),
        "rows": (lambda: weights[..., torch.arange(queries).flip(0), :], exact[..., ::-1, :]),
        "value_weighted": (lambda: weights.value_weighted().dense(), exact * norms),
        "lse": (lambda: weights.lse.masked_fill(~torch.from_numpy(rows), 0.0), np.where(rows, expected.lse, 0.0)),
        "peak's keys": (lambda: torch.from_numpy(_at(exact, weights.peak().indices[..., None])[..., 0]), order[..., 0]),
        "top's keys": (lambda: torch.from_numpy(_at(exact, weights.top(count).indices)), order[..., :count]),
    }  # fmt: skip
    highest = max(1.0, _highest(expected))
    faults = []
    for name, (ask, answer) in questions.items():
        found = numbers(ask())
        sizes = {
            "mean_distance": max(keys, queries), "received": queries, "entropy": 10.0, "effective_keys": 10.0 * keys,
            "product": keys, "value_weighted": norms.max(initial=1.0), "lse": highest,
        }  # fmt: skip
        size = float(sizes.get(name, 1.0))
        if name == "rows sum to 1":  # however large the scores are
            size = (1e-5 + rounding(call)) / close
        far = float(np.abs(found - answer).max(initial=0.0))
        if found.shape != answer.shape or not far <= close * size:
            faults.append(f"{name} of the weights is {far:.1e} away, allowed {close * size:.1e}")
        if name == "entropy" and found.size and found.min() < 0:
            faults.append(f"entropy is {found.min():.1e}")
    return faults


def check_summary(stored: AttentionWeights, call: Call, expected: oracle.Answer, close: float) -> list[str]:
    """Return which answer of a recording of summaries is further than `close` from the reference."""
    exact = expected.weights
    _, _, queries, keys = exact.shape
    apart = np.abs(np.arange(keys) - (np.arange(queries) + keys - queries)[:, None])
    answers: dict[str, tuple[Tensor, Array, float]] = {
        "entropy": (stored.entropy(), -(exact * np.log(np.where(exact > 0, exact, 1.0))).sum(-1), 10.0),
        "received": (stored.received(), exact.sum(2), queries),
        "mean_distance": (stored.mean_distance(), (exact * apart).sum(-1), max(queries, keys)),
        "peak": (stored.peak().values, exact.max(-1), 1.0),
        "visible_keys": (stored.visible_keys(), np.broadcast_to(seen(call), exact.shape).sum(-1), 1.0),
    }
    far = {name: float(np.abs(numbers(found) - exact).max(initial=0.0)) for name, (found, exact, _) in answers.items()}
    return [f"{name} is {far[name]:.1e} away" for name, (*_, size) in answers.items() if not far[name] <= close * size]


def _profile(exact: Array, rows: Array) -> Array:
    sums = np.stack([oracle.diagonal_sums(matrices) for matrices in exact])
    profile: Array = sums / np.maximum(rows.sum(-1), 1)[..., None]
    return profile


def _at(exact: Array, keys: Tensor) -> Array:
    """Return the weights at these keys, 0 at -1."""
    found = np.take_along_axis(exact, keys.clamp(min=0).numpy(), -1)
    return np.where(keys.numpy() < 0, 0.0, found)


def _pooled(exact: Array, cell: tuple[int, int], *, peak: bool = False) -> Array:
    down, across = (-(-size // side) for size, side in zip(exact.shape[2:], cell, strict=True))
    found = np.zeros((*exact.shape[:2], down, across))
    for i, j in np.ndindex(down, across):
        part = exact[..., i * cell[0] : (i + 1) * cell[0], j * cell[1] : (j + 1) * cell[1]]
        found[..., i, j] = part.max((2, 3)) if peak else part.sum(3).mean(2)
    return found


def plain_weights(call: Call) -> Array:
    """Return the softmax that PyTorch makes of the same numbers, scores in float32 (float64 for float64)."""
    dtype = torch.float64 if call.query.dtype == torch.float64 else torch.float32
    problem = call.problem
    query, key = call.query.detach().to(dtype), call.key.detach().to(dtype)
    score = query @ key.repeat_interleave(query.shape[1] // key.shape[1], 1).transpose(-2, -1) * problem.scale
    if problem.softcap is not None:
        score = problem.softcap * torch.tanh(score / problem.softcap)
    bias = torch.from_numpy(problem.bias.copy()).to(dtype)
    sees = torch.from_numpy(seen(call))
    score = (score + bias).masked_fill(~sees, -torch.inf)
    nothing = ~sees.any(-1, keepdim=True)
    return numbers(torch.softmax(score.masked_fill(nothing, 0.0), -1).masked_fill(nothing, 0.0))


def seen(call: Call) -> Array:
    """Return what each row may see, bool `(B, H, L, S)`."""
    return call.problem.sees & (call.problem.bias != -np.inf)
