"""`F.scaled_dot_product_attention` of any PyTorch code on regard's native kernel, for as long as a block lasts."""

from __future__ import annotations

import types
from collections import Counter
from collections.abc import Callable
from threading import local
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils.hooks import RemovableHandle

from .. import masks
from .._attention import attention, explain
from .._tracing import traced
from ..errors import BackendError, RegardError
from ..masks import Mask
from ._mask_reader import MaskReader

__all__ = ["FastAttention", "use_fast_attention"]

_BACKEND = "native"
_PLAIN = (Tensor, nn.Parameter)
# Below these sizes the call itself costs more than the kernel saves (measured on one thread): products of a head in
# float32, of all heads in half precision, where PyTorch is slower.
_FEW = 48 * 48


def use_fast_attention(model: nn.Module | None = None) -> FastAttention:
    """Run calls of `F.scaled_dot_product_attention` on regard's native kernel where it serves them.

    Args:
        model: a module whose forward passes are to run that way from now on, until `.remove()`; without it the result
            is a context manager for any code inside the block.

    Returns:
        A `FastAttention` that counts the calls it took over, and those it left to PyTorch with the reason.

    What the kernel does not serve (other devices, compiled code, tensor subclasses, shapes that SDPA broadcasts) runs
    as before. What it does serve agrees with PyTorch to rounding, with three exceptions: a query that may look at no
    key gives 0; a NaN in a visible input comes out as NaN; and dropout draws other random numbers.
    `nn.MultiheadAttention` is served too, where it computes no weights.

    Cost: about a microsecond for every PyTorch function that is called inside, seen or not.

    >>> q = torch.randn(1, 2, 64, 16)
    >>> with use_fast_attention() as fast:
    ...     out = torch.nn.functional.scaled_dot_product_attention(q, q, q)
    >>> fast.calls
    1
    """
    fast = FastAttention()
    if model is not None:
        fast.attach(model)
    return fast


class FastAttention:
    """Takes over `F.scaled_dot_product_attention` inside a `with` block, or in the forward passes of modules.

    It acts on the thread that enters; one object may be entered by several threads and more than once.
    """

    def __init__(self) -> None:
        self.taken = 0
        self.left: Counter[str] = Counter()
        self._reader = MaskReader()
        self._entered = _Entered()
        self._hooks: list[RemovableHandle] = []

    @property
    def calls(self) -> int:
        """How many calls were seen."""
        return self.taken + self.left.total()

    def __repr__(self) -> str:
        """Say how many calls ran on the kernel, and why the others did not."""
        first = f"FastAttention: {self.taken} of {self.calls} calls on the {_BACKEND} kernel"
        return "\n".join([first, *(f"   {count} left to PyTorch: {why}" for why, count in self.left.most_common())])

    def __enter__(self) -> Self:
        """Begin."""
        mode: Any = _Mode(self)
        mode.__enter__()
        self._entered.modes.append(mode)
        return self

    def __exit__(self, *error: object) -> None:
        """End."""
        self._entered.modes.pop().__exit__(None, None, None)

    def attach(self, model: nn.Module) -> Self:
        """Begin and end with each forward pass of a module."""
        begin = model.register_forward_pre_hook(lambda module, args: self.__enter__() and None)
        end = model.register_forward_hook(lambda module, args, output: self.__exit__(), always_call=True)
        self._hooks += [begin, end]
        return self

    def remove(self) -> None:
        """Take the hooks off the modules again."""
        while self._hooks:
            self._hooks.pop().remove()

    def run(self, *args: Any, **settings: Any) -> Tensor:
        """Compute one call of `scaled_dot_product_attention`, whose arguments these are."""
        reason, output = self._tried(*args, **settings)
        if output is not None:
            self.taken += 1
            return output
        self.left[reason] += 1
        return F.scaled_dot_product_attention(*args, **settings)

    def _tried(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        scale: float | None = None,
        enable_gqa: bool = False,
    ) -> tuple[str, Tensor | None]:
        reason = _why_not(query, key, value, attn_mask, is_causal, enable_gqa) or _why_slower(query, key, dropout_p)
        if reason is not None:
            return reason, None
        mask: Mask | None = None
        bias: Tensor | None = None
        if is_causal:
            mask = masks.causal() if query.shape[-2] == key.shape[-2] else masks.causal(offset=0)
        elif attn_mask is not None:
            mask, bias = self._reader.read(attn_mask)
        call: dict[str, Any] = {"mask": mask, "bias": bias, "scale": scale, "dropout": float(dropout_p)}
        try:
            if dropout_p:  # a refusal after the seed is drawn would shift the caller's random numbers
                chosen = dict(explain(query, key, value, **call).rows)[_BACKEND]
                if chosen is not None:
                    return chosen, None
            return "", attention(query, key, value, **call, backend=_BACKEND)
        except BackendError as error:
            return str(error).split("but it ")[-1].split(". ")[0], None
        except RegardError as error:
            return f"{type(error).__name__}: {error}", None


def _why_not(
    query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None, is_causal: bool, enable_gqa: bool
) -> str | None:
    """Return why a call stays with PyTorch, before anything is computed for it."""
    if traced():
        return "compiled or transformed code keeps PyTorch's own"
    if any(type(tensor) not in _PLAIN for tensor in (query, key, value)):
        return "a tensor subclass"
    if query.device.type != "cpu":
        return f"tensors on {query.device.type}"
    if is_causal and attn_mask is not None:
        return "is_causal beside a mask, which PyTorch refuses"
    if not 3 <= query.ndim <= 4 or query.shape[:-3] != key.shape[:-3] or key.shape[:-1] != value.shape[:-1]:
        return "shapes that PyTorch broadcasts"
    if query.shape[-3] != key.shape[-3] and not enable_gqa:
        return "heads that differ without enable_gqa"
    if torch.is_autocast_enabled("cpu") and query.dtype != torch.get_autocast_dtype("cpu"):
        return "inputs that autocast converts"
    return None


def _why_slower(query: Tensor, key: Tensor, dropout: float) -> str | None:
    """Return why PyTorch is the faster one for a call of this size, or None."""
    products = query.shape[-2] * key.shape[-2]
    if query.dtype != torch.float32:
        products *= query.shape[:-2].numel()
    return "so small that PyTorch is faster" if products < _FEW and not dropout else None


class _Entered(local):
    """The modes that a thread has entered and not left."""

    def __init__(self) -> None:
        self.modes: list[TorchFunctionMode] = []


class _Mode(TorchFunctionMode):
    def __init__(self, owner: FastAttention) -> None:
        super().__init__()
        self.owner = owner

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is F.scaled_dot_product_attention:
            return self.owner.run(*args, **(kwargs or {}))
        if func is F.multi_head_attention_forward:
            return _multi_head(self.owner.run)(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))


def _multi_head(run: Callable[..., Tensor]) -> Callable[..., Any]:
    """Return PyTorch's own multi-head attention with another attention inside; the original stays as it is.

    A mode sees the whole function and nothing of what it calls, so the call inside is exchanged in a copy of its
    namespace.
    """
    names = {**F.__dict__, "scaled_dot_product_attention": run, "has_torch_function": lambda tensors: False}
    theirs: Any = F.multi_head_attention_forward
    copied = types.FunctionType(theirs.__code__, names, theirs.__name__, theirs.__defaults__)
    copied.__kwdefaults__ = theirs.__kwdefaults__
    return copied
