"""The type of a source: a path or several."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

__all__ = ["Source", "as_paths"]

Source = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]


def as_paths(source: Source) -> tuple[Path, ...]:
    """Return the paths of a source as a tuple."""
    if isinstance(source, str | os.PathLike):
        return (Path(source),)
    return tuple(Path(one) for one in source)
