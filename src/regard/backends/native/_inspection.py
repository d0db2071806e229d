"""Looking into the weights of a call that was made: passes over query, key, mask and `lse`."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from ..._inputs import AttentionInputs
from ._calls import forward
from ._library import library
from ._words import INSPECTION, call_words

__all__ = ["MOST_TOP", "PASSES", "inspect", "with_factor"]

PASSES = ("lse", "tile", "pooled", "highest", "received", "entropy", "peak", "top")
MOST_TOP = 64
# Words between `lse` and the rectangle, which no pass here reads: the map and the gradients.
_UNREAD = (0,) * 28


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
    call, kept = call_words(x)
    height, width = rows.stop - rows.start, columns.stop - columns.start
    down, across = -(-height // cell[0]), -(-width // cell[1])
    sides = {
        "tile": (height, width), "pooled": (down, across), "highest": (down, across), "received": (width,),
        "top": (height, top),
    }  # fmt: skip
    shape = (*x.shape[:2], *sides.get(name, (height,)))
    lse = lse.to(torch.float32).contiguous()
    values = torch.empty(shape, dtype=torch.float32)
    indices = torch.empty(shape, dtype=torch.int64) if name in ("peak", "top") else None
    peaks = torch.empty(shape, dtype=torch.float32) if name == "highest" else None
    words = INSPECTION.pack(
        INSPECTION.size, *call, 0, 0, 0, 0, lse.data_ptr(), *_UNREAD,
        rows.start, height, columns.start, width, *cell, top, 0,
        values.data_ptr(), 0 if peaks is None else peaks.data_ptr(), 0 if indices is None else indices.data_ptr(),
    )  # fmt: skip
    library().call("pooled" if name == "highest" else name, words)
    del kept
    if indices is not None:
        return values, indices
    return (values if peaks is None else peaks,)


def with_factor(x: AttentionInputs, log_factor: Tensor | None) -> AttentionInputs:
    """Return the call with the natural log of a factor on each key's weights, `(B, H, S)`, as a bias."""
    return x if log_factor is None else replace(x, bias=log_factor[:, :, None].to(torch.float32))
