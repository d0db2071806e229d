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
from regard.weights import consumed_at_once

from ..conformance.calls import Call, make, numbers, solved, yardstick
from ..native.library import LIB
from .checks import check_call, check_summary, check_weights, plain_weights, rounding
from .random_cases import bare_case, random_case

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


def test_random_bare_calls() -> None:
    """A causal call with any scale, which the draw of everything seldom leaves bare: each backend, each dtype."""
    faults = []
    for seed in range(24):
        dtype = DTYPES[seed % len(DTYPES)]
        faults += [f"seed {seed}, {dtype}: {fault}" for fault in check_call(bare_case(seed), dtype)]
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
    for summary in (False, True):
        generator = torch.Generator().manual_seed(7)
        with consumed_at_once(summary=summary):
            _, weights = regard.attention(query, key, value, **arguments, generator=generator, need_weights=True)
        faults += [f"{'summary: ' if summary else ''}{fault}" for fault in check_weights(weights, call, answer, close)]
    if folder is not None:
        model = _Calls(call)
        with warnings.catch_warnings(), regard.watch(model, keep="exact") as recording, torch.no_grad():
            warnings.simplefilter("ignore")
            model(query, key, value)
        path = folder / "call.regard"
        recording.save(path)
        stored = regard.load(path).calls[0].weights
        faults += [f"file: {fault}" for fault in check_weights(stored, call, answer, close)]
        with warnings.catch_warnings(), regard.watch(model) as recording, torch.no_grad():
            warnings.simplefilter("ignore")
            model(query, key, value)
        recording.save(path)
        kept = regard.load(path).calls[0].weights
        # A file of summaries keeps most of them in half precision.
        faults += [f"summary in a file: {fault}" for fault in check_summary(kept, call, answer, close + 1e-3)]
        path.unlink()
    return faults


def test_random_layers() -> None:
    """A layer on the kernel gives what the same layer gives in float64: output and gradients, with every mask."""
    for seed in range(12):
        draw = np.random.default_rng([seed, 2])
        heads = int(draw.integers(1, 4))
        position = [None, regard.layers.Rotary(), regard.layers.ALiBi(heads)][int(draw.integers(3))]
        torch.manual_seed(seed)
        settings = {
            "position": position,
            "num_kv_heads": int(draw.choice([n for n in range(1, heads + 1) if heads % n == 0])),
            "qk_norm": bool(draw.random() < 0.3),
            "softcap": 5.0 if draw.random() < 0.3 else None,
        }
        layer = regard.layers.MultiHeadAttention(8 * heads, heads, **settings)
        exact = regard.layers.MultiHeadAttention(8 * heads, heads, **settings).double()
        exact.load_state_dict(layer.state_dict())
        x = torch.randn(2, int(draw.integers(1, 40)), 8 * heads)
        causal = bool(draw.random() < 0.5)
        mask = regard.masks.padding(draw.integers(0, x.shape[1] + 1, 2).tolist()) if draw.random() < 0.5 else None
        window = (int(draw.integers(0, 9)), 0) if draw.random() < 0.3 else None
        outputs = []
        for module, given in ((layer, x), (exact, x.double())):
            given = given.clone().requires_grad_()
            out = module(given, causal=causal, mask=mask, window=window)
            (gradient,) = torch.autograd.grad(out.square().sum(), given)
            outputs.append((numbers(out), numbers(gradient)))
        for found, expected in zip(*outputs, strict=True):
            assert np.linalg.norm(found - expected) <= 1e-5 * max(np.linalg.norm(expected), 1.0), f"seed {seed}"


def test_random_steps_with_a_cache() -> None:
    """A sequence fed to a layer in random pieces, with its cache, gives what the whole sequence gives at once."""
    for seed in range(12):
        draw = np.random.default_rng([seed, 3])
        torch.manual_seed(seed)
        position = [None, regard.layers.Rotary(), regard.layers.ALiBi(2)][seed % 3]
        layer = regard.layers.MultiHeadAttention(16, 2, num_kv_heads=1, position=position)
        length = int(draw.integers(2, 50))
        x = torch.randn(2, length, 16)
        cuts = np.sort(draw.integers(1, length, 3)).tolist()
        window = (int(draw.integers(0, 9)), 0) if draw.random() < 0.5 else None
        cache = regard.layers.KeyValueCache(length if draw.random() < 0.5 else None)
        with torch.no_grad():
            whole = layer(x, causal=True, window=window)
            pieces = [part for part in x.tensor_split(cuts, 1) if part.shape[1]]
            stepped = torch.cat([layer(part, causal=True, window=window, cache=cache) for part in pieces], 1)
        torch.testing.assert_close(stepped, whole, rtol=1e-5, atol=1e-5, msg=f"seed {seed}")


def test_random_linear_attention() -> None:
    """Linear attention in float32: output and weights lie within rounding of the whole matrix in float64."""
    for seed in range(24):
        draw = np.random.default_rng([seed, 4])
        generator = torch.Generator().manual_seed(seed)
        queries, groups, times = (int(n) for n in draw.integers([1, 1, 1], [130, 3, 3]))
        keys = queries if draw.random() < 0.5 else int(draw.integers(1, 130))
        query = torch.randn(2, groups * times, queries, 8, generator=generator)
        key, value = torch.randn(2, 2, groups, keys, 8, generator=generator)
        causal, lengths = bool(draw.random() < 0.5), draw.integers(0, keys + 1, 2)
        mask = regard.masks.padding(lengths.tolist()) if draw.random() < 0.5 else None
        out, weights = regard.linear_attention(query, key, value, causal=causal, mask=mask, need_weights=True)
        phi_q, phi_k = (np.where(x > 0, x + 1, np.exp(x)) for x in (numbers(query), numbers(key).repeat(times, 1)))
        b, _, i, j = np.ogrid[:2, :1, :queries, :keys]
        sees = (j <= i + keys - queries) | (not causal)
        sees = sees & ((j < lengths[b]) | (mask is None))
        exact = phi_q @ phi_k.swapaxes(-2, -1) * sees
        total = exact.sum(-1, keepdims=True)
        exact = exact / np.where(total == 0, 1.0, total)
        np.testing.assert_allclose(numbers(weights.dense()), exact, atol=1e-5, err_msg=f"seed {seed}")
        np.testing.assert_allclose(numbers(out), exact @ numbers(value).repeat(times, 1), atol=1e-5)
