"""The CPU kernels of `csrc/`, behind the contract of every backend.

`Native` is the backend; `inspect` reads the weights of a call. `available` and `library_info` say what was
loaded. The library is looked for beside this file, at the first call; `REGARD_ISA=avx2` forces a lower instruction
set, `REGARD_REQUIRE=native` makes a missing library an error, `REGARD_FP32` says how float32 is multiplied where there
are tiles.
"""

from ._backend import Native
from ._inspection import PASSES, forward_summary, inspect, summary
from ._library import LibraryInfo, available, library_info
from ._linear import LinearVisible, linear, linear_read, linear_update, why_not_linear
from ._measured import BY_PARTS, LENGTHS, Row, Work
from ._products import Fp32, ask_fp32, fp32
from ._speed import hidden_from_kernel, never_slower, why_slower

__all__ = [
    "BY_PARTS",
    "LENGTHS",
    "PASSES",
    "Fp32",
    "LibraryInfo",
    "LinearVisible",
    "Native",
    "Row",
    "Work",
    "ask_fp32",
    "available",
    "forward_summary",
    "fp32",
    "hidden_from_kernel",
    "inspect",
    "library_info",
    "linear",
    "linear_read",
    "linear_update",
    "never_slower",
    "summary",
    "why_not_linear",
    "why_slower",
]
