"""The ways by which a call of attention is caught, in one tuple."""

from __future__ import annotations

import functools
import types
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Literal, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .. import masks
from .._attention import attention
from ..backends import asked_for
from ..errors import BackendError, RegardError
from ..integrations import sink_attention
from ..weights import AttentionWeights, consumed_at_once, kept
from ._call_mask import CallMasks
from ._grouped import grouped
from ._returned import weights_of_softmax

__all__ = ["DOORS", "Door", "Keeper", "door_of"]

_masks = CallMasks()
# Ours, and PyTorch's own kernel, which hands out `lse` with the output, so that nothing is computed twice.
_SERVE = ("native", "fused")


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

    def needs(self) -> Literal[True, "summary"]:
        """Return what to ask of the call that the running module makes, as `need_weights`."""
        ...

    def miss(self, what: str) -> None:
        """Count a call that cannot be recorded."""
        ...

    def softmax(self, scores: Tensor, weights: Tensor) -> None:
        """Note what the running module gave to softmax, until it is seen what the module returns."""
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
    """`F.scaled_dot_product_attention`: on the native kernel where that serves the call, else on PyTorch's own."""

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
        call, same = _call(heads.query, heads.mask, is_causal, scale)
        call["need_weights"] = keeper.needs()
        with consumed_at_once():
            served, result = _attend(parts, call, same and not dropout_p)
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


def _attend(
    parts: tuple[Tensor, ...], call: dict[str, Any], same: bool
) -> tuple[bool, tuple[Tensor, AttentionWeights]]:
    """Return whether the output may take the place of PyTorch's own; output and weights, else without gradient."""
    for name in _SERVE if same else ():
        if asked_for() in (None, name):
            with suppress(BackendError):  # cheaper than asking every backend first
                return True, attention(*parts, **call, backend=name)
    with torch.no_grad():
        return False, attention(*parts, **call)


def _difference(output: Tensor, own: Callable[[], Tensor]) -> float:
    with torch.no_grad():
        apart = (own() - output).nan_to_num().abs()
    return float(apart.amax()) if apart.numel() else 0.0


def _call(query: Tensor, mask: Tensor | None, is_causal: bool, scale: float | None) -> tuple[dict[str, Any], bool]:
    """Return a call in our words, and whether its output would be PyTorch's to rounding."""
    call: dict[str, Any] = {"scale": scale}
    if is_causal:
        call["mask"] = masks.causal(offset=0)
    elif mask is not None:
        read = _masks.read(mask)
        call["mask"], bias = read.mask, read.bias
        if bias is not None:
            call["bias"] = bias if bias.dtype in (query.dtype, torch.float32) else bias.to(query.dtype)
        if read.spreads:
            return call, False
    return call, True


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

        found: list[tuple[Tensor, Tensor]] = []

        def softmax(scores: Tensor, dim: int) -> Tensor:
            weights = F.softmax(scores, dim)
            found.append((scores, weights))  # dropout comes after
            return weights

        names = {
            **F.__dict__, "scaled_dot_product_attention": inner, "softmax": softmax,
            "has_torch_function": lambda tensors: False,
        }  # fmt: skip
        copied = types.FunctionType(function.__code__, names, function.__name__, function.__defaults__)
        copied.__kwdefaults__ = function.__kwdefaults__
        names_of = function.__code__.co_varnames[: function.__code__.co_argcount]
        call = {**dict(zip(names_of, args, strict=False)), **settings}
        average = call.get("average_attn_weights", True)
        output, weights = copied(**{**call, "average_attn_weights": False})
        if weights is None:
            return output, None
        scores, before = (tensor.reshape(weights.shape) for tensor in found[-1])
        with torch.no_grad():
            keeper.keep(self.name, weights_of_softmax(scores, before))
        return output, weights.mean(-3) if average else weights


class Own:
    """`regard.attention` and the layers that call it, with sinks or without."""

    name = "regard.attention"

    def why_not(self, function: object) -> str | None:
        """Say why a function is not caught here."""
        return None if function is attention or function is sink_attention else "another function"

    def run(self, function: Any, keeper: Keeper, args: tuple[Any, ...], settings: dict[str, Any]) -> Any:
        """Run the call with its weights, which changes no bit of the output."""
        if function is sink_attention:
            with consumed_at_once():
                output, weights = sink_attention(*args, **settings)
            keeper.keep(self.name, weights)
            return output, kept(weights)
        wanted = settings.pop("need_weights", False)
        asked = wanted if wanted == "summary" else keeper.needs()
        with consumed_at_once():
            output, weights = attention(*args, **settings, need_weights=asked)
        keeper.keep(self.name, weights)
        return (output, kept(weights)) if wanted else output


class Softmax:
    """`softmax` over the keys in a module that is named after attention: its own code, whatever the scores are."""

    name = "softmax"

    def why_not(self, function: object) -> str | None:
        """Say why a function is not caught here."""
        known = function is F.softmax or function is torch.softmax or function is Tensor.softmax
        return None if known else "another function"

    def run(self, function: Any, keeper: Keeper, args: tuple[Any, ...], settings: dict[str, Any]) -> Any:
        """Run it as it is; the keeper decides when the module returns."""
        weights = function(*args, **settings)
        dim = args[1] if len(args) > 1 else settings.get("dim")
        if weights.ndim == 4 and dim in (-1, 3):
            keeper.softmax(args[0] if args else settings["input"], weights)
        return weights


DOORS: tuple[Door, ...] = (ScaledDotProduct(), MultiHead(), Own(), Softmax())


@functools.lru_cache(maxsize=4096)
def door_of(function: object) -> Door | None:
    """Return the door that catches a function, None if none does."""
    return next((door for door in DOORS if door.why_not(function) is None), None)
