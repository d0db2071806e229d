"""The CPU kernels of `csrc/`, behind the contract of every backend.

`Native` is the backend; `inspect` looks into the weights of a call. `available` and `library_info` say what was
loaded. The library is looked for beside this file, at the first call; `REGARD_ISA=avx2` forces a lower instruction
set, `REGARD_REQUIRE=native` makes a missing library an error.
"""

from ._backend import Native, cannot_inspect
from ._inspection import (
    LINKS,
    MOST_TOP,
    PASSES,
    CallSummary,
    forward_summary,
    inspect,
    summary,
    summary_cell,
    with_factor,
)
from ._library import LibraryInfo, available, library_info
from ._measured import LENGTHS, Row, Work
from ._speed import hidden_from_kernel, why_slower

__all__ = [
    "LENGTHS",
    "LINKS",
    "MOST_TOP",
    "PASSES",
    "CallSummary",
    "LibraryInfo",
    "Native",
    "Row",
    "Work",
    "available",
    "cannot_inspect",
    "forward_summary",
    "hidden_from_kernel",
    "inspect",
    "library_info",
    "summary",
    "summary_cell",
    "why_slower",
    "with_factor",
]
