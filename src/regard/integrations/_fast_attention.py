"""`F.scaled_dot_product_attention` of any PyTorch code on regard's native kernel, for as long as a block lasts."""

from __future__ import annotations

import functools
import types
from collections import Counter
from collections.abc import Callable
from threading import get_ident
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .. import masks
from .._attention import attention, explain
from .._tracing import in_backward, traced
from .._values import instance
from ..backends import fastest
from ..errors import BackendError, KernelError, RegardError
from ..masks import Mask
from ._checkpointing import join
from ._mask_reader import MaskReader
from ._modes import ASIDE, FAST_PATHS, Mode
from ._module_calls import Standing, StandingEverywhere

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
            is a context manager for any code inside the block. Copies of the module, and what is read from a file of
            it, run as before.

    Returns:
        A `FastAttention` that counts the calls it took over, and those it left to PyTorch with the reason.

    What the kernel does not serve (other devices, compiled code, tensor subclasses, shapes that SDPA broadcasts) runs
    as before. What it does serve agrees with PyTorch to rounding, with three exceptions: a query that may look at no
    key gives 0; a NaN in a visible input comes out as NaN; and dropout draws other random numbers.
    `nn.MultiheadAttention` is served too, where it computes no weights. What gradient
    checkpointing runs a second time takes the way of the first, also after the block, and is not counted.

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
        self._reader = MaskReader(exact=True)
        self._blocks: list[tuple[int, _Mode, StandingEverywhere]] = []
        self._standing: list[Standing | StandingEverywhere] = []

    @property
    def calls(self) -> int:
        """How many calls were seen."""
        return self.taken + self.left.total()

    def __repr__(self) -> str:
        """Say how many calls ran on the kernel, and why the others did not."""
        first = f"FastAttention: {self.taken} of {self.calls} calls on the {_BACKEND} kernel"
        return "\n".join([first, *(f"   {count} left to PyTorch: {why}" for why, count in self.left.most_common())])

    def __enter__(self) -> Self:
        """Begin; nothing where the block itself is being compiled."""
        if torch.compiler.is_compiling():
            return self
        aside = StandingEverywhere(ASIDE, FAST_PATHS)
        self._blocks.append((get_ident(), _Mode(self).__enter__(), aside))
        return self

    def __exit__(self, *error: object) -> None:
        """End; a generator that holds the block may be closed on another thread."""
        if torch.compiler.is_compiling() or not self._blocks:
            return
        here = [place for place, (thread, _, _) in enumerate(self._blocks) if thread == get_ident()]
        _, mode, aside = self._blocks.pop(here[-1] if here else -1)
        mode.__exit__()
        aside.remove()

    def attach(self, model: nn.Module) -> Self:
        """Begin and end with each forward pass of a module."""
        instance("model", model, nn.Module, "a torch.nn.Module, or None for the calls of a block")
        self._standing += [Standing(self, [model]), StandingEverywhere(ASIDE, FAST_PATHS)]
        return self

    def around(self, module: nn.Module, call: Callable[..., Any], /, *args: Any, **settings: Any) -> Any:
        """Call a module that this is attached to."""
        with _Mode(self):
            return call(*args, **settings)

    def remove(self) -> None:
        """Let the modules run as before."""
        while self._standing:
            self._standing.pop().remove()

    def run(self, mode: Mode, /, *args: Any, **settings: Any) -> Tensor:
        """Compute one call of `scaled_dot_product_attention`, whose arguments these are, under a mode."""
        reason, output = self._tried(mode, *args, **settings)
        counts = not in_backward()
        if output is not None:
            self.taken += counts
            return output
        self.left[reason] += counts
        return F.scaled_dot_product_attention(*args, **settings)

    def again(self) -> Mode:
        """Return what is entered where gradient checkpointing runs something a second time."""
        return _Mode(self)

    def _tried(
        self,
        mode: Mode,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        scale: float | None = None,
        enable_gqa: bool = False,
    ) -> tuple[str, Tensor | None]:
        try:
            reason = _why_not(query, key, value, attn_mask, is_causal, enable_gqa) or _why_slower(
                query, key, value, dropout_p
            )
            if reason is None and not mode.alone() and not join(self):
                reason = "run again, or to be run again, by code that is not known here"
            if reason is not None:
                return reason, None
            mask: Mask | None = None
            bias: Tensor | None = None
            if is_causal:
                mask = masks.causal() if query.shape[-2] == key.shape[-2] else masks.causal(offset=0)
            elif attn_mask is not None:
                mask, bias = self._reader.read(attn_mask)
            call: dict[str, Any] = {"mask": mask, "bias": bias, "scale": scale, "dropout": float(dropout_p)}
        except Exception as error:  # noqa: BLE001 (PyTorch tells what is wrong with a call)
            return f"{type(error).__name__}: {error}", None
        try:
            if dropout_p:  # a refusal after the seed is drawn would shift the caller's random numbers
                chosen = dict(explain(query, key, value, **call).rows)[_BACKEND]
                if chosen is not None:
                    return chosen, None
            return "", attention(query, key, value, **call, backend=_BACKEND)
        except KernelError:
            raise
        except BackendError as error:
            return str(error).split("but it ")[-1].split(". ")[0], None
        except RegardError as error:
            return f"{type(error).__name__}: {error}", None


def _why_not(
    query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None, is_causal: bool, enable_gqa: bool
) -> str | None:
    """Return why a call stays with PyTorch, before anything is computed for it."""
    if traced() or torch._C._get_tracing_state() is not None:
        return "compiled or transformed code keeps PyTorch's own"
    if any(type(tensor) not in _PLAIN for tensor in (query, key, value)):
        return "a tensor subclass"
    if any(tensor.is_nested or tensor.layout != torch.strided for tensor in (query, key, value)):
        return "nested or sparse tensors"
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


def _why_slower(query: Tensor, key: Tensor, value: Tensor, dropout: float) -> str | None:
    """Return why PyTorch is the faster one for a call of this size, or None."""
    products = query.shape[-2] * key.shape[-2]
    if query.dtype != torch.float32:
        products *= query.shape[:-2].numel()
    if dropout:
        return None
    if products < _FEW:
        return "so small that PyTorch is faster"
    return None if fastest(query, key, value)[0] == _BACKEND else "measured to be slower here, of this dtype and size"


class _Mode(Mode):
    def __init__(self, owner: FastAttention) -> None:
        super().__init__()
        self.owner = owner

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is F.scaled_dot_product_attention and not self.over:
            return self.owner.run(self, *args, **(kwargs or {}))
        if func is F.multi_head_attention_forward and not self.over:
            return _multi_head(functools.partial(self.owner.run, self))(*args, **(kwargs or {}))
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
