"""`F.multi_head_attention_forward`, inside which PyTorch calls attention, or softmax where weights are asked for."""

from __future__ import annotations

import types
from collections.abc import Callable
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from ._modes import WITHIN

NAME = "multi_head_attention_forward"
Attend = Callable[..., Tensor]
Softmax = Callable[[Tensor, Tensor], Tensor]


def with_inner(args: tuple[Any, ...], settings: dict[str, Any], attend: Attend, softmax: Softmax) -> Any:
    """Run PyTorch's own function with `attend` in place of `F.scaled_dot_product_attention`.

    `softmax(scores, weights)`, both `(B, H, L, S)` or `(H, L, S)` as the caller's tensors are, gives the weights that
    are used and returned. A mode sees the whole function and nothing of what it calls, so both are exchanged in a copy
    of its namespace; the original stays as it is.
    """
    theirs: Any = F.multi_head_attention_forward
    given = {**dict(zip(theirs.__code__.co_varnames[: theirs.__code__.co_argcount], args, strict=False)), **settings}

    def of_heads(scores: Tensor, dim: int) -> Tensor:
        with WITHIN:
            weights = F.softmax(scores, dim)
        batch = () if given["query"].ndim == 2 else (-1,)
        shape = (*batch, given["num_heads"], *weights.shape[-2:])
        shown = weights.reshape(shape)
        used = softmax(scores.reshape(shape), shown)
        return weights if used is shown else used.reshape(weights.shape)

    names = {
        **F.__dict__, "scaled_dot_product_attention": attend, "softmax": of_heads,
        "has_torch_function": lambda tensors: False,
    }  # fmt: skip
    copied = types.FunctionType(theirs.__code__, names, theirs.__name__, theirs.__defaults__)
    copied.__kwdefaults__ = theirs.__kwdefaults__
    return copied(*args, **settings)
