"""A case made into tensors: the arguments of the call, the same problem for the oracle, and the plain yardstick."""

from __future__ import annotations

import functools
import os
import zlib
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from regard._attention import _prepare
from regard._inputs import AttentionInputs, NeedWeights
from regard.backends import BACKENDS
from regard.biases import PositionBias, RelativeBias

from . import oracle
from .cases import Case
from .oracle import Answer, Problem

DEVICE = os.environ.get("REGARD_TEST_DEVICE", "cpu")
"""Where the tensors of the cases lie; `pytest --device cuda` sets it."""
HERE = tuple(backend for backend in BACKENDS if DEVICE in backend.honours)
"""The backends that run there."""


@dataclass
class Call:
    """Tensors of one case in one dtype, with upstream gradients for the output and for `lse`."""

    case: Case
    query: Tensor
    key: Tensor
    value: Tensor
    arguments: dict[str, Any]
    grad_output: Tensor
    grad_lse: Tensor
    problem: Problem

    def inputs(self, need_weights: NeedWeights = False) -> AttentionInputs:
        """Return the checked form; a call with dropout draws its seed from generator 7 each time."""
        given = {**self.arguments, "generator": torch.Generator().manual_seed(7)}
        made = _prepare(self.query, self.key, self.value, bool(need_weights), given)[0]
        return replace(made, need_weights=need_weights)

    def bias_leaf(self) -> Tensor | None:
        """Return the bias tensor that takes a gradient, or None."""
        bias = self.arguments.get("bias")
        leaf = getattr(bias, "values", bias) if isinstance(bias, PositionBias) else bias
        return leaf if isinstance(leaf, Tensor) and leaf.requires_grad else None

    def leaves(self) -> dict[str, Tensor]:
        """Return the tensors that take gradients, by the names that the oracle gives theirs."""
        every = {
            "query": self.query, "key": self.key, "value": self.value, "bias": self.bias_leaf(),
            "sinks": self.arguments.get("sinks"),
        }  # fmt: skip
        return {name: tensor for name, tensor in every.items() if tensor is not None and tensor.requires_grad}


@functools.cache
def make(case: Case, dtype: torch.dtype) -> Call:
    """Build the call of a case; the same numbers every time."""
    generator = torch.Generator().manual_seed(zlib.crc32(case.question.encode() + case.name.encode()))
    s = case.sizes

    def normal(*shape: int, spread: float = 1.0) -> Tensor:
        return (torch.randn(*shape, generator=generator, dtype=torch.float64) * spread).to(dtype)

    def leaf(tensor: Tensor) -> Tensor:
        return case.layout(tensor.to(DEVICE)).detach().requires_grad_()

    query = leaf(normal(s.B, s.H, s.L, s.E, spread=case.spread))
    key = leaf(normal(s.B, s.G, s.S, s.E, spread=case.spread))
    value = leaf(normal(s.B, s.G, s.S, s.Ev))
    arguments = {name: _on_device(given) for name, given in case.arguments(s, generator, dtype).items()}
    grad_lse = normal(s.B, s.H, s.L).to(torch.float64 if dtype == torch.float64 else torch.float32).to(DEVICE)
    grad_output = normal(s.B, s.H, s.L, s.Ev).to(DEVICE)
    call = Call(case, query, key, value, arguments, grad_output, grad_lse, None)  # type: ignore[arg-type]
    call.problem = _problem(call)
    return call


def _on_device(given: Any) -> Any:
    if isinstance(given, RelativeBias):
        return RelativeBias(_on_device(given.values))
    return given.detach().to(DEVICE).requires_grad_(given.requires_grad) if isinstance(given, Tensor) else given


def numbers(tensor: Tensor) -> oracle.Array:
    """Return a tensor as a float64 array."""
    return tensor.detach().cpu().to(torch.float64).numpy()


def _problem(call: Call) -> Problem:
    s, given = call.case.sizes, call.arguments
    shape = (s.B, s.H, s.L, s.S)
    bias = given.get("bias")
    if isinstance(bias, PositionBias):
        dense = oracle.along_diagonals(numbers(bias.vector(s.L, s.S, DEVICE)), s.L, s.S)
    else:
        dense = np.zeros(()) if bias is None else numbers(bias)
    factor = None
    if given.get("dropout"):
        seed = int(torch.randint(2**63 - 1, (), generator=torch.Generator().manual_seed(7)))
        factor = oracle.dropout_factor(seed, given["dropout"], shape)
    sees = call.case.sees(s, *np.ogrid[: s.B, : s.H, : s.L, : s.S])
    sinks = given.get("sinks")
    if sinks is not None:
        sinks = np.broadcast_to(numbers(sinks[:, None] if sinks.ndim == 1 else sinks), shape[:3])
    scale = given.get("scale")
    if scale is None:
        scale = s.E**-0.5 if s.E else 1.0
    return Problem(
        numbers(call.query), numbers(call.key), numbers(call.value), scale, np.broadcast_to(sees, shape),
        np.broadcast_to(dense, shape), given.get("softcap"), factor, sinks,
    )  # fmt: skip


@functools.cache
def solved(case: Case, dtype: torch.dtype, with_lse: bool) -> Answer:
    """Return the oracle's answer; without `with_lse` no gradient comes through `lse`."""
    call = make(case, dtype)
    grad_lse = numbers(call.grad_lse) * with_lse
    return oracle.solve(call.problem, numbers(call.grad_output), grad_lse)


def gradient(answer: Answer, name: str, call: Call) -> oracle.Array:
    """Return the oracle's gradient of a leaf, in the leaf's shape."""
    full: oracle.Array = getattr(answer, name)
    if name not in ("bias", "sinks"):
        return full
    leaf = call.leaves()[name]
    if name == "sinks" and leaf.ndim == 1:
        return full.sum((0, 2))
    full = full.sum(tuple(range(full.ndim - leaf.ndim))) if name == "sinks" else full
    if name == "bias" and isinstance(call.arguments["bias"], PositionBias):
        sums = oracle.diagonal_sums(full.sum(0))
        return sums.sum(0, keepdims=True) if leaf.shape[0] == 1 else sums
    axes = tuple(axis for axis, size in enumerate(leaf.shape) if size == 1)
    return full.sum(axes, keepdims=True)


@functools.cache
def yardstick(case: Case, dtype: torch.dtype, with_lse: bool) -> dict[str, Tensor]:
    """Return output, lse and all gradients, by the oracle's names, in a plain computation that stays in `dtype`.

    Where that overflows it is no yardstick: then the same in float32, rounded.
    """
    plain = _plain(make(case, dtype), dtype, with_lse)
    if all(bool(tensor.isfinite().all()) for name, tensor in plain.items() if name != "lse"):
        return plain
    return {name: tensor.to(dtype) for name, tensor in _plain(make(case, dtype), torch.float32, with_lse).items()}


def _plain(call: Call, dtype: torch.dtype, with_lse: bool) -> dict[str, Tensor]:
    problem = call.problem
    query, key, value = (
        t.detach().cpu().to(dtype, copy=True).requires_grad_() for t in (call.query, call.key, call.value)
    )
    shared = query.shape[1] // key.shape[1]
    score = query @ key.repeat_interleave(shared, 1).transpose(-2, -1) * problem.scale
    if problem.softcap is not None:
        score = problem.softcap * torch.tanh(score / problem.softcap)
    bias = torch.from_numpy(problem.bias.copy()).to(dtype).requires_grad_()
    sees = torch.from_numpy(problem.sees & (problem.bias != -np.inf))
    score = (score + bias).masked_fill(~sees, -torch.inf)
    sinks = torch.zeros(score.shape[:3]) if problem.sinks is None else torch.from_numpy(problem.sinks.copy())
    sinks = sinks.to(dtype).requires_grad_()
    if problem.sinks is not None:
        score = torch.cat([score, sinks[..., None]], -1)
        sees = torch.cat([sees, torch.ones(*sees.shape[:3], 1, dtype=torch.bool)], -1)
    nothing = ~sees.any(-1, keepdim=True)
    weights = torch.softmax(score.masked_fill(nothing, 0.0), -1).masked_fill(nothing, 0.0)[..., : key.shape[2]]
    lse = torch.logsumexp(score, -1)
    if problem.factor is not None:
        weights = weights * torch.from_numpy(problem.factor).to(dtype)
    output = weights @ value.repeat_interleave(shared, 1)
    seen_lse = lse.masked_fill(nothing[..., 0], 0.0)
    upstream = [call.grad_output.cpu().to(dtype), call.grad_lse.cpu().to(dtype) * with_lse]
    leaves = {"query": query, "key": key, "value": value, "bias": bias, "sinks": sinks}
    grads = torch.autograd.grad(
        [output, seen_lse], list(leaves.values()), upstream, allow_unused=True, materialize_grads=True
    )
    return {"output": output, "lse": lse, **dict(zip(leaves, grads, strict=True))}
