"""`F.scaled_dot_product_attention` in our words: on a backend of ours where listeners ask for one, else as it is."""

from __future__ import annotations

from contextlib import nullcontext
from functools import cached_property
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .. import masks
from .._attention import attention, explain
from .._inputs import NeedWeights
from ..backends import asked_for
from ..errors import BackendError, KernelError, RegardError, TooLargeError
from ..weights import AttentionWeights, consumed_at_once
from ._call import Call, Given, Result
from ._grouped import grouped
from ._mask_reader import MaskReader
from ._ours import Ours, weights_of
from ._untouched import PLAIN, untouched

__all__ = ["NAME", "ScaledDotProduct", "Words", "words_of"]

NAME = "scaled_dot_product_attention"
_reader = MaskReader(spreading=True)


class Words(NamedTuple):
    """The arguments of `F.scaled_dot_product_attention`."""

    query: Tensor
    key: Tensor
    value: Tensor
    attn_mask: Tensor | None
    dropout_p: float
    is_causal: bool
    scale: float | None
    enable_gqa: bool


class _Translated(NamedTuple):
    """The same call as arguments of `regard.attention`."""

    arguments: dict[str, Any]
    """What PyTorch computes."""
    seen: dict[str, Any]
    """What is looked at: a row of the lowest number, which PyTorch spreads evenly, sees nothing."""
    spreads: bool
    """Whether there is such a row."""
    packed: tuple[int, ...] | None
    """Shape of the output where heads of a group came packed into the queries."""


class _Served(NamedTuple):
    """What ours computed."""

    backend: str | None = None
    output: Tensor | None = None
    weights: AttentionWeights | None = None


class ScaledDotProduct(Given):
    """One call; `module` is the one that makes it, where that is known."""

    def __init__(self, words: Words, module: nn.Module | None, args: Any, settings: dict[str, Any]) -> None:
        self.words = words
        super().__init__(NAME, F.scaled_dot_product_attention, args, settings, _why_not(words))
        self._module = module
        self.plain = all(one is None or type(one) in PLAIN for one in words[:4])
        """Whether no tensor is of a class of its own, which the output would be too."""

    @cached_property
    def _translated(self) -> _Translated:
        given: Any = (one if one is None or type(one) in PLAIN else one.as_subclass(Tensor) for one in self.words[:4])
        query, key, value, mask, packed = grouped(self._module, *given)
        shape = (*self.words.query.shape[:3], self.words.value.shape[-1]) if packed else None
        call = {"query": query, "key": key, "value": value, "scale": self.words.scale}
        call["dropout"] = float(self.words.dropout_p)
        if self.words.is_causal:
            call["mask"] = masks.causal(offset=0)
        elif mask is not None:
            read = _reader.read(mask)
            seen = {**call, "mask": read.mask, "bias": _as_scores(read.bias, query)}
            exact = {**call, "bias": _as_scores(mask, query)} if read.spreads else seen
            return _Translated(exact, seen, read.spreads, shape)
        return _Translated(call, call, False, shape)

    @property
    def arguments(self) -> dict[str, Any]:
        """The call as arguments of `regard.attention`."""
        return self._translated.arguments

    def alike(self) -> bool:
        """Say whether ours gives the same output, to rounding and without other random numbers."""
        return self.plain and not self.words.dropout_p and not self._translated.spreads

    def changed(self, **arguments: Any) -> Given:
        """Return the call with other arguments of `regard.attention`."""
        return Ours(self.door, attention, (), {**self.arguments, **arguments}, self._translated.packed)

    def run(self, call: Call) -> Result:
        """Compute what `call` asks for; where ours cannot, as PyTorch does, with the reason."""
        if self.reason is not None or not (call.needs or call.backends):
            return Result(self._heads(self.own()), reason=self.reason)
        refusals: dict[str, str] = {}
        served, reason = _Served(), None
        try:
            with consumed_at_once() if call.needs else nullcontext():
                served = self._attended(call, refusals)
        except (KernelError, TooLargeError):
            raise
        except RegardError as error:
            reason = str(error)
        output = self._heads(self.own()) if served.output is None else served.output
        difference = self._difference(output) if call.compare and served.backend is not None else None
        return Result(output, served.weights, reason, served.backend, tuple(refusals.items()), difference)

    def returned(self, result: Result) -> Any:
        """Return the output as the caller laid it out."""
        packed = self._packed
        return result.output if packed is None else result.output.reshape(packed)

    @property
    def _packed(self) -> tuple[int, ...] | None:
        return self._translated.packed if "_translated" in self.__dict__ else None  # else nobody asked

    def _attended(self, call: Call, refusals: dict[str, str]) -> _Served:
        """Compute output and weights, or the weights alone and without gradient where no backend may serve."""
        arguments, seen, spreads, _ = self._translated
        together: NeedWeights = False if call.apart or spreads else call.needs
        for name in call.backends if self.plain else ():
            reason = _refused(name, arguments)
            if reason is None:
                try:  # cheaper than asking every backend first
                    found: Any = attention(**arguments, need_weights=together, backend=name)
                except KernelError:
                    raise
                except BackendError as error:
                    reason = str(error).split("but it ")[-1].split(". ")[0]
                else:
                    output, weights = found if together else (found, None)
                    apart = weights_of(seen, call.needs) if call.needs and not together else None
                    return _Served(name, output, apart if weights is None else weights)
            refusals[name] = reason
        return _Served(weights=weights_of(seen, call.needs) if call.needs else None)

    def _heads(self, output: Tensor) -> Tensor:
        """Return PyTorch's output with one query for each head of a packed group."""
        if self._packed is None:
            return output
        return output.reshape(*self.arguments["query"].shape[:3], output.shape[-1])

    def _difference(self, output: Tensor) -> float:
        with torch.no_grad():
            apart = (self._heads(self.own()) - output).nan_to_num().abs()
        return float(apart.amax()) if apart.numel() else 0.0


def words_of(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    *,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Words:
    """Return what a caller gave, by name; raises TypeError where PyTorch does."""
    return Words(query, key, value, attn_mask, dropout_p, is_causal, scale, enable_gqa)


def _why_not(words: Words) -> str | None:
    """Return why a call cannot be put in our words, before anything is computed for it."""
    query, key, value, mask = words[:4]
    reason = untouched((query, key, value, mask))
    if reason is not None:
        return reason
    if not all(isinstance(one, Tensor) for one in (query, key, value)):
        return "something that is no tensor"
    if words.is_causal and mask is not None:
        return "is_causal beside a mask, which PyTorch refuses"
    heads, others = query.shape[:-2], key.shape[:-2]
    if len(heads) > 2 or len(heads) != len(others) or heads[:-1] != others[:-1] or key.shape[:-1] != value.shape[:-1]:
        return "shapes that PyTorch broadcasts, or that differ in rank from (B, H, L, E)"
    if heads[-1:] not in (others[-1:], ()) and others[-1] != 1 and not words.enable_gqa:
        return "heads that differ without enable_gqa"
    return None


def _refused(name: str, arguments: dict[str, Any]) -> str | None:
    """Return why a backend is not to be asked, or would refuse."""
    if asked_for() not in (None, name):
        return f"use_backend asks for {asked_for()}"
    if arguments["dropout"]:  # a refusal after the seed is drawn would shift the caller's random numbers
        return dict(explain(**arguments).rows)[name]
    return None


def _as_scores(bias: Tensor | None, query: Tensor) -> Tensor | None:
    return bias if bias is None or bias.dtype in (query.dtype, torch.float32) else bias.to(query.dtype)
