"""Compiled code runs uncompiled while anything is watched: nothing can be seen inside a graph."""

from __future__ import annotations

import sys
import threading
from typing import Any

import torch

__all__ = ["Uncompiled"]


class Uncompiled:
    """Switches the compiler off inside a block. Its stance is one for the process, so blocks are counted."""

    _lock = threading.Lock()
    _inside = 0
    _stance: Any = None

    def __enter__(self) -> None:
        """Begin; without the compiler's package nothing is compiled."""
        with Uncompiled._lock:
            Uncompiled._inside += 1
            if Uncompiled._stance is None and "torch._dynamo" in sys.modules:
                Uncompiled._stance = torch.compiler.set_stance("force_eager")

    def __exit__(self, *error: object) -> None:
        """End; the last of several blocks gives back the stance that the first one found."""
        with Uncompiled._lock:
            Uncompiled._inside -= 1
            if not Uncompiled._inside and Uncompiled._stance is not None:
                stance, Uncompiled._stance = Uncompiled._stance, None
                stance.__exit__(None, None, None)
