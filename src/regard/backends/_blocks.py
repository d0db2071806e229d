"""How `math` cuts the attention matrix, and the products in which hidden entries never meet a value."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from .._inputs import AttentionInputs
from ._philox import keep
from ._scores import visible
from ._values import all_finite, readable

# Scores of one block. Blocks that stay in the cache make n = 2,048 twice as fast as one matrix; above 32 MiB the C
# library also takes each temporary from the system and gives it back; below 1 MiB the cost of an operation shows.
BLOCK_BYTES = 4 << 20
# At least so many rows, whatever the batch: a product with fewer is no faster, and 64 rows of scores are about as
# large as the keys themselves, so memory stays linear.
LEAST_ROWS = 64
# A compiled graph is unrolled, so there the number of blocks is bounded instead of their size.
MOST_BLOCKS_IN_A_GRAPH = 16


def blocks(inputs: AttentionInputs) -> Iterator[tuple[slice, slice]]:
    """Yield rectangles (rows, columns) that together hold every visible entry, row blocks in order."""
    batch, heads, queries, keys = inputs.shape
    whole = slice(0, keys)
    look = readable(inputs.query)
    if not all(type(size) is int for size in inputs.shape):  # sizes that a graph leaves open
        yield slice(0, queries), whole
        return
    rows = max(LEAST_ROWS, BLOCK_BYTES // (inputs.query.element_size() * max(batch * heads * keys, 1)))
    if not look:
        rows = max(rows, -(-queries // MOST_BLOCKS_IN_A_GRAPH))
    for top in range(0, max(queries, 1), rows):
        part = slice(top, min(top + rows, queries))
        yield part, _reach(inputs, part) if look and rows < queries else whole


def _reach(inputs: AttentionInputs, rows: slice) -> slice:
    if inputs.spans is None or inputs.spans.start.numel() == 0:
        return slice(0, inputs.key.shape[2])
    start, stop = inputs.spans.start[..., rows], inputs.spans.stop[..., rows]
    first, last = int(start.amin()), int(stop.amax())
    return slice(min(first, last), last)


class Rows:
    """Collects row blocks of a result `(B, H, L, ...)`.

    Where that is possible they go into one tensor made beforehand: small results kept between large temporaries
    would cut the C library's heap into pieces that no later temporary fits, and memory would grow with each block.
    """

    def __init__(self, whole: Tensor | None) -> None:
        self.whole = whole
        self.parts: list[Tensor] = []

    def put(self, rows: slice, part: Tensor) -> None:
        """Add the block of `rows`; blocks come in order."""
        if self.whole is None:
            self.parts.append(part)
        else:
            self.whole[:, :, rows] = part

    def result(self) -> Tensor:
        """Return all rows."""
        if self.whole is not None:
            return self.whole
        return self.parts[0] if len(self.parts) == 1 else torch.cat(self.parts, 2)


def hides(inputs: AttentionInputs) -> bool:
    """Return whether some key may be hidden from some row."""
    parts = (inputs.spans, inputs.dense_mask, inputs.position_bias, inputs.bias)
    return any(part is not None for part in parts)


def needs_care(inputs: AttentionInputs, *read: Tensor) -> bool:
    """Return whether a hidden NaN may be near: False if nothing is hidden or all that is `read` is finite."""
    return hides(inputs) and not (readable(inputs.query) and all_finite(*read))


def seen_entries(inputs: AttentionInputs, rows: slice, columns: slice) -> Tensor:
    """Return what may be seen of a rectangle in full, `(B, H, r, c)`."""
    batch, heads, _, _ = inputs.shape
    seen = visible(inputs, rows, columns)
    if seen is None:
        seen = torch.ones((), dtype=torch.bool, device=inputs.query.device)
    return seen.expand(batch, heads, rows.stop - rows.start, columns.stop - columns.start)


def finite_part(tensor: Tensor) -> Tensor:
    """Return the tensor with zeros for NaN and infinity."""
    return torch.where(tensor.isfinite(), tensor, 0.0)


def mix(weights: Tensor, values: Tensor, seen: Tensor | None) -> Tensor:
    """Return `weights @ values`; with `seen`, an entry that is not seen has no part in it, whatever the value.

    Shapes: `(..., r, c) @ (..., c, x)`. A NaN that is seen gives NaN, an infinity gives infinity.
    """
    if seen is None:
        return weights @ values
    product = weights @ finite_part(values)
    lost, seen = values.isnan(), seen.to(values.dtype)
    up = seen @ (lost | (values == torch.inf)).to(values.dtype)
    down = seen @ (lost | (values == -torch.inf)).to(values.dtype)
    return product + torch.where(up > 0, torch.inf, 0.0) - torch.where(down > 0, torch.inf, 0.0)


def drop_factor(inputs: AttentionInputs, rows: slice, columns: slice) -> Tensor | None:
    """Return what dropout multiplies a rectangle of the weights by, 0 or `1 / (1 - p)`, or None without dropout."""
    if inputs.dropout is None:
        return None
    probability, seed = inputs.dropout
    batch, heads, _, _ = inputs.shape
    device = inputs.query.device
    head = torch.arange(batch * heads, device=device).view(batch, heads)
    row = torch.arange(rows.start, rows.stop, device=device)
    # One number of the CPU is handed to a GPU's kernels as it is.
    seed = seed if seed.device.type == "cpu" else seed.to(device)
    kept = keep(seed, head, row, columns, probability)
    return kept.to(inputs.query.dtype) / (1.0 - probability)
