"""Packages that only some corpora need, imported on use."""

from __future__ import annotations

import importlib
from typing import Any

from ..errors import MissingExtraError, install_line

__all__ = ["optional"]


def optional(module: str, package: str, purpose: str) -> Any:
    """Import `module`, or raise an error with the `pip install` that provides it; `purpose` begins the message."""
    try:
        return importlib.import_module(module)
    except ImportError:
        raise MissingExtraError(f"{purpose} needs {package}: {install_line('train')}.") from None
