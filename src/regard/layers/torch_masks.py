"""The masks of PyTorch's layers as the arguments `mask` and `bias` of ours."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from .. import masks
from .._tracing import traced
from .._values import instance, size
from ..errors import DtypeError, ShapeError
from ..masks import Mask


class TorchMasks(NamedTuple):
    """The equivalents of `attn_mask` and `key_padding_mask`: the arguments `mask` and `bias` of our layers."""

    mask: Mask | None
    bias: Tensor | None


def masks_from_torch(
    attn_mask: Tensor | None = None, key_padding_mask: Tensor | None = None, *, num_heads: int = 1
) -> TorchMasks:
    """Turn PyTorch's masks, True (or -inf) where a key is hidden, into ours, True where a query may look.

    Shapes: `attn_mask` `(L, S)` or `(B · num_heads, L, S)`, `key_padding_mask` `(B, S)` or `(S,)`; bool, or floating
    to be added to the scores. A floating mask of only 0 and -inf becomes a mask, any other a bias; one that requires
    gradients, or is seen while compiling, stays a bias.

    Raises `ShapeError`, `DtypeError` and `ArgumentError`. Cost: reads each mask once.

    >>> hidden = torch.ones(3, 3, dtype=torch.bool).triu(1)
    >>> masks_from_torch(hidden).mask.to_dense(3, 3).int()[0, 0]
    tensor([[1, 0, 0],
            [1, 1, 0],
            [1, 1, 1]], dtype=torch.int32)
    """
    num_heads = size("num_heads", num_heads)
    mask: Mask | None = None
    bias: Tensor | None = None
    for name, tensor in (("attn_mask", attn_mask), ("key_padding_mask", key_padding_mask)):
        if tensor is None:
            continue
        instance(name, tensor, Tensor, "a tensor, or None")
        if tensor.dtype != torch.bool and not tensor.is_floating_point():
            raise DtypeError(f"{name} is {tensor.dtype}; give a bool tensor, True = hidden, or a floating one.")
        tensor = _four_dimensions(name, tensor, num_heads)
        part = _as_mask(tensor)
        if part is None:
            bias = tensor if bias is None else bias + tensor
        else:
            mask = part if mask is None else mask & part
    return TorchMasks(mask, bias)


def _four_dimensions(name: str, tensor: Tensor, num_heads: int) -> Tensor:
    if name == "key_padding_mask" and tensor.ndim in (1, 2):
        return tensor[..., None, None, :] if tensor.ndim == 2 else tensor[None, None, None]
    if name == "attn_mask" and tensor.ndim == 2:
        return tensor[None, None]
    if name == "attn_mask" and tensor.ndim == 3 and tensor.shape[0] % num_heads == 0:
        return tensor.reshape(tensor.shape[0] // num_heads, num_heads, *tensor.shape[1:])
    rule = "(L, S) or (B * num_heads, L, S)" if name == "attn_mask" else "(B, S) or (S,)"
    raise ShapeError(f"{name} has shape {tuple(tensor.shape)}; the rule is {rule}, with num_heads={num_heads}.")


def _as_mask(tensor: Tensor) -> Mask | None:
    """Return a 4-D tensor as a mask, or None if it is a bias."""
    if tensor.dtype == torch.bool:
        # On an accelerator, reading the mask for spans would force a synchronisation.
        return masks.recognise(~tensor) if tensor.device.type == "cpu" else masks.dense(~tensor)
    if tensor.requires_grad or traced():
        return None
    hidden = tensor == -torch.inf
    return _as_mask(hidden) if bool((hidden | (tensor == 0)).all()) else None
