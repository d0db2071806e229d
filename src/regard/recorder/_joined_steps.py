"""The steps of a generation, joined to one matrix: its summaries, query and key, or the weights themselves."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor
from torch.nn.functional import pad

from .._inputs import AttentionInputs, Spans, summary_cell
from ..backends import any_of, cell_sizes, in_cells
from ..weights import (
    AttentionWeights,
    LseOf,
    SoftmaxSource,
    Summary,
    from_dense,
    inputs_of,
    kept,
    lse_of,
    top_of,
)
from ._steps import Orders, Placed, Step, Turn, arranged

# Entries of rows that are read at a time.
_ENTRIES = 1 << 22


class JoinedSummary:
    """Grows the summaries: O(n), whatever the number of steps."""

    def __init__(self, first: Summary, filled: int, orders: Orders, placed: Placed | None = None) -> None:
        distance, neighbours = placed or (first.distance, first.neighbours)
        self._orders = orders
        batch, heads, queries = first.entropy.shape
        self._cell = first.cell
        rows = cell_sizes(queries, first.cell, first.map.device).to(first.map)
        columns = -(-filled // first.cell)
        self._sums = first.map[..., :columns].double() * rows[:, None]
        self._hidden = first.masked.expand(first.map.shape)[..., :columns]
        self._received = first.received[..., :filled].double()
        self._visible_queries = first.visible_queries.expand(batch, heads, -1)[..., :filled]
        self._neighbours = neighbours.double()
        visible_keys = first.visible_keys.expand(batch, heads, queries)
        self._rows: list[tuple[Tensor, ...]] = [
            (first.entropy, distance, first.top, first.top_keys, first.lse, visible_keys)
        ]
        self._turns: list[Turn | None] = [None]
        self._queries, self._keys = queries, filled
        self._waiting: Step | None = None

    def add(self, step: Step) -> None:
        """Append a call; its sums are taken when the next one comes, for then the order of the batch is known."""
        self._settle()
        parts = [_Rows(step, rows) for rows in _stretches(step)]
        self._rows.append(tuple(torch.cat(each, 2) for each in zip(*(part.each() for part in parts), strict=True)))
        self._turns.append(step.turn)
        # By then a cache of fixed size holds other keys.
        self._waiting = replace(step, weights=kept(step.weights, copy_all=True))

    def _settle(self) -> None:
        step, self._waiting = self._waiting, None
        if step is None:
            return
        order = self._orders.of(step.turn)
        if order is not None:
            self._sums, self._hidden, self._received = self._sums[order], self._hidden[order], self._received[order]
            self._visible_queries, self._neighbours = self._visible_queries[order], self._neighbours[order]
        self._keys = max(self._keys, step.total)
        self._grow(self._queries + step.rows)
        columns = torch.arange(step.first_key, step.total, device=self._sums.device)
        for stretch in _stretches(step):
            part = _Rows(step, stretch)
            seen = ~part.hidden
            self._received[..., step.first_key : step.total] += part.weights.sum(2)
            self._visible_queries[..., step.first_key : step.total] += seen.sum(2)
            self._neighbours = self._neighbours + part.neighbours()
            rows = torch.arange(part.weights.shape[2], device=columns.device) + self._queries + stretch.start
            self._fold(part.weights.double(), seen, rows // self._cell, columns // self._cell)
        self._queries += step.rows

    def _fold(self, weights: Tensor, seen: Tensor, rows: Tensor, columns: Tensor) -> None:
        across = self._sums.shape[3]
        for down in rows.unique().tolist():
            here = rows == down
            mass, some = weights[:, :, here].sum(2), seen[:, :, here].any(2)
            width = mass.new_zeros(*mass.shape[:2], across)
            self._sums[:, :, down] += width.index_add(2, columns, mass)
            self._hidden[:, :, down] &= width.index_add(2, columns, some.double()) == 0

    def _grow(self, queries: int) -> None:
        while self._cell < summary_cell(max(queries, self._keys)):
            self._cell *= 2
            self._sums = in_cells(self._sums, (2, 2), torch.sum)
            self._hidden = ~in_cells(~self._hidden, (2, 2), any_of)
        down = -(-queries // self._cell) - self._sums.shape[2]
        across = -(-self._keys // self._cell) - self._sums.shape[3]
        self._sums = pad(self._sums, (0, across, 0, down))
        self._hidden = pad(self._hidden, (0, across, 0, down), value=True)
        more = (0, self._keys - self._received.shape[2])
        self._received, self._visible_queries = pad(self._received, more), pad(self._visible_queries, more)

    def weights(self) -> AttentionWeights:
        """Return the summaries of the whole matrix."""
        self._settle()
        columns = [arranged(each, self._turns, self._orders) for each in zip(*self._rows, strict=True)]
        entropy, distance, top, top_keys, lse, visible_keys = (torch.cat(each, 2) for each in columns)
        rows = cell_sizes(self._queries, self._cell, self._sums.device)
        return AttentionWeights.of_summary(
            Summary(
                self._cell, (self._sums / rows[:, None]).to(entropy), self._hidden, entropy, distance,
                self._received.to(entropy), top, top_keys, self._neighbours.to(entropy), lse, visible_keys,
                self._visible_queries,
            )
        )  # fmt: skip


def placed_at_end(step: Step) -> Placed:
    """Return the distance and the neighbours of rows that stand at the end of a step's valid keys."""
    parts = [_Rows(step, rows) for rows in _stretches(step)]
    distance = torch.cat([part.distance() for part in parts], 2)
    return distance, torch.stack([part.neighbours() for part in parts]).sum(0).to(distance)


def _stretches(step: Step) -> list[slice]:
    """Cut the rows of a step into stretches of bounded size."""
    batch, heads = step.weights.shape[:2]
    height = max(1, _ENTRIES // max(1, step.keys * batch * heads))
    return [slice(a, min(a + height, step.rows)) for a in range(0, step.rows, height)]


class _Rows:
    """Some rows of a step, whole: O(rows x keys)."""

    def __init__(self, step: Step, rows: slice) -> None:
        whole = step.weights
        self._step = step
        self.weights = whole[:, :, rows, : step.keys]
        self.hidden = whole.masked(rows=rows, columns=slice(0, step.keys))
        self._lse = whole.lse[:, :, rows]
        # Where the rows stand among the keys of the call: the last on the last key.
        device = self.weights.device
        self._places = torch.arange(rows.start, rows.stop, device=device) + step.keys - step.rows

    def each(self) -> tuple[Tensor, ...]:
        """Return entropy, distance, largest weights, their keys, lse and visible keys of each row."""
        top, top_keys = top_of(self.weights.masked_fill(self.hidden, -torch.inf))
        return (
            torch.special.entr(self.weights).sum(-1),
            self.distance(),
            top,
            torch.where(top_keys < 0, top_keys, top_keys + self._step.first_key),
            self._lse,
            (~self.hidden).sum(-1),
        )

    def distance(self) -> Tensor:
        """Return the sum of weight times distance of each row; NaN where rows do not stand on their keys."""
        keys = torch.arange(self._step.keys, device=self.weights.device)
        apart = (keys - self._places[:, None]).abs().to(self.weights)
        return (self.weights * apart).sum(-1) if self._step.own else torch.full_like(self._lse, torch.nan)

    def neighbours(self) -> Tensor:
        """Return the sums of the weights before, at and after the own place, `(B, H, 3)`; NaN where there is none."""
        sums = []
        for side in (-1, 0, 1):
            place = self._places + side
            inside = (place >= 0) & (place < self._step.keys)
            picked = self.weights[:, :, inside].gather(-1, place[inside][None, None, :, None].expand(
                *self.weights.shape[:2], -1, 1))  # fmt: skip
            sums.append(picked.double().sum((2, 3)))
        found = torch.stack(sums, -1)
        return found if self._step.own else torch.full_like(found, torch.nan)


class JoinedExact:
    """Grows query, key, value and `lse`, of which every entry can be computed."""

    def __init__(self, first: Step, orders: Orders) -> None:
        self._steps: list[dict[str, Tensor]] = []
        self._turns: list[Turn | None] = []
        self._orders, self._rank = orders, first.weights.ndim
        self._settings = inputs_of(first.weights)
        self._firsts: list[int] = []
        self._sizes: list[int] = []
        self._keys = 0
        self._lse_of = lse_of(first.weights)
        self.add(first)

    def add(self, step: Step) -> None:
        """Append the queries of a call and the keys that are new in it."""
        x = inputs_of(step.weights)
        new = slice(max(0, self._keys - step.first_key), step.keys)
        if lse_of(step.weights) != "scores":
            self._lse_of = lse_of(step.weights)
        held = {
            "query": x.query.clone(),
            "key": x.key[:, :, new].clone(),
            "value": x.value[:, :, new].clone(),
            "lse": step.weights.lse,
        }
        batch, heads, rows, _ = x.shape
        if x.dense_mask is None and x.bias is None and x.position_bias is None:
            zero = torch.zeros(1, 1, rows, dtype=torch.int32, device=x.query.device)
            held["start"] = (zero if x.spans is None else x.spans.start) + step.first_key
            held["stop"] = (zero + step.keys if x.spans is None else x.spans.stop.clamp(max=step.keys)) + step.first_key
        else:
            every = (torch.arange(count, device=x.query.device) for count in (rows, step.keys))
            part = x.select(*every)
            none = torch.zeros(batch, heads, rows, step.keys, dtype=torch.float32, device=x.query.device)
            bias = none if part.bias is None else part.bias.float().clone()
            if part.dense_mask is not None:
                bias = bias.masked_fill(~part.dense_mask, -torch.inf)
            held["bias"] = bias.expand(batch, heads, rows, step.keys)
        self._steps.append(held)
        self._turns.append(step.turn)
        self._firsts.append(step.first_key)
        self._sizes.append(step.keys)
        self._keys = max(self._keys, step.total)

    def weights(self) -> AttentionWeights:
        """Return the lazy matrix of all calls."""

        def every(name: str) -> list[Tensor]:
            return arranged([step[name] for step in self._steps], self._turns, self._orders)

        query, key, value, lse = (torch.cat(every(name), 2) for name in ("query", "key", "value", "lse"))
        inputs = AttentionInputs(query, key, value, self._settings.scale, softcap=self._settings.softcap)
        if all("start" in step for step in self._steps):
            spans = Spans(_joined(every("start")), _joined(every("stop")))
            return _call(replace(inputs, spans=spans), lse, self._lse_of)
        if any("start" in step for step in self._steps):
            raise ValueError("some steps of one call have a dense mask or bias, others have none")
        rows = [
            pad(bias, (first, self._keys - first - size), value=-torch.inf)
            for bias, first, size in zip(every("bias"), self._firsts, self._sizes, strict=True)
        ]
        return _call(replace(inputs, bias=torch.cat(rows, 2)), lse, self._lse_of)


class JoinedDense:
    """Grows the weights themselves, O(n²)."""

    def __init__(self, first: Step, orders: Orders) -> None:
        self._rows: list[Tensor] = []
        self._hidden: list[Tensor] = []
        self._firsts: list[int] = []
        self._turns: list[Turn | None] = []
        self._orders, self._keys = orders, 0
        self.add(first)

    def add(self, step: Step) -> None:
        """Append the rows of a call."""
        self._rows.append(step.weights.dense()[..., : step.keys])
        self._hidden.append(step.weights.masked()[..., : step.keys])
        self._firsts.append(step.first_key)
        self._turns.append(step.turn)
        self._keys = max(self._keys, step.total)

    def weights(self) -> AttentionWeights:
        """Return the stored matrix of all calls."""
        return from_dense(self._padded(self._rows, 0.0), ~self._padded(self._hidden, True))

    def _padded(self, rows: list[Tensor], value: float) -> Tensor:
        every = zip(arranged(rows, self._turns, self._orders), self._firsts, strict=True)
        return torch.cat([pad(r, (first, self._keys - first - r.shape[3]), value=value) for r, first in every], 2)


def _call(inputs: AttentionInputs, lse: Tensor, lse_of: LseOf) -> AttentionWeights:
    return AttentionWeights(SoftmaxSource(inputs, lse, lse_of=lse_of), 4)


def _joined(spans: list[Tensor]) -> Tensor:
    batch, heads = (max(span.shape[dim] for span in spans) for dim in (0, 1))
    return torch.cat([span.expand(batch, heads, -1) for span in spans], 2).contiguous()
