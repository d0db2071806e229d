"""Looking into the weights of a call that was made: passes over query, key, mask and `lse`."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ..._inputs import KEPT_TOP, AttentionInputs, Summary
from .._compiled import empty_output
from .._masked import seen_of
from ._calls import forward
from ._library import library
from ._speed import by_parts
from ._words import INSPECTION, address, call_words
from ._words import rows as row_words

PASSES = ("lse", "tile", "pooled", "highest", "received", "entropy", "peak", "top", "summary")
MOST_TOP = 64
# Of the output and its rest.
_NO_OUTPUT = (0, 0, 0, 0, 0)
# Words between `lse` and the rectangle, which no pass here reads: the map and the gradients.
_UNREAD = (0,) * 28
# Stretches of rows of a head that the sums over rows are taken in: how many threads can share a head.
_MOST_PARTS = 16
_LEAST_ROWS = 512
# A stretch holds whole items of the forward pass.
_STRETCH = 256


def inspect(
    name: str,
    x: AttentionInputs,
    lse: Tensor | None,
    rows: slice,
    columns: slice,
    cell: tuple[int, int] = (1, 1),
    top: int = 0,
) -> tuple[Tensor, ...]:
    """Run one of `PASSES` over a rectangle, given by slices with plain bounds; no gradient.

    Returns one float32 tensor, for `peak` and `top` also the int64 indices: `tile` `(B, H, r, c)`; `pooled` (mean over
    the rows of a cell of the sum over its keys) and `highest` `(B, H, ⌈r/cell⌉, ⌈c/cell⌉)`; `received` `(B, H, c)`;
    `entropy` and `peak` `(B, H, r)`; `top` `(B, H, r, top)`. `lse` is that of every row and takes no rectangle.
    """
    if name == "lse" or lse is None:
        return (forward(x, 0)[1],)
    call, kept = call_words(x, by_parts(x.query, x.key, trains=False))
    height, width = rows.stop - rows.start, columns.stop - columns.start
    cell = min(cell[0], height), min(cell[1], width)
    down, across = -(-height // cell[0]), -(-width // cell[1])
    sides = {
        "tile": (height, width), "pooled": (down, across), "highest": (down, across), "received": (width,),
        "top": (height, top),
    }  # fmt: skip
    shape = (*x.shape[:2], *sides.get(name, (height,)))
    lse = lse.to(torch.float32).contiguous()
    values = _room(shape)
    indices = _room(shape, torch.int64) if name in ("peak", "top") else None
    peaks = _room(shape) if name == "highest" else None
    words = INSPECTION.pack(
        INSPECTION.size, *call, *_NO_OUTPUT, lse.data_ptr(), *_UNREAD,
        rows.start, height, columns.start, width, *cell, top, 0,
        values.data_ptr(), address(peaks), address(indices), 0, 0, 0, 0, 0, 0,
    )  # fmt: skip
    library().call("pooled" if name == "highest" else name, words)
    del kept
    if indices is not None:
        return values, indices
    return (values if peaks is None else peaks,)


def summary(x: AttentionInputs, lse: Tensor, cell: int) -> Summary:
    """Read every weight of a call once; `cell` divides 64 or is a multiple of it. No gradient, O(n) memory."""
    parts = by_parts(x.query, x.key, trains=False)
    return _summarised("summary", x, _NO_OUTPUT, lse.to(torch.float32).contiguous(), cell, parts)


def forward_summary(
    x: AttentionInputs, cell: int, rest: Tensor | None = None, *, parts: bool | None = None
) -> tuple[Tensor, Tensor, Summary]:
    """Return output, `lse` and `summary`: for up to 2,048 keys in one pass over the scores, which saves a third."""
    output = empty_output(x.query, x.value)
    lse = _room(x.query.shape[:3])
    if parts is None:
        parts = by_parts(x.query, x.key, trains=False)
    return output, lse, _summarised("forward_summary", x, (*row_words(output), address(rest)), lse, cell, parts)


def _summarised(
    operation: str, x: AttentionInputs, output: tuple[int, ...], lse: Tensor, cell: int, parts: bool
) -> Summary:
    call, kept = call_words(x, parts)
    batch, heads, queries, keys = x.shape
    stretch = math.lcm(_STRETCH, cell)
    part = -(-max(_LEAST_ROWS, -(-queries // _MOST_PARTS)) // stretch) * stretch
    entropy, distance = _room((2, batch, heads, queries))
    top = _room((batch, heads, queries, KEPT_TOP))
    top_keys = _room((batch, heads, queries, KEPT_TOP), torch.int32)
    cells = _room((batch, heads, -(-queries // cell), -(-keys // cell)))
    stretches = -(-queries // part)
    received = _room((batch, heads, stretches, keys), torch.float64)
    neighbours = _room((batch, heads, stretches, 3), torch.float64)
    words = INSPECTION.pack(
        INSPECTION.size, *call, *output, lse.data_ptr(), *_UNREAD,
        0, queries, 0, keys, cell, cell, 0, 0,
        cells.data_ptr(), top.data_ptr(), 0,
        part, entropy.data_ptr(), distance.data_ptr(), received.data_ptr(), neighbours.data_ptr(), top_keys.data_ptr(),
    )  # fmt: skip
    library().call(operation, words)
    del kept
    sums = (t[:, :, 0] if stretches == 1 else t.sum(2) for t in (received, neighbours))
    received, neighbours = (t.to(torch.float32) for t in sums)
    masked, visible_keys, visible_queries = seen_of(x, cell)
    # Autograd will put the graph into the `lse` that is handed out.
    return Summary(
        cell, cells, masked, entropy, distance, received, top, top_keys, neighbours, lse.detach(), visible_keys,
        visible_queries,
    )  # fmt: skip


def _room(shape: Sequence[int], dtype: torch.dtype = torch.float32) -> Tensor:
    # What the library writes to is what it expects, whatever torch's defaults are.
    return torch.empty(tuple(shape), dtype=dtype, device="cpu")
