"""Nested tensors, which PyTorch's layers compute in one operation, and only where no mode is entered."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from ._modes import without_modes

FAST_PATHS: tuple[type[nn.Module], ...] = (nn.MultiheadAttention, nn.TransformerEncoderLayer, nn.TransformerEncoder)
"""Modules of PyTorch that have such an operation."""


def has_nested(args: tuple[Any, ...], settings: dict[str, Any]) -> bool:
    """Say whether a nested tensor is among what a module is given."""
    return any(_is_nested(given) for given in (*args, *settings.values()))


def padded(module: nn.Module, args: tuple[Any, ...], settings: dict[str, Any]) -> tuple[list[Any], dict[str, Any]]:
    """Return what one of `FAST_PATHS` was given, with padding that a mask hides in place of nesting.

    The fused operation exposes no attention; with padding the ordinary path runs and is caught.
    """
    nested = next(given for given in (*args, *settings.values()) if _is_nested(given))
    lengths = torch.tensor([len(one) for one in nested.unbind()], device=nested.device)
    hidden = torch.arange(int(lengths.max()), device=nested.device) >= lengths[:, None]
    name = "key_padding_mask" if isinstance(module, nn.MultiheadAttention) else "src_key_padding_mask"
    with_mask = {key: _padded(given) for key, given in settings.items()} | {name: hidden}
    return [_padded(given) for given in args], with_mask


class _Aside:
    """Takes the modes of ours off the thread while one of `FAST_PATHS` computes nested tensors."""

    def around(self, module: nn.Module, call: Callable[..., Any], /, *args: Any, **settings: Any) -> Any:
        """Call the module."""
        if not has_nested(args, settings):
            return call(*args, **settings)
        with without_modes():
            return call(*args, **settings)


ASIDE = _Aside()


def _is_nested(given: object) -> bool:
    return isinstance(given, Tensor) and given.is_nested


def _padded(given: Any) -> Any:
    return torch.nested.to_padded_tensor(given, 0.0) if _is_nested(given) else given
