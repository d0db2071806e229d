"""One growing matrix out of the calls that one module makes while text is generated with a cache of keys.

Each step brings a few new rows. That a call continues the one before is told by its keys, not by its sizes: the last
key of the call before stands right before the new keys. A beam search changes the order of the batch; the rows that
were recorded follow the hypotheses, in the order that the keys of all layers of the pass allow.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..backends import visible_queries
from ..weights import AttentionWeights, inputs_of, with_batch

Turn = tuple[int, int, int]
"""Names a pass: number of the module's recording, batch, keys after it."""
Placed = tuple[Tensor, Tensor]
"""Distance and neighbours of rows, as a `Summary` has them, that stand at the end of the valid keys."""


@dataclass(frozen=True)
class Step:
    """Where the rows of a call stand in the growing matrix."""

    weights: AttentionWeights
    """In four dimensions."""
    rows: int
    """New rows."""
    keys: int
    """Number of valid keys of the call; behind them a cache of fixed size is not filled yet."""
    first_key: int
    """Which key of the growing matrix is key 0 of the call; above 0 where a window slides."""
    turn: Turn | None
    """Names the order of the batch in this pass; None for the first call."""
    own: bool
    """Rows stand on their own keys (self-attention), the last row on the last key."""
    before: int = 0
    """Number of valid keys in the call before."""
    placed: Placed | None = None
    """What `Growth.place` was told of the call before."""

    @property
    def total(self) -> int:
        """Keys of the growing matrix after this call."""
        return self.first_key + self.keys


class Call:
    """What must be known of a call to tell whether the next one continues it."""

    def __init__(self, weights: AttentionWeights) -> None:
        key = inputs_of(weights).key
        self.queries, self.keys = weights.shape[-2:]
        self.first_key = 0
        self.placed: Placed | None = None
        self._ends = key[:, :, :: max(1, self.keys - 1)].clone()
        self._last_filled = None
        # Copied now, as a cache is written to; the number is read when a step may continue the call, and not before.
        self._filled = _filled(weights)
        if isinstance(self._filled, Tensor):
            place = torch.where(self._filled > 0, self._filled - 1, self.keys - 1)
            self._last_filled = key.index_select(2, place.reshape(1))

    @property
    def filled(self) -> int:
        """One past the last key that any row sees by the mask."""
        return int(self._filled)

    @property
    def first(self) -> Tensor:
        """The first key, `(B, G, 1, E)`."""
        return self._ends[:, :, :1]

    @property
    def last(self) -> Tensor:
        """The last key, `(B, G, 1, E)`."""
        return self._ends[:, :, -1:]

    @property
    def last_filled(self) -> Tensor:
        """The last valid key, `(B, G, 1, E)`."""
        return self.last if self._last_filled is None else self._last_filled

    def continued_by(self, weights: AttentionWeights) -> tuple[int, int, int, Tensor] | None:
        """Return what of a step is new, None if the call does not continue this one.

        That is: the valid keys, those valid in this call, the first key, and which old row of the batch each new
        one may be.
        """
        key, (rows, every) = inputs_of(weights).key, weights.shape[-2:]
        if key.shape[:2] != self.first.shape[:2] or rows >= every:
            return None
        filled = int(_filled(weights))
        # The filled part of a cache of fixed size, then all that was handed over.
        for keys, before, last in ((filled, self.filled, self.last_filled), (key.shape[2], self.keys, self.last)):
            if keys - rows < 1 or keys > before + rows:
                continue
            same = _same(key[:, :, keys - rows - 1 : keys - rows], last)
            if bool(same.any(1).all()):
                return keys, before, self.first_key + before + rows - keys, same
        return None

    def has_keys_of(self, weights: AttentionWeights) -> bool:
        """Return whether another call looks at the same keys: cross-attention, step after step."""
        key = inputs_of(weights).key
        return (
            key.shape[2] == self.keys
            and key.shape[:2] == self.first.shape[:2]
            and bool(_same(key[:, :, :1], self.first).diagonal().all())
            and bool(_same(key[:, :, -1:], self.last).diagonal().all())
        )


class Orders:
    """Which old row of the batch each new one continues, in each pass: what the keys of all layers allow."""

    def __init__(self) -> None:
        self._allowed: dict[Turn, Tensor] = {}

    def narrow(self, turn: Turn, allowed: Tensor) -> None:
        """Add what the keys of one layer allow, bool `(new, old)`."""
        known = self._allowed.get(turn)
        both = allowed if known is None else known & allowed
        self._allowed[turn] = both if bool(both.any(1).all()) else allowed

    def of(self, turn: Turn | None) -> Tensor | None:
        """Return the old row of each new one; None where nothing moved."""
        allowed = None if turn is None else self._allowed.get(turn)
        if allowed is None or bool(allowed.diagonal().all()):
            return None
        return torch.where(
            allowed.diagonal(), torch.arange(len(allowed), device=allowed.device), allowed.to(torch.uint8).argmax(1)
        )


class Growth:
    """Tells for each module whether a call continues the last one."""

    def __init__(self) -> None:
        self.orders = Orders()
        self._last: dict[str, tuple[Call, Turn | None]] = {}
        self._turn: Turn | None = None
        self._rows = 0

    def step(self, module: str, number: int, weights: AttentionWeights) -> tuple[Step, bool]:
        """Return the call as a step, and whether it continues recording `number` of the module."""
        weights = with_batch(weights)
        call = Call(weights)
        step = self._continuation(module, number, call, weights)
        if step is None:
            self._turn = None
        self._last[module] = call, self._turn
        return step or Step(weights, call.queries, call.keys, 0, None, True), step is not None

    def filled(self, module: str) -> int:
        """Return one past the last key that a row of the module's last call sees."""
        return self._last[module][0].filled

    def place(self, module: str, placed: Placed) -> None:
        """Remember what depends on where the rows of the module's last call stand, for a step that continues it."""
        self._last[module][0].placed = placed

    def _continuation(self, module: str, number: int, call: Call, weights: AttentionWeights) -> Step | None:
        if module not in self._last:
            return None
        last, turn = self._last[module]
        found = last.continued_by(weights)
        if found is not None:
            keys, before, call.first_key, allowed = found
            self._turn = (number, weights.shape[0], call.first_key + keys)
            self._rows = call.queries
            self.orders.narrow(self._turn, allowed)
            return Step(weights, call.queries, keys, call.first_key, self._turn, True, before, last.placed)
        # Attention to a source that stays, in a pass in which the model's own attention has grown by as many rows.
        follows = self._turn is not None and self._turn != turn and call.queries == self._rows != call.keys
        if follows and last.has_keys_of(weights):
            return Step(weights, call.queries, call.keys, 0, self._turn, False, call.keys)
        return None


def arranged(chunks: Sequence[Tensor], turns: Sequence[Turn | None], orders: Orders) -> list[Tensor]:
    """Return what each pass recorded, its batch in the order of the last pass."""
    place: Tensor | None = None
    found = []
    for chunk, turn in zip(reversed(chunks), reversed(turns), strict=True):
        found.append(chunk if place is None or chunk.shape[0] == 1 else chunk[place])
        order = orders.of(turn)
        if order is not None:
            place = order if place is None else order[place]
    return found[::-1]


def _filled(weights: AttentionWeights) -> int | Tensor:
    """Return one past the last key that any row sees by the mask: a number on the device, where only that tells."""
    x = inputs_of(weights)
    keys = x.key.shape[2]
    if keys == 0 or x.causal or (x.dense_mask is None and x.spans is None):
        return keys
    if x.dense_mask is None and x.spans is not None:
        start, stop, _ = x.spans
        return (stop * (stop > start)).amax().long()
    seen = (visible_queries(x) > 0).any(0).any(0)
    return (torch.arange(1, keys + 1, device=seen.device) * seen).amax()


def _same(new: Tensor, old: Tensor) -> Tensor:
    """Return bool `(new, old)`: whether one key of the batch's rows is the same, bit for bit."""
    return (new[:, None] == old[None]).flatten(2).all(2)
