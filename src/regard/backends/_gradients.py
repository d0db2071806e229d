"""The backward pass of `math`: all gradients from q, k, v again, in operations that are differentiable again.

With the weights P, D the dropout factor and dP = D ∘ (dO·Vᵀ), the gradient of the scores is
dS = P ∘ (dP - rowsum(P ∘ dP) + dlse); all others follow from it by one product or sum. The row sum is that of dO ∘ O
too, but O was rounded, and in rows that are nearly certain the gradient is smaller than that rounding. P is the
softmax once more and not exp(S - lse): that is faster, and exact where scores are large and `lse` is therefore coarse.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad

from .._inputs import KERNEL_LEARNT, AttentionInputs
from .._tracing import plain
from ._blocks import LEAST_ROWS, Rows, blocks, drop_factor, finite_part, hides, mix, needs_care, seen_entries
from ._scores import capped_products, per_key_head, scores
from ._steady import steady_sum
from ._values import readable


def gradients(
    inputs: AttentionInputs,
    lse: Tensor,
    grad_output: Tensor,
    grad_lse: Tensor | None,
    needed: tuple[bool, ...],
) -> list[Tensor | None]:
    """Return the gradients of the tensors of `KERNEL_LEARNT`; None where not `needed`.

    All in the accumulation dtype, in which `inputs` are given too.
    """
    sums = _Sums(inputs, needed, lse, grad_output, grad_lse)
    for rows, columns in blocks(inputs):
        sums.add(rows, columns)
    return sums.result()


class _Sums:
    """What the blocks have added up so far."""

    def __init__(
        self, inputs: AttentionInputs, needed: tuple[bool, ...], lse: Tensor, grad_output: Tensor,
        grad_lse: Tensor | None,
    ) -> None:  # fmt: skip
        self.inputs, self.grad_output, self.grad_lse = inputs, grad_output, grad_lse
        self.nothing = _empty_rows(inputs, lse)
        self.needed = dict(zip(KERNEL_LEARNT, needed, strict=True))
        read = (inputs.query, inputs.key, inputs.value, grad_output, lse.nan_to_num(torch.nan, torch.inf, 0.0))
        self.careful = needs_care(inputs, *read)
        # A row that sees a NaN has it in its weights or its output, so the products may do without.
        self.clean = inputs
        if self.careful:
            self.clean = inputs.map(finite_part, ("query", "key", "value"))
        # Someone wants a second derivative, or gradients that are batched or carry tangents.
        self.recorded = torch.is_grad_enabled() or not plain()
        self.in_place = readable(inputs.query) and not self.recorded
        ahead = self.in_place and inputs.query.shape[2] > LEAST_ROWS
        self.query = Rows(torch.empty_like(inputs.query) if ahead else None)
        self.bias: list[Tensor] = []
        self.totals: dict[str, Tensor] = {}

    def add(self, rows: slice, columns: slice) -> None:
        """Add one rectangle of the matrix to every gradient that is needed."""
        clean, groups = self.clean, self.inputs.key.shape[1]
        seen = seen_entries(self.inputs, rows, columns) if self.careful else None
        weights = _where(seen, self._weights(rows, columns))
        grad_output = per_key_head(self.grad_output[:, :, rows], groups)
        value = clean.value[:, :, columns].transpose(-2, -1)
        grad_weights = ((grad_output if seen is None else finite_part(grad_output)) @ value).reshape(weights.shape)
        factor = drop_factor(self.inputs, rows, columns)
        if factor is not None:
            grad_weights = grad_weights * factor
        shift = -steady_sum(weights * grad_weights, -1, keepdim=True)
        if self.grad_lse is not None:
            shift = shift + self.grad_lse[:, :, rows, None]
        grad_scores = weights * (grad_weights + shift) if self.recorded else grad_weights.add_(shift).mul_(weights)
        grad_scores = _where(seen, grad_scores)
        if self.needed["value"]:
            mixed = per_key_head(weights if factor is None else weights * factor, groups).transpose(-2, -1)
            hidden = None if seen is None else per_key_head(seen, groups).transpose(-2, -1)
            self._add_columns("value", mix(mixed, grad_output, hidden), columns)
        if self.needed["position_bias"]:
            self._add_position(grad_scores, rows, columns)
        if self.needed["bias"]:
            self._add_bias(grad_scores, columns)
        if self.inputs.softcap is not None:
            grad_scores = grad_scores * (1.0 - (capped_products(clean, rows, columns) / self.inputs.softcap) ** 2)
        stacked, query = per_key_head(grad_scores, groups), clean.query[:, :, rows]
        if self.needed["query"]:
            product = (stacked @ clean.key[:, :, columns]).reshape(query.shape)
            self.query.put(rows, product * self.inputs.scale)
        if self.needed["key"]:
            product = stacked.transpose(-2, -1) @ per_key_head(query, groups)
            self._add_columns("key", product * self.inputs.scale, columns)

    def _weights(self, rows: slice, columns: slice) -> Tensor:
        score = scores(self.inputs, rows, columns)
        if self.careful and self.recorded:  # the second derivative multiplies by the inputs once more
            score = torch.where(score.isfinite(), scores(self.clean, rows, columns), score.detach())
        if self.nothing is None:
            return torch.softmax(score, -1)
        nothing = self.nothing[:, :, rows]
        return torch.softmax(score.masked_fill(nothing, 0.0), -1).masked_fill(nothing, 0.0)

    def _add_columns(self, name: str, part: Tensor, columns: slice) -> None:
        keys = self.inputs.key.shape[2]
        if name not in self.totals:
            whole = part.shape[2] == keys
            self.totals[name] = part if whole else pad(part, (0, 0, columns.start, keys - columns.stop))
        elif self.in_place:
            self.totals[name][:, :, columns] += part
        else:
            self.totals[name] = self.totals[name] + pad(part, (0, 0, columns.start, keys - columns.stop))

    def _add_position(self, grad_scores: Tensor, rows: slice, columns: slice) -> None:
        _, _, queries, keys = self.inputs.shape
        height, width = grad_scores.shape[-2:]
        if height == 0 or width == 0:
            return
        # Last row first, each row one step longer than the block is wide: then diagonals stand in columns.
        turned = pad(grad_scores.sum(0).flip(1), (0, height)).flatten(1)
        sums = turned[:, : height * (height + width - 1)].unflatten(1, (height, height + width - 1)).sum(1)
        before = columns.start + queries - rows.stop
        sums = pad(sums, (before, queries + keys - 1 - before - sums.shape[1]))
        known = self.totals.get("position_bias")
        self.totals["position_bias"] = sums if known is None else known + sums

    def _add_bias(self, grad_scores: Tensor, columns: slice) -> None:
        if self.inputs.bias is None:
            return
        sizes = self.inputs.bias.shape
        summed = [axis for axis in range(4) if sizes[axis] == 1]
        part = steady_sum(grad_scores, *summed, keepdim=True)
        self.bias.append(pad(part, (columns.start, sizes[3] - columns.stop)) if sizes[3] > 1 else part)

    def result(self) -> list[Tensor | None]:
        """Return the gradients in the order of `needed`."""
        found = dict(self.totals)
        if self.needed["query"]:
            found["query"] = self.query.result()
        position, bias = self.inputs.position_bias, self.inputs.bias
        if position is not None and self.needed["position_bias"]:
            sums = found.get("position_bias")
            sums = position.new_zeros(position.shape) if sums is None else sums
            found["position_bias"] = sums.sum(0, keepdim=True) if position.shape[0] == 1 else sums
        if bias is not None and self.needed["bias"]:
            found["bias"] = torch.cat(self.bias, 2) if bias.shape[2] > 1 else torch.stack(self.bias).sum(0)
        return [found.get(name) if needed else None for name, needed in self.needed.items()]


def _where(seen: Tensor | None, tensor: Tensor) -> Tensor:
    return tensor if seen is None else torch.where(seen, tensor, 0.0)


def _empty_rows(inputs: AttentionInputs, lse: Tensor) -> Tensor | None:
    """Return which rows see nothing, bool `(B, H, L, 1)`, or None if it is certain that none does."""
    if not hides(inputs):
        return None
    nothing = lse == -torch.inf
    return None if readable(lse) and not bool(nothing.any()) else nothing[..., None]
