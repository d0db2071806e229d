"""The tensor that carries a mask through the code of a model: what eager attention gets, without its entries."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from ...doors import MaskReader
from ...errors import DtypeError, ShapeError
from ...masks import Mask

_reader = MaskReader()
_SAME = (torch.ops.aten.detach.default, torch.ops.aten.alias.default)


class SpanMask(Tensor):
    """A floating tensor `(B, 1, L, S)`, 0 = may look, lowest value = may not, that holds a `regard` mask instead.

    It is the mask that transformers makes for "eager", which every model is written for: what a model computes with
    it (adds, joins, slices, writes into it) it computes with those entries. Models that only pass it on never make
    them; a slice that takes everything stays what it is. Memory O(B·L) until then, O(B·L·S) after.

    Args:
        mask: what it holds.
        shape: `(B, 1, L, S)`.
        dtype: of the entries; `torch.finfo(dtype).min` stands where a query may not look.
        device: of the entries.

    >>> from regard import masks
    >>> mask = SpanMask(masks.causal(), (1, 1, 2, 2))
    >>> mask + 1
    tensor([[[[ 1.0000e+00, -3.4028e+38],
              [ 1.0000e+00,  1.0000e+00]]]])
    """

    _entries: _Entries

    @staticmethod
    def __new__(
        cls,
        mask: Mask,
        shape: Sequence[int],
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> SpanMask:
        """Stand for `mask` as a tensor of `shape`."""
        if len(shape) != 4:
            raise ShapeError(f"SpanMask was given the shape {tuple(shape)}; the rule is (B, 1, L, S).")
        if not dtype.is_floating_point:
            raise DtypeError(f"SpanMask was given {dtype}; it is added to scores, so give a floating dtype.")
        return cls._of(_Entries(mask, tuple(shape), dtype, torch.device(device)))

    @classmethod
    def _of(cls, entries: _Entries) -> SpanMask:
        made = Tensor._make_wrapper_subclass(cls, entries.shape, dtype=entries.dtype, device=entries.device)
        made._entries = entries
        return made

    @property
    def mask(self) -> Mask:
        """What it holds."""
        return self._entries.mask

    def to_plain(self) -> Tensor:
        """Return the entries as a plain tensor of the same shape; the same one each time."""
        return self._entries.plain()

    def __repr__(self, *, tensor_contents: Any = None) -> str:  # type: ignore[override]
        """Show the mask."""
        return f"SpanMask({self.mask!r}, shape={tuple(self.shape)})"

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Compute with the plain tensor."""
        if func in _SAME or (func is torch.ops.aten.slice.Tensor and _takes_all(*args)):
            return SpanMask._of(args[0]._entries)
        shares = any(result.alias_info is not None for result in func._schema.returns)

        def plain(given: Any) -> Any:
            if not isinstance(given, SpanMask):
                return given
            given._entries.shared |= shares
            return given.to_plain()

        plain_args, plain_kwargs = tree_map(plain, (args, kwargs or {}))
        return func(*plain_args, **plain_kwargs)


class _Entries:
    """The mask of a `SpanMask` and of its aliases, and the plain tensor once somebody computed with it."""

    def __init__(self, mask: Mask, shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> None:
        self.mask, self.shape, self.dtype, self.device = mask, shape, dtype, device
        self.shared = False
        """Whether somebody wrote into the plain tensor or holds a view of it: it decides from then on."""
        self._plain: Tensor | None = None

    def plain(self) -> Tensor:
        if self._plain is None:
            visible = self.mask.to_dense(self.shape[-2], self.shape[-1], self.device)
            lowest = torch.full(self.shape, torch.finfo(self.dtype).min, dtype=self.dtype, device=self.device)
            self._plain = lowest.masked_fill_(visible, 0.0)
        return self._plain


def _takes_all(mask: Any, dim: int = 0, start: int | None = None, stop: int | None = None, step: int = 1) -> bool:
    size = mask.shape[dim]
    begins = not start or start <= -size
    return isinstance(mask, SpanMask) and begins and (stop is None or stop >= size) and step == 1


def read_mask(tensor: Tensor) -> tuple[Mask | None, Tensor | None]:
    """Read the mask tensor that a model passes to its attention: what it hides, and what it adds to the scores."""
    if isinstance(tensor, SpanMask):
        if not tensor._entries.shared:
            return tensor.mask, None
        return MaskReader().read(tensor.to_plain())[:2]  # anew each time: writes through a view are not counted
    return _reader.read(tensor)[:2]
