"""What is asked of the device of a call."""

from __future__ import annotations

import functools

import torch

from ..._inputs import AttentionInputs
from ._table import WIDEST, Tile, tile_of


def tile_for(work: str, x: AttentionInputs) -> Tile:
    """Return the tile of a pass over a call."""
    width = max(x.query.shape[3], x.value.shape[3])
    if any(part is not None for part in (x.bias, x.position_bias, x.softcap, x.dropout)):
        width *= 2  # what else is done to scores takes registers as a wider head does
    return tile_of(work, capability(x.query.device), min(width, WIDEST), x.query.element_size())


def capability(device: torch.device) -> int:
    """Return what the table of tiles calls the device: ten times its compute capability, 0 for the interpreter."""
    return _asked(device)


# While a graph is compiled the answer is a constant.
capability._dynamo_marked_constant = True  # type: ignore[attr-defined]


@functools.cache
def _asked(device: torch.device) -> int:
    if device.type != "cuda":
        return 0
    if torch.version.hip is not None:
        return 1
    major, minor = torch.cuda.get_device_capability(device)
    return 10 * major + minor


@functools.cache
def processors(device: torch.device) -> int:
    """Return how many programs the device runs at a time; a few in the interpreter, so that it shares work too."""
    return torch.cuda.get_device_properties(device).multi_processor_count if device.type == "cuda" else 4
