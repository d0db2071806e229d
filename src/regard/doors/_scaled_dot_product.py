"""`F.scaled_dot_product_attention` as a call of `regard.attention`: on a backend where listeners ask, else as it is."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .. import masks
from .._attention import attention, explain
from ..backends import asked_for
from ..errors import ArgumentError, DeviceError, DtypeError, RefusedError, ShapeError
from ._call import Call, Given, Result
from ._mask_reader import MaskReader
from ._ours import Ours, weights_of
from ._untouched import PLAIN, untouched

NAME = "scaled_dot_product_attention"
_reader = MaskReader(spreading=True)


class _Translated(NamedTuple):
    """The same call as arguments of `regard.attention`."""

    arguments: dict[str, Any]
    """What PyTorch computes."""
    seen: dict[str, Any]
    """For the weights: a row of the lowest number, which PyTorch spreads evenly, sees nothing."""
    spreads: bool
    """Whether there is such a row."""
    packed: tuple[int, ...] | None
    """Shape of the output where heads of a group came packed into the queries."""


class ScaledDotProduct(Given):
    """One call; `module` is the one that makes it, where that is known. Raises TypeError where PyTorch does."""

    def __init__(self, module: nn.Module | None, args: tuple[Any, ...], settings: dict[str, Any]) -> None:
        self._take(*args, **settings)
        super().__init__(NAME, F.scaled_dot_product_attention, args, settings, self._why_not())
        self._module = module
        self._found: _Translated | None = None

    def _take(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        *,
        scale: float | None = None,
        enable_gqa: bool = False,
    ) -> None:
        self.query, self.key, self.value, self._mask = query, key, value, attn_mask
        self.dropout, self._is_causal, self._scale, self._enable_gqa = dropout_p, is_causal, scale, enable_gqa
        plain = type(query) in PLAIN and type(key) in PLAIN and type(value) in PLAIN
        self.plain = plain and (attn_mask is None or type(attn_mask) in PLAIN)
        """Whether no tensor is of a class of its own, which the output would be too."""

    def _why_not(self) -> str | None:
        """Return why a call cannot be expressed, before anything is computed for it."""
        query, key, value, mask = self.query, self.key, self.value, self._mask
        reason = untouched((query, key, value, mask))
        if reason is not None:
            return reason
        if not (isinstance(query, Tensor) and isinstance(key, Tensor) and isinstance(value, Tensor)):
            return "something that is no tensor"
        if self._is_causal and mask is not None:
            return "is_causal beside a mask"
        ours, theirs, rank = query.shape, key.shape, query.ndim
        alike = 2 <= rank <= 4 and rank == key.ndim and theirs[:-1] == value.shape[:-1]
        if not alike or (rank == 4 and ours[0] != theirs[0]):
            return "shapes that PyTorch broadcasts, or that differ in rank from (B, H, L, E)"
        if rank > 2 and ours[-3] != theirs[-3] and theirs[-3] != 1 and not self._enable_gqa:
            return "heads that differ without enable_gqa"
        return None

    @property
    def _translated(self) -> _Translated:
        if self._found is None:
            self._found = self._translate()
        return self._found

    def _translate(self) -> _Translated:
        query, key, value, mask, shape = self.query, self.key, self.value, self._mask, None
        if not self.plain:
            given: Any = (None if one is None else one.as_subclass(Tensor) for one in (query, key, value, mask))
            query, key, value, mask = given
        if self._module is not None:
            query, key, value, mask, packed = grouped(self._module, query, key, value, mask)
            shape = (*self.query.shape[:3], self.value.shape[-1]) if packed else None
        call: dict[str, Any] = {"query": query, "key": key, "value": value, "scale": self._scale}
        call["dropout"] = float(self.dropout)
        if self._is_causal:
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
        """Say whether `regard.attention` gives the same output, to rounding and with the same random numbers."""
        return self.plain and not self.dropout and not self._translated.spreads

    def changed(self, **arguments: Any) -> Given:
        """Return the call with other arguments of `regard.attention`."""
        return Ours(self.door, attention, (), {**self.arguments, **arguments}, self._translated.packed)

    def run(self, call: Call) -> Result:
        """Compute what `call` asks for; where no backend can, as PyTorch does, with the reason."""
        if self.reason is not None or not (call.needs or call.backends):
            return Result(self._heads(self.own()), reason=self.reason)
        try:
            with call.consumed():
                result = self._attended(call)
        except (ArgumentError, DeviceError, DtypeError, RefusedError, ShapeError) as error:
            result = Result(None, reason=str(error))
        if result.output is None:
            return result._replace(output=self._heads(self.own()))
        return result._replace(difference=self._difference(result.output)) if call.compare else result

    def returned(self, result: Result) -> Any:
        """Return the output as the caller laid it out."""
        if self._found is None or self._found.packed is None:
            return result.output
        return result.output.reshape(self._found.packed)

    def _attended(self, call: Call) -> Result:
        """Compute output and weights, or the weights alone and without gradient where no backend may serve."""
        arguments, seen, spreads, _ = self._translated
        together = bool(call.needs) and not (call.apart or spreads)
        asked, refusals = asked_for(), dict[str, str]()
        for name in call.backends if self.plain else ():
            reason = None if asked in (None, name) else f"use_backend asks for {asked}"
            if reason is None and self.dropout:  # a refusal after the seed is drawn would shift the caller's numbers
                reason = dict(explain(**arguments).rows)[name]
            if reason is None:
                try:  # cheaper than asking every backend first
                    found: Any = attention(**arguments, need_weights=together, backend=name)
                except RefusedError as error:
                    reason = error.reason
                else:
                    output, weights = found if together else (found, None)
                    if call.needs and not together:
                        weights = weights_of(seen)
                    return Result(output, weights, None, name, refusals)
            refusals[name] = reason
        return Result(None, weights_of(seen) if call.needs else None, refusals=refusals)

    def _heads(self, output: Tensor) -> Tensor:
        """Return PyTorch's output with one query for each head of a packed group."""
        if self._found is None or self._found.packed is None:
            return output
        return output.reshape(*self.arguments["query"].shape[:3], output.shape[-1])

    def _difference(self, output: Tensor) -> float:
        with torch.no_grad():
            apart = (self._heads(self.own()) - output).nan_to_num().abs()
        return float(apart.amax()) if apart.numel() else 0.0


def _as_scores(bias: Tensor | None, query: Tensor) -> Tensor | None:
    return bias if bias is None or bias.dtype in (query.dtype, torch.float32) else bias.to(query.dtype)


class Grouped(NamedTuple):
    """A call with one key head a group."""

    query: Tensor
    key: Tensor
    value: Tensor
    mask: Tensor | None
    packed: bool
    """Whether the output must be packed again, `(B, G, H / G, Ev)`."""


def grouped(module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Grouped:
    """Return the call with the heads that the model has; as it is where the module says nothing of groups.

    transformers lays out heads that share keys before it calls SDPA: with a mask it repeats the keys for each head of a
    group; for a single query it packs the heads of a group into the query dimension. Recorded as they come, the first
    would keep each key several times and the second would show heads as queries.
    """
    together = getattr(module, "num_key_value_groups", 1)
    heads = getattr(getattr(module, "config", None), "num_key_value_heads", None)
    if not isinstance(together, int) or together < 2 or query.ndim != 4 or query.shape[1] != key.shape[1]:
        return Grouped(query, key, value, mask, False)
    batch, found, rows, width = query.shape
    if found == heads and rows == together:
        if mask is not None and mask.ndim == 4 and mask.shape[1] > 1:
            mask = mask.reshape(mask.shape[0], found * together, 1, mask.shape[3])
        return Grouped(query.reshape(batch, found * together, 1, width), key, value, mask, True)
    if found % together == 0 and _repeats(key, together) and _repeats(value, together):
        return Grouped(query, key[:, ::together], value[:, ::together], mask, False)
    return Grouped(query, key, value, mask, False)


def _repeats(heads: Tensor, together: int) -> bool:
    each = heads.unflatten(1, (-1, together))
    return all(torch.equal(each[:, :, 0], each[:, :, place]) for place in range(1, together))
