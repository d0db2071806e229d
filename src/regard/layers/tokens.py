"""The check of a layer's input: tokens of the right width, in the dtype of the layer's weights."""

from __future__ import annotations

import torch
from torch import Tensor

from .._tracing import jit_traced, sizes
from .._values import tensor
from ..errors import DtypeError, ShapeError


def check_tokens(
    owner: object, name: str, x: Tensor, argument: str = "", size: int | None = None, weight: Tensor | None = None
) -> None:
    """Raise `ShapeError` unless `x` is `(..., tokens, size)`, `DtypeError` unless it has the dtype of the weight.

    `argument` is the name of the caller's argument for that size, as in `embed_dim`; without a size any is accepted.
    """
    # A layer asks three times, and nearly always all is well.
    if weight is not None and type(x) is Tensor and x.dtype == weight.dtype and not jit_traced():
        shape = x.shape
        if len(shape) >= 2 and shape[-1] == size:
            return
    kind = type(owner).__name__
    if tensor(name, x).ndim < 2 or (size is not None and sizes(x)[-1] != size):
        known = "" if size is None else f" with {argument}={size}, batch first"
        raise ShapeError(
            f"{kind} was given {name} of shape {tuple(x.shape)}; the rule is (..., tokens, {argument}){known}."
        )
    cast = not x.is_meta and torch.is_autocast_enabled(x.device.type)
    if weight is not None and x.dtype != weight.dtype and not cast:
        raise DtypeError(
            f"{kind} was given {name} as {x.dtype} and its weights are {weight.dtype}; convert one, or run under "
            "torch.autocast."
        )
