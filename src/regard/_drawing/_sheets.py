"""Empty figures. Importing this does not import matplotlib."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import MissingExtraError, install_line

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["sheet"]


def sheet(width: float, height: float) -> Figure:
    """Return an empty figure of this size in inches, not registered with pyplot."""
    try:
        from ._sheet import Sheet
    except ModuleNotFoundError:
        raise MissingExtraError(f"Pictures need matplotlib. Install it with {install_line('view')}.") from None
    return Sheet(figsize=(width, height), layout="constrained")
