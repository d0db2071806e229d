"""What is asked of the device of a call."""

from __future__ import annotations

import functools

import torch

from ..._inputs import AttentionInputs
from ._table import Tile, tile_of

__all__ = ["processors", "tile_for"]


def tile_for(work: str, x: AttentionInputs) -> Tile:
    """Return the tile of a pass over a call."""
    width = max(x.query.shape[3], x.value.shape[3])
    return tile_of(work, _capability(x.query.device), width, x.query.element_size())


@functools.cache
def _capability(device: torch.device) -> int:
    if device.type != "cuda":
        return 0
    major, minor = torch.cuda.get_device_capability(device)
    return 10 * major + minor


@functools.cache
def processors(device: torch.device) -> int:
    """Return how many programs the device runs at a time; a few in the interpreter, so that it shares work too."""
    return torch.cuda.get_device_properties(device).multi_processor_count if device.type == "cuda" else 4
