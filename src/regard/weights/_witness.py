"""The state of the tensors of a call when it was made, so that a later write to them is noticed."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import Parameter

from .._inputs import TENSORS, AttentionInputs
from .._tracing import traced
from ..errors import StaleWeightsError

# The tensors that weights are computed from and that the caller may hold, with the names used in errors.
_NAMES = {name: tensor.called for name, tensor in TENSORS.items() if tensor.called is not None}
READ_BY_MASKS = frozenset(_NAMES) - {"query", "key", "value"}
READ_BY_WEIGHTS = frozenset(_NAMES) - {"value"}
READ_BY_NORMS = frozenset({"value"})
EVERYTHING = frozenset(_NAMES)
# Sums of rows are taken where they cost little beside the call: of small tensors, and where queries are many. Sums of
# bool tensors took 7 ns an entry, a hundred times those of float32.
_SMALL, _SMALL_BOOL, _MANY_QUERIES = 1 << 16, 1 << 12, 16


class _Seen(NamedTuple):
    """A tensor as it was at the call."""

    name: str
    tensor: Tensor
    version: int | None
    place: tuple[object, ...]
    sums: Tensor | None

    def change(self) -> str | None:
        """Say what happened to it since, None if nothing did."""
        if _place(self.tensor) != self.place:
            return "other memory, or freed"
        if version_of(self.tensor) != self.version:
            return "written in place, or a tensor that shares the memory was"
        if self.sums is not None and not _same(_sums(self.tensor), self.sums):
            return "written in a way that PyTorch does not count: through .data, or NumPy"
        return None


@dataclass(frozen=True, eq=False)
class Witness:
    """Knows what the tensors of a call were like when it was made."""

    seen: tuple[_Seen, ...]

    def check(self, reads: Collection[str]) -> None:
        """Raise `StaleWeightsError` if a tensor that a question reads was changed since."""
        found: dict[str, list[str]] = {}
        for one in self.seen:
            how = one.change() if one.name in reads else None
            if how is not None and _NAMES[one.name] not in found.setdefault(how, []):
                found[how].append(_NAMES[one.name])
        if found:
            what = "; ".join(f"{' and '.join(names)} changed ({how})" for how, names in found.items())
            raise StaleWeightsError(
                f"Attention weights are computed when they are read, and since the call of these {what}. They "
                "cannot be computed any more. Read them before the change (.dense(), .pooled(64), .entropy() ...); "
                "or call weights.clone() right after the call, which copies what they are computed from; or give the "
                "call a copy of what will be written, such as key.clone(). "
                'regard.watch(model, keep="exact") makes such copies.'
            )

    def detached(self) -> Witness:
        """Return a witness of the same memory that holds no graph."""
        return Witness(tuple(one._replace(tensor=one.tensor.detach()) for one in self.seen))


def witness(x: AttentionInputs, without: Collection[str]) -> Witness:
    """Return a witness of the tensors of a call, but for some."""
    return Witness(tuple(_seen(name, tensor, x) for name, tensor in tensors_of_call(x) if name not in without))


def tensors_of_call(x: AttentionInputs) -> list[tuple[str, Tensor]]:
    """Return every tensor that weights are computed from, by its field."""
    return [(name, tensor) for name, tensor in x.tensors().items() if name in _NAMES]


def _seen(name: str, tensor: Tensor, x: AttentionInputs) -> _Seen:
    small = tensor.numel() <= (_SMALL_BOOL if tensor.dtype == torch.bool else _SMALL)
    many = x.query.shape[2] >= _MANY_QUERIES and tensor.is_floating_point()
    summed = (small or many) and tensor.device.type != "meta" and not traced()
    return _Seen(name, tensor, version_of(tensor), _place(tensor), _sums(tensor) if summed else None)


def version_of(tensor: Tensor) -> int | None:
    """Return how often a tensor was written in place; None in inference mode, which does not count."""
    return None if tensor.is_inference() else tensor._version


def _place(tensor: Tensor) -> tuple[object, ...]:
    """Return where the memory of a tensor lies and how it is read; only the second where it has none of its own."""
    form = (tensor.dtype, tensor.shape, tensor.stride(), tensor.storage_offset())
    if type(tensor) not in (Tensor, Parameter) or traced():  # fake tensors, wrappers of torch.func and others
        return form
    return (*form, tensor.data_ptr(), tensor.untyped_storage().nbytes())


def _sums(tensor: Tensor) -> Tensor:
    half = tensor.dtype in (torch.float16, torch.bfloat16)  # whose sums overflow soon
    plain = tensor.detach() if tensor.requires_grad else tensor
    return plain.sum(-1, dtype=torch.float32 if half else None)


def _same(new: Tensor, old: Tensor) -> bool:
    # The number of threads may change the last bits, and NaN is itself here.
    return torch.equal(new, old) or torch.allclose(new, old, rtol=1e-4, atol=1e-5, equal_nan=True)
