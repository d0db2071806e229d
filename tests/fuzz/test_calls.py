"""Random calls against the float64 reference: every backend, instruction set, dtype, question of the weights, file.

In CI a fixed list of seeds. By hand, for as long as one likes, with seeds of their own:
`REGARD_FUZZ_MINUTES=60 pytest tests/fuzz`; a failure names its seed, and `REGARD_FUZZ_SEEDS=7,8` runs those alone.
"""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import regard
from regard.backends import native

from ..conformance.calls import Call, make, numbers, solved, yardstick
from ..native.library import LIB
from .checks import check_call, check_weights, plain_weights, rounding
from .random_cases import random_case

DTYPES = (torch.float32, torch.bfloat16, torch.float16, torch.float64)
_PARTS = 8
_SEEDS = 12  # of a part


def _seeds(part: int) -> Iterator[int]:
    given = os.environ.get("REGARD_FUZZ_SEEDS")
    minutes = float(os.environ.get("REGARD_FUZZ_MINUTES", "0"))
    if given:
        yield from [int(seed) for seed in given.split(",")] if part == 0 else []
        return
    yield from range(part * 1000, part * 1000 + _SEEDS)
    rest = np.random.default_rng()
    end = time.monotonic() + 60 * minutes / _PARTS
    while time.monotonic() < end:
        yield int(rest.integers(1 << 40))


@pytest.fixture(autouse=True)
def _isa_again() -> Iterator[None]:
    yield
    LIB.regard_select_isa(None)
    for remembered in (make, solved, yardstick):
        remembered.cache_clear()


@pytest.mark.parametrize("part", range(_PARTS))
def test_random_calls(part: int, tmp_path: Path) -> None:
    """Output, gradients, weights, and the weights out of a file lie within the promise of their dtype."""
    faults = []
    for seed in _seeds(part):
        draw = np.random.default_rng([seed, 1])
        dtype = DTYPES[int(draw.integers(len(DTYPES)))]
        isa = str(draw.choice(native.library_info().isas))
        LIB.regard_select_isa(isa.encode())
        case = random_case(seed)
        found = check_call(case, dtype)
        found += _weights(make(case, dtype), tmp_path if draw.random() < 0.2 else None)
        faults += [f"seed {seed}, {dtype}, {isa}: {fault}" for fault in found]
        for remembered in (make, solved, yardstick):
            remembered.cache_clear()
    assert not faults, "\n".join(faults)


class _Calls(nn.Module):
    def __init__(self, call: Call) -> None:
        super().__init__()
        self.arguments = {name: _constant(value) for name, value in call.arguments.items()}

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        out: Tensor = regard.attention(query, key, value, **self.arguments)
        return out


def _constant(value: object) -> object:
    return value.detach() if isinstance(value, Tensor) else value


def _weights(call: Call, folder: Path | None) -> list[str]:
    query, key, value = (t.detach() for t in (call.query, call.key, call.value))
    answer = solved(call.case, query.dtype, False)
    least = 1e-10 if query.dtype == torch.float64 else 2e-5
    close = least + rounding(call) + 4 * float(np.abs(plain_weights(call) - answer.weights).max(initial=0.0))
    arguments = {name: _constant(value) for name, value in call.arguments.items()}
    faults = []
    for kind in (True, "summary"):
        generator = torch.Generator().manual_seed(7)
        _, weights = regard.attention(query, key, value, **arguments, generator=generator, need_weights=kind)
        faults += [f"{kind}: {fault}" for fault in check_weights(weights, call, answer, close)]
    if folder is not None:
        model = _Calls(call)
        with warnings.catch_warnings(), regard.watch(model, keep="exact") as recording, torch.no_grad():
            warnings.simplefilter("ignore")
            model(query, key, value)
        path = folder / "call.regard"
        recording.save(path)
        stored = regard.load(path).calls[0].weights
        faults += [f"file: {fault}" for fault in check_weights(stored, call, answer, close)]
        path.unlink()
    return faults


def test_random_layers() -> None:
    """A layer on the kernel gives what the same layer gives in float64: output and gradients, with every mask."""
    for seed in range(12):
        draw = np.random.default_rng([seed, 2])
        heads = int(draw.integers(1, 4))
        position = [None, regard.layers.Rotary(), regard.layers.ALiBi(heads)][int(draw.integers(3))]
        torch.manual_seed(seed)
        layer = regard.layers.MultiHeadAttention(8 * heads, heads, position=position)
        exact = regard.layers.MultiHeadAttention(8 * heads, heads, position=position).double()
        exact.load_state_dict(layer.state_dict())
        x = torch.randn(2, int(draw.integers(1, 40)), 8 * heads)
        causal = bool(draw.random() < 0.5)
        outputs = []
        for module, given in ((layer, x), (exact, x.double())):
            given = given.clone().requires_grad_()
            out = module(given, causal=causal)
            (gradient,) = torch.autograd.grad(out.square().sum(), given)
            outputs.append((numbers(out), numbers(gradient)))
        for found, expected in zip(*outputs, strict=True):
            assert np.linalg.norm(found - expected) <= 1e-5 * max(np.linalg.norm(expected), 1.0), f"seed {seed}"
