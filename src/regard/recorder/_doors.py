"""The ways by which a call of attention is caught, in one tuple."""

from __future__ import annotations

import functools
import types
from collections.abc import Callable, Iterable
from typing import Any, Literal, NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._python_dispatch import is_traceable_wrapper_subclass

from .. import masks
from .._attention import attention
from .._tracing import jit_traced, transformed
from ..backends import asked_for, fastest
from ..errors import BackendError, KernelError, RegardError, TooLargeError
from ..integrations import sink_attention
from ..weights import AttentionWeights, consumed_at_once, kept
from ._call_mask import CallMasks
from ._grouped import grouped
from ._returned import weights_of_softmax

__all__ = ["DOORS", "Door", "Keeper", "door_of", "untouched"]

_masks = CallMasks()
_PLAIN = (Tensor, nn.Parameter)


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

    def aside(self) -> bool:
        """Say whether the output must be PyTorch's own, because it may be computed again where nothing is watched."""
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


def untouched(tensors: Iterable[Any]) -> str | None:
    """Say why the numbers of a call cannot be looked at, None if they can; it then runs as it is."""
    proxies = torch._C._get_dispatch_mode(torch._C._TorchDispatchModeKey.PROXY) is not None
    if torch.compiler.is_compiling() or transformed() or jit_traced() or proxies:
        return "traced or transformed code"
    for tensor in tensors:
        if isinstance(tensor, torch.fx.Proxy):
            return "traced or transformed code"
        if not isinstance(tensor, Tensor):
            continue
        if tensor.is_nested or tensor.layout != torch.strided:
            return "nested or sparse tensors"
        if tensor.is_meta:
            return "tensors without numbers"
        if is_traceable_wrapper_subclass(tensor) or type(tensor).__torch_dispatch__ is not Tensor.__torch_dispatch__:
            return f"{type(tensor).__name__}, which computes in its own way"
    return None


class ScaledDotProduct:
    """`F.scaled_dot_product_attention`: on the native kernel where that serves the call, else on PyTorch's own."""

    name = "scaled_dot_product_attention"

    def why_not(self, function: object) -> str | None:
        """Say why a function is not caught here."""
        return None if function is F.scaled_dot_product_attention else "another function"

    def run(self, function: Any, keeper: Keeper, args: tuple[Any, ...], settings: dict[str, Any]) -> Any:
        """Run the call."""

        def own() -> Any:
            return F.scaled_dot_product_attention(*args, **settings)

        found: _Attended | None = None
        reason = untouched((*args, *settings.values()))
        if reason is None:
            try:
                found = _scaled_dot_product(keeper, *args, **settings)
            except (KernelError, TooLargeError):
                raise
            except RegardError as error:  # shapes that PyTorch broadcasts
                reason = str(error)
        if found is None:
            output = own()
            keeper.miss(f"{self.name}: {reason}")
        elif found.output is None:
            output = own()
            keeper.keep(self.name, found.weights)
        else:
            output = found.output
            keeper.keep(self.name, found.weights, _difference(output, own) if keeper.compares else None)
        return output


class _Attended(NamedTuple):
    """What our own attention gave."""

    output: Tensor | None
    """In place of PyTorch's own; None where that is to run."""
    weights: AttentionWeights


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
) -> _Attended:
    shape = *query.shape[:3], value.shape[-1]
    tensors = (query, key, value, attn_mask)
    plain = all(tensor is None or type(tensor) in _PLAIN for tensor in tensors)
    if not plain:
        query, key, value = (one.as_subclass(Tensor) for one in (query, key, value))
        attn_mask = None if attn_mask is None else attn_mask.as_subclass(Tensor)
    heads = grouped(keeper.module(), query, key, value, attn_mask)
    call, same = _call(heads.query, heads.mask, is_causal, scale)
    call["need_weights"] = keeper.needs()
    serves = plain and same and not dropout_p and not keeper.aside()
    with consumed_at_once():
        served, (output, weights) = _attend((heads.query, heads.key, heads.value), call, serves)
    if not served:
        return _Attended(None, weights)
    return _Attended(output.reshape(shape) if heads.packed else output, weights)


def _attend(
    parts: tuple[Tensor, ...], call: dict[str, Any], serves: bool
) -> tuple[bool, tuple[Tensor, AttentionWeights]]:
    """Return whether the output may take the place of PyTorch's own; output and weights, else without gradient."""
    # Ours and PyTorch's own kernel both hand out `lse` with the output, so that nothing is computed twice.
    for name in fastest(*parts) if serves else ():
        if asked_for() in (None, name):
            try:  # cheaper than asking every backend first
                return True, attention(*parts, **call, backend=name)
            except KernelError:
                raise
            except BackendError:
                continue
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
        reason = untouched((*args, *settings.values()))
        if reason is not None:
            output = function(*args, **settings)
            keeper.miss(f"{self.name}: {reason}")
            return output

        def inner(*given: Any, **options: Any) -> Any:
            return DOORS[0].run(F.scaled_dot_product_attention, keeper, given, options)

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
        reason = untouched((*args, *settings.values()))
        if reason is not None:
            result = function(*args, **settings)
            keeper.miss(f"{self.name}: {reason}")
            return result
        if function is sink_attention:
            with consumed_at_once():
                output, weights = sink_attention(*args, **settings)
            keeper.keep(self.name, weights)
            return output, kept(weights)
        wanted = settings.pop("need_weights", False)
        asked = wanted if wanted == "summary" else keeper.needs()
        with consumed_at_once():
            if not wanted and keeper.aside():
                output = attention(*args, **settings)
                with torch.no_grad():
                    weights = attention(*args, **{**settings, "dropout": 0.0, "need_weights": asked})[1]
            else:
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
        if weights.ndim in (3, 4) and dim in (-1, weights.ndim - 1) and untouched((weights,)) is None:
            keeper.softmax(args[0] if args else settings["input"], weights)
        return weights


DOORS: tuple[Door, ...] = (ScaledDotProduct(), MultiHead(), Own(), Softmax())


@functools.lru_cache(maxsize=4096)
def door_of(function: object) -> Door | None:
    """Return the door that catches a function, None if none does."""
    return next((door for door in DOORS if door.why_not(function) is None), None)
