"""The one place that imports `transformers`, when it is needed."""

from __future__ import annotations

import importlib
from typing import Any

from ...errors import MissingExtraError, install_line

_loaded: dict[str, Any] = {}


def hugging_face(module: str = "") -> Any:
    """Import `transformers`, or a module of it; raises `MissingExtraError` where it is not installed."""
    if module not in _loaded:  # a compiler can follow this, and not an import
        _loaded[module] = _imported(module)
    return _loaded[module]


def _imported(module: str) -> Any:
    try:
        return importlib.import_module(f"transformers.{module}" if module else "transformers")
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] != "transformers":
            raise
        raise MissingExtraError(
            "regard.integrations.transformers needs the package transformers, which the base install leaves out. "
            f"Install it with {install_line('hf')}."
        ) from None
