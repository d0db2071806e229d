"""`python -m tests.triton.looks CAPABILITY`: registers and spills of each pass of inspection, as one line of JSON.

It must run without TRITON_INTERPRET, in which there is nothing to compile.
"""

from __future__ import annotations

import json
import sys
from typing import Any
from unittest.mock import patch

import torch

from regard._attention import _prepare
from regard.backends.triton import _device, _inspection
from regard.backends.triton._table import Tile

from .ahead import Launch, built, compiled

_PASSES = ("tile", "pooled", "highest", "received", "entropy", "top")


def looks(capability: int, width: int, dtype: torch.dtype) -> dict[str, Any]:
    """Compile every pass over a causal call; nothing runs."""
    query = torch.randn(1, 2, 128, width, dtype=dtype)
    x = _prepare(query, query, query, True, {"causal": True})[0]
    lse, whole, found = torch.zeros(1, 2, 128), slice(0, 128), {}

    def note(kernel: Any, programs: int, *arguments: Any, tile: Tile, **sizes: Any) -> None:
        name = kernel.fn.__name__ + ("" if sizes.get("REGULAR", True) else " of odd sides")
        if name not in found:
            found[name] = built(compiled(Launch(kernel, arguments, sizes, tile), capability))

    with patch.object(_inspection, "launch", note), patch.object(_device, "_capability", lambda device: capability):
        for name in _PASSES:
            _inspection.inspect(name, x, lse, whole, whole, (16, 16), 64)
        _inspection.inspect("pooled", x, lse, whole, whole, (7, 7))
        _inspection.summary(x, lse, 16)
    return found


if __name__ == "__main__":
    calls = ((64, torch.bfloat16), (256, torch.float16), (128, torch.float32))
    print(json.dumps([looks(int(sys.argv[1]), *call) for call in calls]))
