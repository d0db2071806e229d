"""The CPU kernels of `csrc/`, behind the contract of every backend.

`Native` is the backend; `inspect` looks into the weights of a call. `available` and `library_info` say what was
loaded. The library is looked for beside this file, at the first call; `REGARD_ISA=avx2` forces a lower instruction
set, `REGARD_REQUIRE=native` makes a missing library an error.
"""

from ._backend import Native
from ._inspection import PASSES, forward_summary, inspect, summary
from ._library import LibraryInfo, available, library_info

__all__ = [
    "PASSES",
    "LibraryInfo",
    "Native",
    "available",
    "forward_summary",
    "inspect",
    "library_info",
    "summary",
]
