"""What was measured: a row for each processor and instruction set. `regard bench --table` prints that of a machine.

A number says how many times as long PyTorch's `scaled_dot_product_attention` takes, 8 heads of 64: under 1 it is the
faster one. The lower of full and causal counts. A dtype with `BY_PARTS` behind its name is that dtype multiplied by
parts (`_products.py`). Rows of machines other than ours are welcome.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

BY_PARTS = " by parts"

Work = Literal["forward", "training", "decoding"]
LENGTHS: dict[Work, tuple[int, int, int]] = {
    "forward": (128, 512, 2048),
    "training": (128, 512, 2048),
    "decoding": (2048, 8192, 32768),
}
"""Keys of the calls measured, and as many queries; in decoding one."""


class Row(NamedTuple):
    """What was measured on one machine."""

    processor: str
    """Vendor, family and model, as `regard doctor` prints them."""
    best: str
    """The best instruction set that the processor can run."""
    isa: str
    """The one that was in use."""
    measured: str
    """Date, PyTorch, threads."""
    ratios: dict[tuple[str, Work], tuple[float, ...]]
    """By dtype and work: PyTorch's time as a multiple of ours, at `LENGTHS`."""


ROWS: tuple[Row, ...] = (
    Row(
        processor="AuthenticAMD 25 1",
        best="avx2",
        isa="avx2",
        measured="2026-11-30, torch 2.13.0+cpu, 1 threads",
        ratios={
            ("float32", "forward"): (1.02, 1.04, 1.08),
            ("float32", "training"): (1.14, 1.13, 1.17),
            ("float32", "decoding"): (0.88, 1.24, 1.16),
            ("bfloat16", "forward"): (1.2, 1.16, 1.1),
            ("bfloat16", "training"): (4.66, 6.65, 7.13),
            ("bfloat16", "decoding"): (3.29, 4.27, 5.61),
            ("float16", "forward"): (3.28, 2.73, 2.02),
            ("float16", "training"): (7.92, 10.86, 10.52),
            ("float16", "decoding"): (8.65, 11.74, 12.58),
        },
    ),
    Row(
        processor="AuthenticAMD 25 17",
        best="avx512_bf16",
        isa="avx512_bf16",
        measured="2026-11-30, torch 2.13.0+cpu, 1 threads",
        ratios={
            ("float32", "forward"): (1.26, 1.37, 1.29),
            ("float32", "training"): (1.21, 1.28, 1.3),
            ("float32", "decoding"): (0.99, 1.27, 1.34),
            ("bfloat16", "forward"): (2.24, 2.35, 2.46),
            ("bfloat16", "training"): (3.41, 2.17, 2.14),
            ("bfloat16", "decoding"): (3.53, 6.1, 7.41),
            ("float16", "forward"): (3.07, 2.72, 2.13),
            ("float16", "training"): (7.96, 10.72, 9.84),
            ("float16", "decoding"): (5.36, 8.74, 11.31),
        },
    ),
    Row(
        processor="GenuineIntel 6 207",
        best="avx512_amx",
        isa="avx512_amx",
        measured="2026-11-29, torch 2.13.0+cpu, 1 threads",
        ratios={
            ("float32", "forward"): (1.06, 1.15, 1.31),
            ("float32", "training"): (1.16, 1.14, 1.27),
            ("float32", "decoding"): (0.81, 1.07, 1.14),
            ("bfloat16", "forward"): (1.12, 1.36, 1.29),
            ("bfloat16", "training"): (4.8, 2.69, 2.53),
            ("bfloat16", "decoding"): (0.52, 0.77, 0.9),
            ("float16", "forward"): (1.28, 1.31, 1.41),
            ("float16", "training"): (3.25, 1.66, 1.75),
            ("float16", "decoding"): (1.26, 1.55, 1.52),
        },
    ),
)
