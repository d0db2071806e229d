"""The ways by which a call of attention is caught, in one tuple."""

from __future__ import annotations

import types
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .. import masks
from .._attention import attention, explain
from ..errors import RegardError
from ..weights import AttentionWeights, from_dense
from ._grouped import grouped

__all__ = ["DOORS", "Door", "Keeper", "weights_of_output"]


class Keeper(Protocol):
    """Who keeps what the doors catch."""

    compares: bool
    """Whether the output is compared with that of PyTorch's own attention."""

    def module(self) -> nn.Module:
        """Return the module that is running."""
        ...

    def keep(self, door: str, weights: AttentionWeights, difference: float | None = None) -> None:
        """Keep the weights of a call, and how far its output is from that of PyTorch's own attention."""
        ...

    def miss(self, what: str) -> None:
        """Count a call that cannot be recorded."""
        ...


class Door(Protocol):
    """One way a call is caught: a function that PyTorch lets a mode see."""

    name: str

    def why_not(self, function: object) -> str | None:
        """Say why a function is not caught here, None if it is."""
        ...

    def run(self, function: Any, keeper: Keeper, args: tuple[Any, ...], settings: dict[str, Any]) -> Any:
        """Run the call, hand its weights over, return what it returns."""
        ...


class ScaledDotProduct:
    """`F.scaled_dot_product_attention`: on the native kernel where that serves the call, else as it is."""

    name = "scaled_dot_product_attention"

    def why_not(self, function: object) -> str | None:
        """Say why a function is not caught here."""
        return None if function is F.scaled_dot_product_attention else "another function"

    def run(self, function: Any, keeper: Keeper, args: tuple[Any, ...], settings: dict[str, Any]) -> Any:
        """Run the call."""
        return _scaled_dot_product(keeper, *args, **settings)


def _scaled_dot_product(
    keeper: Keeper,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    def own() -> Tensor:
        return F.scaled_dot_product_attention(
            query, key, value, attn_mask, dropout_p, is_causal, scale=scale, enable_gqa=enable_gqa
        )

    try:
        heads = grouped(keeper.module(), query, key, value, attn_mask)
        parts = heads.query, heads.key, heads.value
        call = _call(heads.query, heads.mask, is_causal, scale)
        served = not dropout_p and explain(*parts, **call, need_weights=True).chosen == "native"
        with nullcontext() if served else torch.no_grad():
            result: tuple[Tensor, AttentionWeights] = attention(*parts, **call, need_weights=True)
    except RegardError as error:  # shapes that PyTorch broadcasts: the model runs on, the call counts as missed
        reason = f"{ScaledDotProduct.name}: {error}"
        output = own()
        keeper.miss(reason)
        return output
    if not served:
        output = own()
        keeper.keep(ScaledDotProduct.name, result[1])
        return output
    output = result[0].reshape(*query.shape[:3], value.shape[-1]) if heads.packed else result[0]
    keeper.keep(ScaledDotProduct.name, result[1], _difference(output, own) if keeper.compares else None)
    return output


def _call(query: Tensor, mask: Tensor | None, is_causal: bool, scale: float | None) -> dict[str, Any]:
    call: dict[str, Any] = {"scale": scale}
    if is_causal:
        call["mask"] = masks.causal(offset=0)
    elif mask is not None and mask.dtype == torch.bool:
        call["mask"] = masks.recognise(mask)
    elif mask is not None:
        call["bias"] = mask if mask.dtype in (query.dtype, torch.float32) else mask.to(query.dtype)
    return call


def _difference(output: Tensor, own: Callable[[], Tensor]) -> float:
    with torch.no_grad():
        apart = (own() - output).nan_to_num().abs()
    return float(apart.amax()) if apart.numel() else 0.0


class MultiHead:
    """`F.multi_head_attention_forward`: the call inside is caught where no weights are asked for, else its weights."""

    name = "multi_head_attention_forward"

    def why_not(self, function: object) -> str | None:
        """Say why a function is not caught here."""
        return None if function is F.multi_head_attention_forward else "another function"

    def run(self, function: Any, keeper: Keeper, args: tuple[Any, ...], settings: dict[str, Any]) -> Any:
        """Run PyTorch's own function with another attention inside; the original stays as it is."""

        def inner(*given: Any, **options: Any) -> Tensor:
            return _scaled_dot_product(keeper, *given, **options)

        names = {**F.__dict__, "scaled_dot_product_attention": inner, "has_torch_function": lambda tensors: False}
        copied = types.FunctionType(function.__code__, names, function.__name__, function.__defaults__)
        copied.__kwdefaults__ = function.__kwdefaults__
        names_of = function.__code__.co_varnames[: function.__code__.co_argcount]
        call = {**dict(zip(names_of, args, strict=False)), **settings}
        average = call.get("average_attn_weights", True)
        output, weights = copied(**{**call, "average_attn_weights": False})
        if weights is None:
            return output, None
        keeper.keep(self.name, from_dense(weights.detach()))
        return output, weights.mean(-3) if average else weights


class Own:
    """`regard.attention` and the layers that call it."""

    name = "regard.attention"

    def why_not(self, function: object) -> str | None:
        """Say why a function is not caught here."""
        return None if function is attention else "another function"

    def run(self, function: Any, keeper: Keeper, args: tuple[Any, ...], settings: dict[str, Any]) -> Any:
        """Run the call with its weights, which changes no bit of the output."""
        wanted = settings.pop("need_weights", False)
        output, weights = attention(*args, **settings, need_weights=True)
        keeper.keep(self.name, weights)
        return (output, weights) if wanted else output


DOORS: tuple[Door, ...] = (ScaledDotProduct(), MultiHead(), Own())


def weights_of_output(output: object) -> AttentionWeights | None:
    """Return the weights `(B, H, L, S)` in what an eager attention module returned, `(out, weights, ...)`, or None."""
    if not isinstance(output, tuple) or len(output) < 2:
        return None
    out, weights = output[0], output[1]
    if not isinstance(out, Tensor) or not isinstance(weights, Tensor) or weights.ndim != 4 or out.ndim < 3:
        return None
    if not weights.is_floating_point() or weights.shape[0] != out.shape[0] or weights.shape[2] != out.shape[1]:
        return None
    return from_dense(weights.detach())
