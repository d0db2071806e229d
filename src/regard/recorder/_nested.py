"""Nested tensors: PyTorch computes them in one operation, which shows no attention; padded, they are looked at."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["padded"]


def padded(module: nn.Module, args: tuple[Any, ...], settings: dict[str, Any]) -> tuple[list[Any], dict[str, Any]]:
    """Return what one of PyTorch's layers was given, with padding that a mask hides in place of nesting."""
    nested = next(given for given in (*args, *settings.values()) if _is_nested(given))
    lengths = torch.tensor([len(one) for one in nested.unbind()], device=nested.device)
    hidden = torch.arange(int(lengths.max()), device=nested.device) >= lengths[:, None]
    name = "key_padding_mask" if isinstance(module, nn.MultiheadAttention) else "src_key_padding_mask"
    with_mask = {key: _padded(given) for key, given in settings.items()} | {name: hidden}
    return [_padded(given) for given in args], with_mask


def _is_nested(given: object) -> bool:
    return isinstance(given, Tensor) and given.is_nested


def _padded(given: Any) -> Any:
    return torch.nested.to_padded_tensor(given, 0.0) if _is_nested(given) else given
