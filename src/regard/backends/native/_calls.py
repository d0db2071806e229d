"""Forward and backward of one call, as plain functions on tensors: what the graph node and the operator both run."""

from __future__ import annotations

import torch
from torch import Tensor

from ..._inputs import AttentionInputs
from .._compiled import empty_output
from ._library import library
from ._speed import by_parts
from ._words import BACKWARD, FORWARD, address, call_words, matrix, plain_rows, rows

# A map of the weights has at most this many cells a side: 16 MiB a head at most, whatever the length. A viewer's
# coarse tiles come from it, so finer cells than needed for one picture pay.
_MOST_CELLS = 2048


def map_cell(queries: int, keys: int) -> int:
    """Return the tokens per side of a cell of the map that a call keeps."""
    cell = 64
    while cell * _MOST_CELLS < max(queries, keys):
        cell *= 2
    return cell


def forward(
    x: AttentionInputs, cell: int, rest: Tensor | None = None, *, parts: bool | None = None
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Return output, `lse`, and the map with cells of `cell` tokens, or None if that is 0; fills `rest`.

    `parts`: whether numbers may be multiplied by parts; None: as the setting and the table say.
    """
    call, kept = call_words(x, by_parts(x.query, x.key, trains=False) if parts is None else parts)
    query = x.query
    batch, heads, queries, keys = x.shape
    output = empty_output(query, x.value)
    lse = query.new_empty((batch, heads, queries), dtype=torch.float32)
    found = None
    if cell:
        found = query.new_empty((batch, heads, -(-queries // cell), -(-keys // cell)), dtype=torch.float32)
    words = FORWARD.pack(FORWARD.size, *call, *rows(output), address(rest), lse.data_ptr(), address(found), cell, cell)
    library().call("forward", words)
    del kept
    return output, lse, found


def backward(
    x: AttentionInputs,
    output: Tensor,
    lse: Tensor,
    grad_output: Tensor,
    grad_lse: Tensor | None,
    needed: tuple[bool, bool],
    rest: Tensor | None = None,
    *,
    parts: bool | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor | None, Tensor | None]:
    """Return the gradients of query, key, value, and of position bias and bias where `needed`.

    `rest` is that of the forward pass; it lies as the output does. `parts` as in `forward`.
    """
    call, kept = call_words(x, by_parts(x.query, x.key, trains=True) if parts is None else parts)
    output, grad_output, lse = plain_rows(output), plain_rows(grad_output), lse.contiguous()
    if rest is not None and rest.stride() != output.stride():
        rest = torch.empty_strided(output.shape, output.stride(), dtype=rest.dtype, device="cpu").copy_(rest)
    of_inputs = tuple(torch.empty_like(t) for t in kept[:3])
    if grad_lse is not None:
        grad_lse = grad_lse.contiguous()
    of_position = of_bias = None
    position_words: tuple[int, ...] = (0, 0)
    bias_words: tuple[int, ...] = (0,) * 6
    if needed[0] and x.position_bias is not None:
        of_position = torch.empty(x.position_bias.shape, dtype=torch.float32, device="cpu")
        position_words = (of_position.data_ptr(), of_position.stride(0) if of_position.shape[0] > 1 else 0)
    if needed[1] and x.bias is not None:
        of_bias = torch.empty(x.shape, dtype=torch.float32, device="cpu")
        bias_words = matrix(of_bias)
    words = BACKWARD.pack(
        BACKWARD.size, *call, *rows(output), address(rest), lse.data_ptr(), 0, 0, 0,
        *rows(grad_output), address(grad_lse),
        *(word for gradient in of_inputs for word in rows(gradient)), *position_words, *bias_words,
    )  # fmt: skip
    library().call("backward", words)
    del kept
    if of_position is not None and x.position_bias is not None:
        of_position = of_position.to(x.position_bias.dtype)
    if of_bias is not None and x.bias is not None:
        of_bias = of_bias.sum_to_size(x.bias.shape).to(x.bias.dtype)
    return of_inputs[0], of_inputs[1], of_inputs[2], of_position, of_bias
