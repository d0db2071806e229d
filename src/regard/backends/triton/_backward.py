"""The backward pass of one call: what rows share, then each gradient by a kernel of its own."""

from __future__ import annotations

import torch
from torch import Tensor

from ..._inputs import AttentionInputs
from ._bias import bias_gradient, position_gradient
from ._call import describe, plain_rows, strides_of, widths
from ._device import tile_for
from ._launch import launch
from .kernels.gradients import key_gradients, prepare, query_gradient


def backward(
    x: AttentionInputs,
    output: Tensor,
    lse: Tensor,
    grad_output: Tensor,
    grad_lse: Tensor | None,
    needed: tuple[bool, bool],
    rest: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor | None, Tensor | None]:
    """Return the gradients of query, key, value, and of position bias and bias where `needed`.

    `rest` is that of the forward pass; it lies as the output does.
    """
    call, sizes = describe(x), widths(x)
    batch, heads, queries, keys = x.shape
    output, grad_output, lse = plain_rows(output), plain_rows(grad_output), lse.contiguous()
    if rest is not None and rest.stride() != output.stride():
        rest = torch.empty_strided(output.shape, output.stride(), dtype=rest.dtype, device=rest.device).copy_(rest)
    items = batch * heads
    of_query, of_key, of_value = (torch.empty_like(tensor) for tensor in call[:3])
    tile = tile_for("backward", x)
    sizes |= {"BM": tile.rows, "BN": tile.keys}
    tiles = -(-queries // tile.rows)
    stats = lse.new_empty((items, 3, queries))
    reached = torch.empty((items, tiles, 4), dtype=torch.int32, device=lse.device)
    given = grad_output, strides_of(grad_output)
    launch(
        prepare, items * tiles, call, output, strides_of(output), rest, lse, *given,
        None if grad_lse is None else grad_lse.to(torch.float32).contiguous(), stats, reached, tile=tile, **sizes,
    )  # fmt: skip
    launch(
        key_gradients, batch * x.key.shape[1] * -(-keys // tile.keys), call, *given, stats, reached,
        of_key, strides_of(of_key), of_value, strides_of(of_value), tile=tile, **sizes,
    )  # fmt: skip
    # Whose gradients a program sums has the larger side of the tile, keys above and queries here.
    sizes |= {"BM": tile.keys, "BN": tile.rows}
    launch(
        query_gradient, items * -(-queries // tile.keys), call, *given, stats, of_query, strides_of(of_query),
        tile=tile, **sizes,
    )  # fmt: skip
    of_position = position_gradient(x, call, given, stats) if needed[0] else None
    return of_query, of_key, of_value, of_position, bias_gradient(x, call, given, stats) if needed[1] else None
