"""Empty figures. Importing this does not import matplotlib."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import needed

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def sheet(width: float, height: float) -> Figure:
    """Return an empty figure of this size in inches, not registered with pyplot."""
    with needed("Pictures need matplotlib. Install it with", "view"):
        from ._sheet import Sheet
    return Sheet(figsize=(width, height), layout="constrained")
