"""Random numbers of a run: each forward pass is seeded by (seed, step, part).

So no generator state has to be saved: a resumed run draws at each step what an uninterrupted run draws.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


def start_stream(seed: int, step: int, part: int) -> None:
    """Seed the generators of torch, NumPy and Python for one forward pass."""
    digest = hashlib.blake2b(f"{seed} {step} {part}".encode(), digest_size=8).digest()
    number = int.from_bytes(digest, "little")
    torch.manual_seed(number)
    np.random.seed(number % 2**32)
    random.seed(number)


@contextmanager
def preserved() -> Iterator[None]:
    """Restore the state of the generators at the end of the block."""
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()
    numpy_state, python_state = np.random.get_state(), random.getstate()
    with torch.random.fork_rng(devices=list(devices)):
        try:
            yield
        finally:
            np.random.set_state(numpy_state)
            random.setstate(python_state)
