"""The argument struct of the C interface (`regard_args` in csrc/regard_native.h), packed as words of eight bytes.

Every field there is a pointer, a 64-bit integer or a double, so a call is one `struct.pack` of a flat list; filling a
`ctypes.Structure` field by field took longer than a small attention.
"""

from __future__ import annotations

import struct

import torch
from torch import Tensor

from ..._inputs import AttentionInputs

Word = int | float
DTYPES = {torch.float32: 0, torch.bfloat16: 1, torch.float16: 2}
NOTHING = 0
"""A null pointer."""

# dtype parts sizes | query key value | scale softcap | spans | mask | position bias | bias | dropout seed
_CALL = "9q 12q 2d 4q 6q 2q 6q dQ"
# output | output_rest | lse | map and its cells
_RESULTS = "4q q q 3q"
# grad_output grad_lse | gradients of query key value | of the position bias | of the bias
_GRADIENTS = "5q 12q 2q 6q"
# rectangle | cells | top | row_weight values peaks indices | part_rows entropy distance received neighbours top_keys
_RECTANGLE = "4q 2q q 4q 6q"
FORWARD = struct.Struct(f"=q {_CALL} {_RESULTS}")
BACKWARD = struct.Struct(f"{FORWARD.format} {_GRADIENTS}")
INSPECTION = struct.Struct(f"{BACKWARD.format} {_RECTANGLE}")
"""The whole struct; the others are its beginning, which the library takes for a struct whose rest is zero."""

_NO_MATRIX = (0, 0, 0, 0, 0, 0)


def plain_rows(tensor: Tensor) -> Tensor:
    """Return the tensor, copied only if its last dimension is not contiguous: the others may have any strides."""
    return tensor if tensor.stride(-1) == 1 or tensor.shape[-1] == 1 else tensor.contiguous()


def address(tensor: Tensor | None) -> int:
    """Return where a tensor lies; a null pointer for None."""
    return NOTHING if tensor is None else tensor.data_ptr()


def rows(tensor: Tensor) -> tuple[int, int, int, int]:
    """Return a `regard_rows` of a 4-D tensor whose last dimension is contiguous."""
    batch, head, row, _ = tensor.stride()
    return tensor.data_ptr(), batch, head, row


def matrix(tensor: Tensor) -> tuple[int, ...]:
    """Return a `regard_matrix` of a 4-D tensor; a size of 1 is broadcast."""
    strides = (stride if size > 1 else 0 for size, stride in zip(tensor.shape, tensor.stride(), strict=True))
    return (tensor.data_ptr(), DTYPES.get(tensor.dtype, 0), *strides)


def call_words(x: AttentionInputs, parts: bool) -> tuple[list[Word], tuple[Tensor, ...]]:
    """Return the words from `dtype` to `seed`, and the tensors that must live until the library is done."""
    query, key, value = plain_rows(x.query), plain_rows(x.key), plain_rows(x.value)
    batch, heads, queries, width = query.shape
    words: list[Word] = [
        DTYPES[query.dtype], parts, batch, heads, key.shape[1], queries, key.shape[2], width, value.shape[3],
        *rows(query), *rows(key), *rows(value), x.scale, x.softcap or 0.0,
    ]  # fmt: skip
    kept: tuple[Tensor, ...] = (query, key, value)
    if x.spans is not None:
        start, stop, _ = x.spans
        if start.stride() != stop.stride() or start.stride(2) != 1:
            start, stop = start.contiguous(), stop.contiguous()
        across = (start.stride(i) if start.shape[i] > 1 else 0 for i in (0, 1))
        words += (start.data_ptr(), stop.data_ptr(), *across)
        kept += (start, stop)
    else:
        words += (0, 0, 0, 0)
    if x.dense_mask is None:
        words += _NO_MATRIX
    else:
        words += matrix(x.dense_mask)
    if x.position_bias is None:
        words += (0, 0)
    else:
        vector = x.position_bias.to(torch.float32).contiguous()
        words += (vector.data_ptr(), vector.stride(0) if vector.shape[0] > 1 else 0)
        kept += (vector,)
    if x.bias is None:
        words += _NO_MATRIX
    else:
        words += matrix(x.bias)
    words += (0.0, 0) if x.dropout is None else (x.dropout.probability, int(x.dropout.seed))
    return words, kept
