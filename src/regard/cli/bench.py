"""`regard bench`: the speed of attention on this machine, compared with torch's own in the same process."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from statistics import median
from typing import Any

import torch
from torch.nn import functional as F

from .. import attention, explain, use_backend
from ..backends.native import BY_PARTS, LENGTHS, Fp32, Row, Work, library_info
from ..errors import BackendError


@dataclass(frozen=True)
class Bench:
    """Measure attention on this machine, alternating regard and torch's scaled_dot_product_attention.

    CPU seconds are compared, so other work on the machine disturbs little; a ratio above 1 is faster than torch.
    """

    heads: int = 8
    """Heads of the calls."""
    width: int = 64
    """Width of a head."""
    lengths: tuple[int, ...] = (128, 512, 2048)
    """Queries and keys of the calls."""
    repeats: int = 7
    """Number of measurements; the median is reported."""
    threads: int | None = None
    """Threads that torch may use; torch's default unless given."""
    json: bool = False
    """Print one JSON object, for scripts."""
    table: bool = False
    """Print this machine's row for `backends/native/_measured.py`, the table of which kernel is faster, and end."""

    def run(self) -> int:
        """Print one line a call."""
        if self.threads is not None:
            torch.set_num_threads(self.threads)
        if self.table:
            print(self._row())
            return 0
        rows = [
            self._measure(length, dtype, causal, training)
            for dtype in (torch.float32, torch.bfloat16)
            for training in (False, True)
            for causal in (False, True)
            for length in self.lengths
        ]
        if self.json:
            print(json.dumps({"threads": torch.get_num_threads(), "results": rows}))
            return 0
        print(
            f"{torch.get_num_threads()} threads, {self.heads} heads of {self.width}; more than 1 is faster than torch"
        )
        for row in rows:
            what = f"{row['dtype']:9} {row['pass']:17} {'causal' if row['causal'] else 'full':6} {row['length']:6}"
            print(f"{what}  {row['ours_ms']:9.3f} ms  torch / regard {row['ratio']:5.2f}  ({row['backend']})")
        return 0

    def _row(self) -> Row:
        found = library_info()
        if found.problem is not None or found.isa is None:
            raise BackendError(f"The native kernel cannot run here, so there is nothing to compare: {found.problem}")
        work: tuple[Work, ...] = ("forward", "training", "decoding")
        ratios = {}
        for dtype in (torch.float32, torch.bfloat16, torch.float16):
            name = str(dtype).removeprefix("torch.")
            for what in work:
                ratios[name, what] = self._ratios(dtype, what, "plain")
                if name in found.parts and what != "decoding":  # a step of a generation is never by parts
                    ratios[name + BY_PARTS, what] = self._ratios(dtype, what, "parts")
        measured = f"{date.today()}, torch {torch.__version__}, {torch.get_num_threads()} threads"
        return Row(found.processor, found.isas[0], found.isa, measured, ratios)

    def _ratios(self, dtype: torch.dtype, what: Work, fp32: Fp32) -> tuple[float, ...]:
        with use_backend("native", fp32=fp32):
            return tuple(
                round(min(self._ratio(length, dtype, what, causal) for causal in (False, True)), 2)
                for length in LENGTHS[what]
            )

    def _ratio(self, length: int, dtype: torch.dtype, what: Work, causal: bool) -> float:
        queries = 1 if what == "decoding" else length
        batch = max(1, 1024 // length)  # what a short call costs besides is not the kernel's
        measured = self._measure(length, dtype, causal and queries > 1, what == "training", batch, queries)
        return float(measured["ratio"])

    def _measure(
        self,
        length: int,
        dtype: torch.dtype,
        causal: bool,
        training: bool,
        batch: int = 1,
        queries: int | None = None,
    ) -> dict[str, Any]:
        generator = torch.Generator().manual_seed(0)
        lengths = (queries or length, length, length)
        q, k, v = (
            torch.randn((batch, self.heads, n, self.width), generator=generator).to(dtype).requires_grad_(training)
            for n in lengths
        )

        def ours() -> Any:
            return attention(q, k, v, causal=causal)

        def theirs() -> Any:
            return F.scaled_dot_product_attention(q, k, v, is_causal=causal)

        def once(call: Callable[[], Any]) -> Callable[[], None]:
            def run() -> None:
                out = call()
                if training:
                    out.sum().backward()

            return run

        seconds = by_turns(once(ours), once(theirs), self.repeats)
        return {
            "dtype": str(dtype).removeprefix("torch."),
            "pass": "forward, backward" if training else "forward",
            "causal": causal,
            "length": length,
            "ours_ms": 1000 * seconds[0],
            "theirs_ms": 1000 * seconds[1],
            "ratio": seconds[1] / seconds[0],
            "backend": explain(q, k, v, causal=causal).chosen,
        }


def by_turns(first: Callable[[], None], second: Callable[[], None], repeats: int) -> tuple[float, float]:
    """Return the median CPU seconds of two alternating calls, after a warm-up of each."""
    found: tuple[list[float], list[float]] = ([], [])
    for number in range(repeats + 1):
        for seconds, call in zip(found, (first, second), strict=True):
            start = time.process_time()
            call()
            if number:
                seconds.append(time.process_time() - start)
    return median(found[0]), median(found[1])
