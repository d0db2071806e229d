"""`F.scaled_dot_product_attention` of any PyTorch code on regard's native kernel, for as long as a block lasts."""

from __future__ import annotations

from collections import Counter
from contextlib import ExitStack
from typing import Self

import torch
from torch import nn
from torch.utils._python_dispatch import is_in_torch_dispatch_mode

from .._tracing import in_backward
from .._values import instance
from ..backends import fastest
from ..doors import MULTI_HEAD, SCALED_DOT_PRODUCT, Call, Listener, Result, Run, ScaledDotProduct, join

_BACKEND = "native"
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


class FastAttention(Listener):
    """Takes over `F.scaled_dot_product_attention` inside a `with` block, or in the forward passes of modules.

    It acts on the thread that enters; one object may be entered by several threads and more than once.
    """

    def __init__(self) -> None:
        super().__init__()
        self.taken = 0
        self.left: Counter[str] = Counter()
        self._standing: list[ExitStack] = []

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
        self.begin()
        return self

    def __exit__(self, *error: object) -> None:
        """End; a generator that holds the block may be closed on another thread."""
        self.end()

    def attach(self, model: nn.Module) -> Self:
        """Begin and end with each forward pass of a module."""
        instance("model", model, nn.Module, "a torch.nn.Module, or None for the calls of a block")
        self._standing.append(self.stand([model]))
        return self

    def remove(self) -> None:
        """Let the modules run as before."""
        while self._standing:
            self._standing.pop().close()

    def hears(self, door: str) -> bool:
        """Say whether calls come from PyTorch's own functions: ours choose their backend themselves."""
        return door in (SCALED_DOT_PRODUCT, MULTI_HEAD)

    def heard(self, call: Call, run: Run) -> Result:
        """Let the kernel compute the output, or say why not; a call that one further in serves is left to that one."""
        if _BACKEND in call.backends:
            return run(call)
        reason = self._why_not(call)
        result = run(call if reason is not None else call.served(_BACKEND))
        if in_backward():
            return result
        if result.backend == _BACKEND:
            self.taken += 1
        else:
            self.left[reason or result.refusals.get(_BACKEND) or result.reason or "another backend"] += 1
        return result

    def _why_not(self, call: Call) -> str | None:
        given = call.given
        if given.reason is not None or not isinstance(given, ScaledDotProduct):
            return given.reason or "changed by who listens further in, so that regard runs it anyway"
        try:
            reason = _why_not(given) or _why_slower(given)
            if reason is None and not call.alone and not join(self):
                reason = "run again, or to be run again, by code that is not known here"
            if reason is None:
                _ = given.arguments
            return reason
        except Exception as error:  # noqa: BLE001 (PyTorch tells what is wrong with a call)
            return f"{type(error).__name__}: {error}"


def _why_not(given: ScaledDotProduct) -> str | None:
    """Return why a call stays with PyTorch, before anything is computed for it."""
    query = given.query
    if is_in_torch_dispatch_mode():
        return "traced or transformed code"
    if not given.plain:
        return "a tensor subclass"
    if query.device.type != "cpu":
        return f"tensors on {query.device.type}"
    if torch.is_autocast_enabled("cpu") and query.dtype != torch.get_autocast_dtype("cpu"):
        return "inputs that autocast converts"
    return None


def _why_slower(given: ScaledDotProduct) -> str | None:
    """Return why PyTorch is the faster one for a call of this size, or None."""
    query, key = given.query, given.key
    if given.dropout:
        return None
    products = query.shape[-2] * key.shape[-2]
    if query.dtype != torch.float32:
        products *= query.shape[:-2].numel()
    if products < _FEW:
        return "so small that PyTorch is faster"
    if fastest(query, key, given.value)[0] != _BACKEND:
        return "measured to be slower here, of this dtype and size"
    return None
