"""What a lazy matrix is computed from: the call, its `lse`, and how to get the scores of any rectangle.

Every weight is `exp(score - lse)`. Rows whose `lse` is far from zero are the exception: one number cannot hold both the
largest score and the sum, and a score that is computed again may round differently, so such a row is normalised by its
own sum whenever a part of it is looked at. Softmax and linear attention differ only in what the score is, so they share
selection, spans, masks and every summary. There are two ways to a rectangle: `logs`, through which gradients flow, and
`bits`, in base 2 and without a graph, which the summaries stream over. Base 2, because `torch.exp2` took a quarter of
the time of `torch.exp` where it was measured.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from typing import Literal, Self

import torch
from torch import Tensor

from .._inputs import AttentionInputs, Index, Summary, cut
from .._tracing import traced
from ..backends import (
    FAR,
    accumulate_dtype,
    all_finite,
    readable,
    steady_exp2_,
    visible_queries,
)
from ..errors import ShapeError
from ._witness import EVERYTHING, READ_BY_WEIGHTS, Witness, tensors_of_call

LOG2E = 1.0 / math.log(2.0)
LseOf = Literal["scores", "weighted", "more"]
# Entries of the temporaries of one step of `pairs`, times the head width.
_PAIR_ENTRIES = 1 << 22


@dataclass(eq=False)
class WeightSource(ABC):
    """A matrix `(B, H, L, S)` of which any entry can be computed."""

    inputs: AttentionInputs
    lse: Tensor | None = None
    """`(B, H, L)`, -inf where a row sees nothing; None until it is computed."""
    lse_has_gradient: bool = False
    lse_of: LseOf = "scores"
    """What `lse` is the sum of: each row's scores, the scores with `log_factor`, or something else besides."""
    tracked: bool = False
    """Gradients are wanted: tiles are made in operations that autograd can follow."""
    log_factor: Tensor | None = None
    """`(B, H, S)`: natural log of a factor on each key's weights, without gradient; None for 1."""
    map: Tensor | None = None
    """A pooled map that came with the forward pass, cells of `map_cell` tokens a side."""
    map_cell: int = 0
    summary: Summary | None = None
    """What came with the forward pass in place of a map; questions that it answers are answered from it."""
    backend: str | None = None
    """The backend that computed the call; None if it was none of regard's, or is not known."""
    witness: Witness | None = None
    """Knows whether the inputs are still those of the call; None where nothing can write to them before."""

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """`(B, H, L, S)`."""
        return self.inputs.shape

    @property
    def device(self) -> torch.device:
        """Where the tensors lie."""
        return self.inputs.query.device

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the weights: float64 for float64 inputs, else float32."""
        return accumulate_dtype(self.inputs.query.dtype)

    @property
    def shift(self) -> int:
        """`S - L`: query `i` stands on key `i + shift`, bottom-right aligned."""
        return self.shape[3] - self.shape[2]

    @property
    def sums_to_one(self) -> bool:
        """False where the factors of the keys were not normalised away."""
        return self.log_factor is None or self.lse_of == "weighted"

    @property
    def kept_cell(self) -> int:
        """0: entries can be computed."""
        return 0

    @property
    def map_cell_at_hand(self) -> int:
        """Tokens per side of the cells of a map that is there already; 0 if there is none."""
        if self.summary is not None:
            return self.summary.cell
        return 0 if self.map is None else self.map_cell

    @property
    def requires_grad(self) -> bool:
        """Whether gradients can flow from the weights into some input."""
        return self.inputs.weights_require_grad

    def entries(self, what: str | None = None) -> WeightSource:
        """Return this; `what` names what is needed, for the error of a source that cannot give it."""
        return self

    def fresh(self, reads: Collection[str] = READ_BY_WEIGHTS) -> Self:
        """Return this, after a check that what a question reads is still that of the call."""
        if self.witness is not None:
            self.witness.check(reads)
        return self

    def rectangle(self, rows: Index, columns: Index) -> tuple[AttentionInputs, slice, slice]:
        """Return a call and two slices of it that hold the rectangle: positions are gathered, slices left alone."""
        if isinstance(rows, slice) and isinstance(columns, slice):
            return self.inputs, rows, columns
        part = self.inputs.select(rows, columns)
        return part, slice(0, part.query.shape[2]), slice(0, part.key.shape[2])

    @abstractmethod
    def scores(self, rows: Index, columns: Index) -> Tensor:
        """Return the scores of a rectangle in natural logs, hidden keys at -inf; differentiable."""

    @abstractmethod
    def pair_scores(self, rows: Tensor, columns: Tensor) -> Tensor:
        """Return the scores `(B, H, n)` of the entries `(rows[n], columns[n])`, without the mask; differentiable."""

    def fresh_scores(self, rows: Index, columns: Index) -> Tensor:
        """Return `scores` in base 2, without a graph, in a tensor that may be written to."""
        return in_base_2(self.scores(rows, columns).clone())

    def raw_logs(self, rows: Index, columns: Index) -> Tensor:
        """Return the scores with the factor of each key: what `lse` is taken over."""
        return _with_factor(self.scores(rows, columns), self.log_factor, columns, 1.0)

    def raw_bits(self, rows: Index, columns: Index) -> Tensor:
        """Return `raw_logs` in base 2, without a graph, in a tensor that may be written to."""
        return _with_factor(self.fresh_scores(rows, columns), self.log_factor, columns, LOG2E)

    def far(self, rows: Index) -> bool:
        """Return whether some of these rows are to be normalised by their own sum; True where no number can be read."""
        if self.lse_of == "more":  # a row's own sum is not all that it is to be divided by
            return False
        if self.device.type == "meta" or traced():
            return True
        found = self._known_lse().detach()[:, :, rows].abs()
        return bool(((found > FAR) & (found < torch.inf)).any())

    def _own_logs(self, rows: Index) -> Tensor:
        # All keys of the rows, in one product: what is then divided by their sum is exactly what was summed.
        whole = slice(0, self.shape[3])
        found = _with_factor(_log_softmax(self.scores(rows, whole)), self.log_factor, whole, 1.0)
        return _log_softmax(found) if self.lse_of == "weighted" else found

    def logs(self, rows: Index, columns: Index) -> Tensor:
        """Return the natural logs of the weights of a rectangle, `(B, H, r, c)`; -inf where hidden."""
        if self.far(rows):
            return self._own_logs(rows)[..., columns]
        return self.raw_logs(rows, columns) - self._norm(rows)

    def bits(self, rows: Index, columns: Index) -> Tensor:
        """Return `logs` in base 2, without a graph, in a tensor that may be written to."""
        if self.far(rows):
            return in_base_2(self._own_logs(rows)[..., columns].clone())
        # Not by `alpha`: whether its product is rounded depends on where threads cut the tensor.
        return self.raw_bits(rows, columns).sub_(self._norm(rows) * LOG2E)

    def tile(self, rows: Index, columns: Index) -> Tensor:
        """Return the weights of a rectangle, `(B, H, r, c)`; exactly 0 where hidden."""
        return self.logs(rows, columns).exp() if self.tracked else steady_exp2_(self.bits(rows, columns))

    def pairs(self, rows: Tensor, columns: Tensor) -> Tensor:
        """Return the weights `(B, H, n)` of single entries, in O(B·H·n)."""
        batch, heads, _, _ = self.shape
        width = self.shape[3] if self.far(slice(None)) else self.inputs.query.shape[3]
        step = max(1, _PAIR_ENTRIES // max(1, batch * heads * width))
        parts = [self._pairs(r, c) for r, c in zip(rows.split(step), columns.split(step), strict=True)]
        return torch.cat(parts, -1) if parts else self.inputs.query.new_zeros(batch, heads, 0, dtype=self.dtype)

    def _pairs(self, rows: Tensor, columns: Tensor) -> Tensor:
        if self.far(rows):
            return self._own_logs(rows)[:, :, torch.arange(rows.shape[0], device=rows.device), columns].exp()
        x = self.inputs
        score = self.pair_scores(rows, columns)
        if self.log_factor is not None:
            score = score + self.log_factor[:, :, columns]
        if x.spans is not None:
            start, stop = x.spans.start[..., rows], x.spans.stop[..., rows]
            score = score.masked_fill((columns < start) | (columns >= stop), -torch.inf)
        if x.dense_mask is not None:
            score = score.masked_fill(~single_entries(x.dense_mask, rows, columns), -torch.inf)
        return (score - self._norm(rows)[..., 0]).exp()

    def _known_lse(self) -> Tensor:
        if self.lse is None:
            raise ValueError("the lse of these weights is not computed yet")
        return self.lse

    def _norm(self, rows: Index) -> Tensor:
        norm = self._known_lse()[:, :, rows, None]
        return torch.where(norm == -torch.inf, 0.0, norm)

    def reach(self, rows: slice) -> tuple[int, int]:
        """Return the first key that some row of the slice may see by its span, and one past the last."""
        spans = self.inputs.spans
        if spans is None or not readable(spans.start):
            return 0, self.shape[3]
        start, stop = spans.start[..., rows], spans.stop[..., rows]
        if start.numel() == 0:
            return 0, 0
        # Empty rows reach nowhere; their span may lie anywhere.
        first = int(torch.where(start < stop, start, self.shape[3]).amin())
        return first, max(first, int(torch.where(start < stop, stop, 0).amax()))

    def inside(self, rows: slice) -> tuple[int, int]:
        """Return the keys, first and one past the last, that the mask hides from no row of the slice."""
        x = self.inputs
        if x.dense_mask is not None:
            return 0, 0
        if x.spans is None or x.spans.start.numel() == 0:
            return 0, self.shape[3]
        if not readable(x.spans.start):
            return 0, 0
        return int(x.spans.start[..., rows].amax()), int(x.spans.stop[..., rows].amin())

    def cuts(self, rows: slice, columns: slice) -> bool:
        """Return whether some entry of a rectangle may be hidden by the mask."""
        first, last = self.inside(rows)
        return bool(columns.start < first or columns.stop > last)

    def norms(self, output_weight: Tensor | None) -> Tensor:
        """Return `‖v_j‖`, or `‖W_h v_j‖` with a weight `(D, H·Ev)`, per query head: `(B, H, S)`, no gradient."""
        value = self.inputs.value.detach().to(self.dtype)
        heads, groups, width = self.shape[1], value.shape[1], value.shape[3]
        if output_weight is None:
            plain: Tensor = value.norm(dim=-1).repeat_interleave(heads // max(groups, 1), 1)
            return plain
        if output_weight.ndim != 2 or output_weight.shape[1] != heads * width:
            raise ShapeError(
                f"output_weight has shape {tuple(output_weight.shape)}; the rule is "
                f"(D, H * Ev) = (D, {heads * width}), as in the weight of a torch.nn.Linear after the heads."
            )
        # ‖v W‖² = v (W Wᵀ) vᵀ: the width D is folded away once per head.
        weight = output_weight.t().unflatten(0, (heads, width)).detach().to(self.dtype)
        gram = weight @ weight.transpose(-2, -1)
        picked = [value[:, h // (heads // groups)] for h in range(heads)]
        squares = [((v @ gram[h]) * v).sum(-1) for h, v in enumerate(picked)]
        return torch.stack(squares, 1).clamp(min=0.0).sqrt()

    def select(self, batch: Index, heads: Index) -> Self:
        """Return the matrices of some batch rows and query heads."""
        index = {"B": batch, "H": heads}
        lse, factor, found = (
            None if one is None else cut(one, "BH", index) for one in (self.lse, self.log_factor, self.map)
        )
        summed = None if self.summary is None else self.summary.of_heads(batch, heads)
        inputs = self.inputs.of_heads(batch, heads)
        return replace(self, inputs=inputs, lse=lse, log_factor=factor, map=found, summary=summed)

    def moved(self, device: torch.device | str) -> Self:
        """Return a copy on another device."""
        moved = self.fresh(EVERYTHING)._mapped(lambda tensor: tensor.to(device))
        return moved if moved.inputs.query is self.inputs.query else replace(moved, witness=None)

    def detached(self) -> Self:
        """Return this if no gradient flows through it, else a copy."""
        if not self.tracked and not self.inputs.requires_grad:
            return self
        witness = None if self.witness is None else self.witness.detached()
        return replace(self._mapped(torch.Tensor.detach), tracked=False, lse_has_gradient=False, witness=witness)

    def _mapped(self, change: Callable[[Tensor], Tensor]) -> Self:
        def maybe(tensor: Tensor | None) -> Tensor | None:
            return None if tensor is None else change(tensor)

        inputs = self.inputs.map(change)
        summed = None if self.summary is None else self.summary.each(change)
        return replace(
            self, inputs=inputs, lse=maybe(self.lse), log_factor=maybe(self.log_factor), map=maybe(self.map),
            summary=summed,
        )  # fmt: skip

    def tracking(self) -> Self:
        """Return a copy that gradients flow through; its `lse` is dropped if none flows through that."""
        x = self.inputs
        if (x.spans is not None or x.dense_mask is not None) and not (readable(x.key) and all_finite(x.key)):
            # A NaN in a key that no query sees would come back as 0 · NaN in the gradient of the queries.
            seen = (visible_queries(x) > 0)[..., None]
            if seen.shape[1] != 1:
                seen = seen.reshape(seen.shape[0], x.key.shape[1], -1, *seen.shape[2:]).any(2)
            x = replace(x, key=torch.where(seen, x.key, 0.0))
        lse = self.lse if self.lse_has_gradient else None
        return replace(self, inputs=x, lse=lse, map=None, summary=None, tracked=True)

    def copied(self, names: Collection[str]) -> Self:
        """Return the same matrix out of copies of some tensors of the call."""
        return replace(self, inputs=self.inputs.map(copied, names)) if names else self

    def owned(self) -> Self:
        """Return a source whose tensors are our own, after a check that they are those of the call."""
        if self.witness is None:
            names = {name for name, _ in tensors_of_call(self.inputs)}
        else:
            self.witness.check(EVERYTHING)
            names = {one.name for one in self.witness.seen}
        return replace(self.copied(names), witness=Witness(()))


def copied(tensor: Tensor) -> Tensor:
    """Return a copy that shares no memory; gradients flow through it."""
    # What is the same along a dimension is kept once.
    once = tensor[tuple(slice(0, 1) if step == 0 else slice(None) for step in tensor.stride())]
    with torch.set_grad_enabled(tensor.requires_grad):
        return once.clone().expand(tensor.shape)


def _log_softmax(logs: Tensor) -> Tensor:
    # A row of which nothing is seen stays as it is.
    nothing = (logs == -torch.inf).all(-1, keepdim=True)
    return torch.log_softmax(logs.masked_fill(nothing, 0.0), -1).masked_fill(nothing, -torch.inf)


def in_base_2(logs: Tensor) -> Tensor:
    """Return natural logs in base 2, in place."""
    # The lowest finite biases would become -inf, which means hidden.
    hidden = logs == -torch.inf
    return logs.mul_(LOG2E).clamp_(min=torch.finfo(logs.dtype).min).masked_fill_(hidden, -torch.inf)


def _with_factor(score: Tensor, factor: Tensor | None, columns: Index, unit: float) -> Tensor:
    # What is hidden stays hidden, even if the norm of its value is NaN.
    if factor is None:
        return score
    return torch.where(score == -torch.inf, score, score + unit * factor[:, :, None, columns])


def single_entries(matrix: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Return single entries `(b, h, n)` of a tensor whose last two sizes may be 1 for "the same everywhere"."""
    rows = rows if matrix.shape[2] > 1 else torch.zeros_like(rows)
    return matrix[..., rows, columns if matrix.shape[3] > 1 else torch.zeros_like(columns)]
