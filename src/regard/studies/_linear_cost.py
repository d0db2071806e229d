"""The cost of a call by length: seconds and memory of softmax and linear attention, and their crossover."""

from __future__ import annotations

import ctypes
import functools
import gc
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .._attention import attention, explain
from ..linear import linear_attention
from ._study import Progress

Call = Callable[[Tensor, Tensor, Tensor], Tensor]
LONGEST_STORED = 8_192
"""Beyond this, the whole matrix of one head takes more than 256 MB."""


def _stored(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    scores = query @ key.mT * query.shape[-1] ** -0.5
    return torch.matmul(scores.softmax(-1), value)


CALLS: dict[str, Call] = {
    "softmax": lambda q, k, v: attention(q, k, v),
    "linear": lambda q, k, v: linear_attention(q, k, v),
    "softmax, causal": lambda q, k, v: attention(q, k, v, causal=True),
    "linear, causal": lambda q, k, v: linear_attention(q, k, v, causal=True),
    "softmax, matrix stored": _stored,
}
PAIRS = (("softmax", "linear"), ("softmax, causal", "linear, causal"))
"""The pairs of calls that are compared."""


def chosen_backend(head_dim: int) -> str:
    """Return the name of the backend that runs a long call of softmax attention here."""
    x = torch.empty(1, 1, 2048, head_dim)
    return explain(x, x, x).chosen or "none"


@torch.no_grad()
def costs(sizes: Sequence[int], head_dim: int, seed: int, progress: Progress) -> list[dict[str, Any]]:
    """Return seconds and bytes of each call at each length, one head of one sequence, forward alone.

    Seconds are CPU seconds (all threads together), the least of several alternating calls. Bytes are the largest growth
    of the process, the output included; None if the system does not report it.
    """
    generator = torch.Generator().manual_seed(seed)
    found = []
    for done, size in enumerate(sizes):
        progress((size / sizes[-1]) ** 2 * 0.9, f"a sequence of {size:,} tokens")
        query, key, value = (torch.randn(1, 1, size, head_dim, generator=generator) for _ in range(3))
        calls = {name: call for name, call in CALLS.items() if call is not _stored or size <= LONGEST_STORED}
        if done == 0:
            for call in calls.values():  # warm-up: what the first call loads is not part of the cost
                call(query, key, value)
        seconds: dict[str, float] = dict.fromkeys(calls, math.inf)
        spent = 0.0
        for turn in range(15):
            if (turn >= 3 and spent > 0.5) or (turn and spent > 20):
                break
            for name, call in calls.items():
                taken = _seconds(call, query, key, value)
                spent += taken
                seconds[name] = min(seconds[name], taken)
        for name, call in calls.items():
            memory = extra_memory(functools.partial(call, query, key, value))
            found.append({"call": name, "tokens": size, "seconds": seconds[name], "bytes": memory})
    return found


def _seconds(call: Call, query: Tensor, key: Tensor, value: Tensor) -> float:
    # Short calls are repeated until the CPU clock can resolve them.
    repeats, start = 0, time.process_time()
    while True:
        call(query, key, value)
        repeats += 1
        taken = time.process_time() - start
        if taken > 2e-3:
            return taken / repeats


def crossover(sizes: Sequence[int], first: Sequence[float], second: Sequence[float]) -> float | None:
    """Return the length from which on `second` stays below `first`; None if it is not below at the last length.

    Between two lengths the logarithm of the ratio is interpolated linearly over the logarithm of the length. If
    `second` is below at every length, the shortest is returned.

    >>> crossover((100, 400), (1.0, 16.0), (4.0, 4.0))
    200.0
    """
    ratios = [math.log(b / a) for a, b in zip(first, second, strict=True)]
    if ratios[-1] >= 0:
        return None
    place = len(ratios) - 1
    while place and ratios[place - 1] < 0:
        place -= 1
    if place == 0:
        return float(sizes[0])
    low, high = math.log(sizes[place - 1]), math.log(sizes[place])
    share = ratios[place - 1] / (ratios[place - 1] - ratios[place])
    return round(math.exp(low + share * (high - low)), 6)


_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def extra_memory(call: Callable[[], object]) -> int | None:
    """Return the largest growth of the process in bytes while `call` runs; None if the system does not report it.

    Memory that was freed before is first returned to the system, so that its reuse does not go unnoticed; then the
    kernel's peak of the resident size is reset. Whole pages of every thread and library are counted, and the result of
    `call` too. Linux with glibc only. Below a few hundred KB the figure is noise.
    """
    try:
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)
        _CLEAR.write_text("5", encoding="ascii")
        before = _bytes("VmRSS")
    except (OSError, AttributeError, LookupError):
        return None
    result = call()
    highest = _bytes("VmHWM")
    del result
    return max(0, highest - before)


def _bytes(name: str) -> int:
    lines = _STATUS.read_text(encoding="ascii").splitlines()
    found = next((line for line in lines if line.startswith(f"{name}:")), None)
    if found is None:
        raise LookupError(name)
    return 1024 * int(found.split()[1])
