"""Packages that only some corpora need, imported when one is asked for."""

from __future__ import annotations

import importlib
from typing import Any

from ..errors import MissingExtraError, install_line

__all__ = ["optional"]


def optional(module: str, package: str, purpose: str) -> Any:
    """Import `module`, or say which `pip install` brings it; `purpose` begins that sentence."""
    try:
        return importlib.import_module(module)
    except ImportError:
        raise MissingExtraError(f"{purpose} needs {package}: {install_line('train')}.") from None
