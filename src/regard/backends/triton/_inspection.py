"""Looking into the weights of a call that was made: room for the answers, and the kernels that fill them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..._inputs import KEPT_TOP, AttentionInputs, Summary
from .._cells import cell_sizes, in_cells
from .._contract import FAR
from .._masked import seen_of
from ._call import describe, widths
from ._device import tile_for
from ._forward import forward
from ._launch import launch
from .kernels import inspection as kernels

# Keys that one program goes through, where it writes something for each of them.
_CHUNK = 2048
_BY_ROW = ("entropy", "peak", "top", "summary")


def inspect(
    name: str,
    x: AttentionInputs,
    lse: Tensor | None,
    rows: slice,
    columns: slice,
    cell: tuple[int, int] = (1, 1),
    count: int = 0,
) -> tuple[Tensor, ...]:
    """Run a pass over a rectangle; shapes as in the contract, float32, for "peak" and "top" also int64 keys."""
    if name == "lse" or lse is None:
        return (forward(x, 0)[1],)
    pass_ = _Pass(name, x, lse)
    edges = rows.start, rows.stop, columns.start, columns.stop
    height, width = rows.stop - rows.start, columns.stop - columns.start
    if name == "tile":
        out = pass_.room(height, width)
        programs = -(-height // pass_.tile.rows) * -(-width // _CHUNK)
        pass_.run(kernels.tile, programs, out, *edges, _CHUNK)
    elif name in ("pooled", "highest"):
        out = pass_.cells(name == "highest", edges, (min(cell[0], height), min(cell[1], width)))
    elif name == "received":
        out = pass_.room(width)
        pass_.run(kernels.received, -(-width // pass_.tile.keys), out, *edges)
    elif name == "entropy":
        out = pass_.room(height)
        pass_.run(kernels.entropy, -(-height // pass_.tile.rows), out, *edges)
    else:
        count = 1 if name == "peak" else count
        out, keys = pass_.room(height, count), pass_.room(height, count, dtype=torch.int64)
        if count:
            pass_.run(kernels.top, -(-height // pass_.tile.rows), out, keys, *edges, count, K=_power(count))
        return (out[..., 0], keys[..., 0]) if name == "peak" else (out, keys)
    return (out,)


def summary(x: AttentionInputs, lse: Tensor, cell: int) -> Summary:
    """Look once at every weight of a call; `cell` is a power of two. No gradient, O(n) memory."""
    pass_ = _Pass("summary", x, lse)
    batch, heads, queries, keys = x.shape
    group = max(cell, pass_.tile.rows)
    # What is seen by nobody is not visited.
    sums = pass_.room(-(-queries // cell), keys).zero_()
    entropy, distance = pass_.room(queries), pass_.room(queries)
    neighbours = torch.empty(3, batch, heads, queries, dtype=torch.float32, device=x.query.device)
    top, top_keys = pass_.room(queries, KEPT_TOP), pass_.room(queries, KEPT_TOP, dtype=torch.int32)
    pass_.run(
        kernels.summary, -(-queries // group), sums, entropy, distance, neighbours, top, top_keys, cell,
        GROUP=group, NR=group // cell, K=KEPT_TOP,
    )  # fmt: skip
    cells = in_cells(sums, (1, cell), torch.sum) / cell_sizes(queries, cell, sums.device)[:, None]
    masked, visible_keys, visible_queries = seen_of(x, cell)
    return Summary(
        cell, cells, masked, entropy, distance, sums.sum(2), top, top_keys, neighbours.sum(-1).movedim(0, -1),
        lse.detach(), visible_keys, visible_queries,
    )  # fmt: skip


class _Pass:
    """One call as every pass takes it."""

    def __init__(self, name: str, x: AttentionInputs, lse: Tensor) -> None:
        self.x, self.call, self.sizes = x, describe(x), widths(x)
        self.tile = tile_for("by row" if name in _BY_ROW else "inspection", x)
        self.norm = self.room(x.shape[2], 2)
        # With a sink in the sum, `lse` is all there is.
        far = 0.0 if x.sinks is not None else FAR
        known = lse.detach().to(torch.float32).contiguous()
        self._launch(kernels.norms, -(-x.shape[2] // self.tile.rows), known, self.norm, FAR=far)

    def room(self, *sizes: int, dtype: torch.dtype = torch.float32) -> Tensor:
        """Return memory for an answer of each matrix."""
        return torch.empty(*self.x.shape[:2], *sizes, dtype=dtype, device=self.x.query.device)

    def run(self, kernel: object, programs: int, *arguments: object, **constants: Any) -> None:
        """Run a kernel with so many programs a matrix."""
        self._launch(kernel, programs, self.norm, *arguments, **constants)

    def _launch(self, kernel: object, programs: int, *arguments: object, **constants: Any) -> None:
        matrices = self.x.shape[0] * self.x.shape[1]
        sizes = {"E": self.sizes["E"], "BE": self.sizes["BE"], "BM": self.tile.rows, "BN": self.tile.keys}
        launch(kernel, matrices * programs, self.call, *arguments, tile=self.tile, **constants, **sizes)

    def cells(self, peak: bool, edges: Sequence[int], cell: tuple[int, int]) -> Tensor:
        """Return sums or maxima of cells. Powers of two share tiles; other cells have each its own line of tiles."""
        top, bottom, left, right = edges
        down, across = -(-(bottom - top) // cell[0]), -(-(right - left) // cell[1])
        regular = all(side & (side - 1) == 0 for side in cell)
        lines = max(1, self.tile.rows // cell[0]) if regular else 1
        per = max(1, self.tile.keys // cell[1])
        groups = max(1, _CHUNK // (per * cell[1]))
        out = self.room(down, across)
        self.run(
            kernels.cells, -(-down // lines) * -(-across // (groups * per)), out, *edges, *cell, groups,
            PEAK=peak, REGULAR=regular, NR=lines, NC=_power(per), PER=per,
        )  # fmt: skip
        return out


def _power(size: int) -> int:
    return 1 << (size - 1).bit_length()
