"""What a matrix is computed from: for rooms that store it and put it together again, or join the rows of calls."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from torch import Tensor

from .._inputs import TENSORS, AttentionInputs, Index
from ..errors import ArgumentError
from ._matrix import AttentionWeights
from ._softmax_source import NormsSource, SoftmaxSource
from ._source import LseOf
from ._witness import EVERYTHING


@dataclass(frozen=True, eq=False)
class Parts:
    """Of one call, without gradient; letters as in `regard.attention`. Values are not kept, only their norms."""

    query: Tensor
    """`(B, H, L, E)`."""
    key: Tensor
    """`(B, G, S, E)`."""
    value_norms: Tensor
    """`(B, G, S)`: `‖v_j‖`, all that `value_weighted` asks of the values."""
    scale: float
    """Factor on `query · key`."""
    softcap: float | None = None
    """`c` in `c · tanh(score / c)`."""
    start: Tensor | None = None
    """int32 `(1 or B, 1 or H, L)`: first visible key of each row."""
    stop: Tensor | None = None
    """int32: one past the last."""
    dense_mask: Tensor | None = None
    """bool, 4-D, each size 1 or full."""
    position_bias: Tensor | None = None
    """`(1 or H, L + S - 1)`."""
    bias: Tensor | None = None
    """4-D, each size 1 or full."""
    log_factor: Tensor | None = None
    """`(B, H, S)`: natural log of a factor on each key's weights."""
    kernel_map: Tensor | None = None
    """`(B, H, ⌈L/cell⌉, ⌈S/cell⌉)`: the map that came with the forward pass, cells of `kernel_map_cell` tokens."""
    kernel_map_cell: int = 0
    """0 where no map came."""


# What a call has under the same name.
_SHARED = ({field.name for field in fields(Parts)} & TENSORS.keys()) | {"scale", "softcap"}


def parts_of(weights: AttentionWeights) -> Parts:
    """Return what these weights are computed from; raises `ArgumentError` where that is no softmax of a call."""
    source = weights._source.entries("query and key").fresh(EVERYTHING).detached()
    if not isinstance(source, SoftmaxSource):
        raise ArgumentError(
            f"Weights of {type(source).__name__.strip('_')} are not stored exactly: only softmax attention is. Keep "
            "their summaries: AttentionWeights.of_summary(weights.summarise(these))."
        )
    norms = source.value_norms if isinstance(source, NormsSource) else None
    if norms is None:
        norms = source.inputs.value.to(source.dtype).norm(dim=-1)
    x = source.inputs
    held: dict[str, Any] = {name: tensor for name, tensor in x.tensors().items() if name in _SHARED}
    return Parts(
        **held, scale=x.scale, softcap=x.softcap, value_norms=norms, log_factor=source.log_factor,
        kernel_map=source.map, kernel_map_cell=source.map_cell if source.map is not None else 0,
    )  # fmt: skip


def source_of(parts: Parts, lse: Tensor, lse_of: LseOf = "scores") -> NormsSource:
    """Return the matrix of stored parts. NaN in `lse` makes a row NaN, which says "not recorded"."""
    nothing = parts.key.new_zeros(()).expand(*parts.key.shape[:3], 1)
    held: dict[str, Any] = {name: getattr(parts, name) for name in _SHARED}
    inputs = AttentionInputs.from_flat(value=nothing, need_weights=True, **held)
    return NormsSource(
        inputs, lse, lse_of=lse_of, log_factor=parts.log_factor, map=parts.kernel_map, map_cell=parts.kernel_map_cell,
        value_norms=parts.value_norms,
    )  # fmt: skip


def inputs_of(weights: AttentionWeights) -> AttentionInputs:
    """Return the call that weights are computed from; raises `ArgumentError` where only a summary was kept."""
    return weights._source.entries("query and key").inputs


def lse_of(weights: AttentionWeights) -> LseOf:
    """Return what the `lse` of weights is the sum of."""
    return weights._source.entries("query and key").lse_of


def with_batch(weights: AttentionWeights) -> AttentionWeights:
    """Return the same weights in four dimensions."""
    return weights if weights.ndim == 4 else AttentionWeights(weights._source)


def of_heads(weights: AttentionWeights, heads: Index, batch: int | None = None) -> AttentionWeights:
    """Return the weights of some heads, in three dimensions or more; those of one input of the batch in three."""
    rank, inputs = max(3, weights.ndim), slice(None)
    if batch is not None:
        rank, inputs = 3, slice(batch, batch + 1)
    return AttentionWeights(weights._source.select(inputs, heads), rank)
