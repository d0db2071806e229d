"""The matrix of a call of softmax attention: its scores; the same where of its values only the norms were kept."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from .._inputs import Index, cut, key_heads
from ..backends import scores, visible
from ..errors import ArgumentError
from ._source import LOG2E, WeightSource, in_base_2, single_entries


@dataclass(eq=False)
class SoftmaxSource(WeightSource):
    """The matrix of a call of `regard.attention`."""

    def scores(self, rows: Index, columns: Index) -> Tensor:
        """Return `scale · QKᵀ (→ softcap) + bias`, hidden keys at -inf."""
        return scores(*self.rectangle(rows, columns))

    def fresh_scores(self, rows: Index, columns: Index) -> Tensor:
        """Return the scores in base 2; only blocks that the mask cuts are masked."""
        x = self.inputs
        if not isinstance(rows, slice) or not isinstance(columns, slice):
            return in_base_2(self.scores(rows, columns))
        if x.position_bias is not None or x.bias is not None:
            return in_base_2(self.scores(rows, columns))
        groups = x.key.shape[1]
        factor = x.scale if x.softcap is not None else x.scale * LOG2E
        query = x.query[:, :, rows].to(self.dtype) * factor
        batch, heads, length, width = query.shape
        key = x.key[:, :, columns].to(self.dtype)
        stacked = query.reshape(batch, groups, heads // max(groups, 1) * length, width)
        score = _product(stacked, key).reshape(batch, heads, length, key.shape[2])
        if x.softcap is not None:
            score.div_(x.softcap).tanh_().mul_(x.softcap * LOG2E)
        seen = visible(x, rows, columns) if self.cuts(rows, columns) else None
        return score if seen is None else score.masked_fill_(~seen, -torch.inf)

    def pair_scores(self, rows: Tensor, columns: Tensor) -> Tensor:
        """Return `scale · q·k (→ softcap) + bias` of single entries."""
        x = self.inputs
        query = x.query[:, :, rows].to(self.dtype)
        score = pair_products(query, x.key[:, :, columns].to(self.dtype)) * x.scale
        if x.softcap is not None:
            score = x.softcap * torch.tanh(score / x.softcap)
        if x.position_bias is not None:
            score = score + x.position_bias[:, columns - rows + x.query.shape[2] - 1].to(self.dtype)
        return score if x.bias is None else score + single_entries(x.bias, rows, columns).to(self.dtype)


@dataclass(eq=False)
class NormsSource(SoftmaxSource):
    """A matrix of whose values only the norms are known: one that was stored, or a step over a cache."""

    value_norms: Tensor | None = None
    """`(B, G, S)`."""

    def norms(self, output_weight: Tensor | None) -> Tensor:
        """Return `‖v_j‖` per query head; refuse what needs the values."""
        if output_weight is not None or self.value_norms is None:
            raise ArgumentError(
                "A recording, and a step over a cache, keep the norms of the values, not the values, so output_weight= "
                "cannot be used. Ask before saving, or call value_weighted() without it."
            )
        heads, groups = self.shape[1], self.value_norms.shape[1]
        return self.value_norms.repeat_interleave(heads // max(groups, 1), 1)

    def select(self, batch: Index, heads: Index) -> Self:
        """Return the matrices of some batch rows and query heads."""
        part = super().select(batch, heads)
        if self.value_norms is None:
            return part
        chosen = {"B": batch, "G": key_heads(heads, self.inputs)}
        return replace(part, value_norms=cut(self.value_norms, "BGS", chosen))

    def moved(self, device: torch.device | str) -> Self:
        """Return a copy on another device."""
        norms = None if self.value_norms is None else self.value_norms.to(device)
        return replace(super().moved(device), value_norms=norms)


def pair_products(query: Tensor, key: Tensor) -> Tensor:
    """Return `q·k` of each pair: `(B, H, n)` from `(B, H, n, E)` and `(B, G, n, E)`."""
    batch, heads, length, width = query.shape
    groups = key.shape[1]
    grouped = query.reshape(batch, groups, heads // max(groups, 1), length, width)
    return (grouped * key[:, :, None]).sum(-1).reshape(batch, heads, length)


def _product(query: Tensor, key: Tensor) -> Tensor:
    # `(b, g, r, E) @ (b, g, c, E)ᵀ`. On the CPU oneDNN's product took 43 % of the time of MKL's on an AMD machine
    # (0.58 and 1.34 ns an entry at E = 64); the same on Intel. Only one matrix at a time, and not for small ones. Rows
    # that are not next to each other, as a model lays its heads out, take oneDNN a hundred times longer.
    if (
        query.dtype == torch.float32
        and query.device.type == "cpu"
        and key.shape[0] * key.shape[1] == 1
        and query.shape[2] * key.shape[2] >= 1 << 16
        and query.shape[3] > 0
        and _ONEDNN
    ):
        rows, columns = query[0, 0].contiguous(), key[0, 0].contiguous()
        flat: Tensor = torch.ops.mkldnn._linear_pointwise(rows, columns, None, "none", [], "")
        return flat[None, None]
    return query @ key.transpose(-2, -1)


_ONEDNN = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")
