"""NaN and infinity: where nobody looks they change nothing, forward or backward; where a row looks, it shows.

Each seed draws a call, a mask, a tensor and a place. The rows and keys that the poison must not reach are compared bit
for bit with the same call without it, the others must show it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor

from regard import masks
from regard._attention import _prepare
from regard._inputs import AttentionInputs, Spans
from regard.backends import _blocks
from regard.backends._contract import Backend, refusal
from tests.interpreted import sampled

from .calls import DEVICE, HERE

SEEDS = 600
MASKS = ("causal", "window", "padding", "dense", "bias", "causal bias")

backends = pytest.mark.parametrize("backend", HERE, ids=lambda backend: backend.name)


@dataclass
class Poisoned:
    """One call with a poisoned key, value or query row, and which rows see it."""

    clean: AttentionInputs
    inputs: AttentionInputs
    where: str
    touched: Tensor
    """Rows that see the poison, bool `(B, H, L)`."""
    seen: Tensor
    """What may be seen, bool `(B, H, L, S)`."""


def _draw(seed: int) -> Poisoned:
    generator = torch.Generator().manual_seed(seed)

    def pick(count: int) -> int:
        return int(torch.randint(count, (), generator=generator))

    batch, groups, shared, queries, width = 2, 1 + pick(2), 1 + pick(2), 2 + pick(40), 1 + pick(9)
    keys = queries + pick(12)
    q, k, v = (
        torch.randn(batch, heads, length, width, generator=generator).to(DEVICE)
        for heads, length in ((groups * shared, queries), (groups, keys), (groups, keys))
    )
    kind = MASKS[pick(len(MASKS))]
    hidden = (torch.rand(1, 1, queries, keys, generator=generator) < 0.4).to(DEVICE)
    hidden[:, :, :, pick(keys)] = True
    mask = bias = None
    if kind == "padding":
        mask = masks.padding(torch.randint(keys + 1, (batch,), generator=generator).to(DEVICE))
    elif kind == "dense":
        mask = masks.dense(~hidden)
    elif "bias" in kind:
        bias = torch.randn(1, 1, queries, keys, generator=generator).to(DEVICE).masked_fill(hidden, -torch.inf)
    window = (pick(4), pick(3)) if kind == "window" else None
    clean, _ = _prepare(q, k, v, False, {"mask": mask, "causal": "causal" in kind, "window": window, "bias": bias})
    whole = slice(0, queries), slice(0, keys)
    seen = _blocks.seen_entries(clean, *whole)
    where = ("key", "value")[pick(2)]
    value = (torch.nan, torch.inf, -torch.inf)[pick(3) if where == "value" else 0]
    b, g, j = pick(batch), pick(groups), pick(keys)
    tensor = getattr(clean, where).clone()
    tensor[b, g, j, pick(width)] = value
    touched = torch.zeros(seen.shape[:3], dtype=torch.bool, device=DEVICE)
    heads = slice(g * shared, (g + 1) * shared)
    touched[b, heads] = seen[b, heads, :, j]
    return Poisoned(clean, replace(clean, **{where: tensor}), where, touched, seen)


def _run(backend: Backend, inputs: AttentionInputs) -> tuple[Tensor, list[Tensor]]:
    if "gradient" not in backend.honours:
        return backend.run(inputs).output, [torch.zeros_like(t) for t in (inputs.query, inputs.key, inputs.value)]
    leaves = [t.detach().clone().requires_grad_() for t in (inputs.query, inputs.key, inputs.value)]
    result = backend.run(replace(inputs, query=leaves[0], key=leaves[1], value=leaves[2]))
    upstream = torch.ones_like(result.output)
    return result.output.detach(), list(torch.autograd.grad(result.output, leaves, upstream))


@backends
@pytest.mark.parametrize("start", range(0, SEEDS, 50))
def test_poison_stays_where_it_is_seen(backend: Backend, start: int) -> None:
    """Fifty draws: rows that do not see it keep their bits, rows that do are not finite; so do the gradients."""
    accepted = drawn = 0
    for seed in range(start, start + 50):
        if not sampled(backend.name, str(seed), 70):
            continue
        drawn += 1
        case = _draw(seed)
        if refusal(backend, case.inputs) is not None:
            continue
        accepted += 1
        expected, expected_grads = _run(backend, case.clean)
        output, grads = _run(backend, case.inputs)
        free = ~case.touched
        assert _close(output[free], expected[free]), seed
        assert not output[case.touched].isfinite().all(-1).any(), seed
        assert _close(grads[0][free], expected_grads[0][free]), seed
        untouched_keys = _keys_no_touched_row_sees(case)
        assert _close(grads[1][untouched_keys], expected_grads[1][untouched_keys]), seed
        assert _close(grads[2][untouched_keys], expected_grads[2][untouched_keys]), seed
    assert accepted == drawn


def _keys_no_touched_row_sees(case: Poisoned) -> Tensor:
    reached = (case.seen & case.touched[..., None]).any(2)
    groups = case.inputs.key.shape[1]
    return ~reached.unflatten(1, (groups, -1)).any(2)


def _close(found: Tensor, expected: Tensor) -> bool:
    # The call with poison may take another path, so a rounding of difference is allowed; NaN is not.
    return bool(torch.allclose(found, expected, rtol=1e-4, atol=1e-5))


@backends
def test_query_that_is_nan(backend: Backend) -> None:
    """A NaN query gives NaN in its own row and nowhere else, for few keys too."""
    for keys in (1, 2, 5, 15, 16, 17, 23, 31, 33, 70):
        q, k, v = (torch.randn(1, 1, length, 4, device=DEVICE) for length in (3, keys, keys))
        q[0, 0, 1, 2] = torch.nan
        result = backend.run(AttentionInputs(q, k, v, 0.5))
        assert result.output.isnan().any(-1).tolist() == [[[False, True, False]]], keys


@pytest.mark.parametrize("backend", [b for b in HERE if "gradient" in b.honours], ids=lambda b: b.name)
def test_nan_gradient_of_an_empty_row(backend: Backend) -> None:
    """What flows back into a row that sees nothing, NaN included, goes no further."""
    q, k, v = (torch.randn(1, 1, 4, 4, device=DEVICE, requires_grad=True) for _ in range(3))
    start, stop = torch.tensor([[[[0, 0, 0, 0]]], [[[0, 4, 2, 4]]]], dtype=torch.int32, device=DEVICE)
    output = backend.run(AttentionInputs(q, k, v, 0.5, Spans(start, stop))).output
    upstream = torch.ones_like(output)
    upstream[0, 0, 0] = torch.nan
    for gradient in torch.autograd.grad(output, (q, k, v), upstream):
        assert gradient.isfinite().all()
