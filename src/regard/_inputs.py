"""One call, checked and brought to one form: what every backend receives and what it gives back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

from torch import Tensor

__all__ = ["AttentionInputs", "AttentionResult", "CallSummary", "NeedWeights"]

NeedWeights = bool | Literal["summary"]


@dataclass(frozen=True, slots=True)
class AttentionInputs:
    """A call of attention whose shapes, dtypes and devices agree. Made by `regard.attention`, read by backends.

    Sizes: `B` batch, `H` query heads, `G` key/value heads (`H % G == 0`), `L` queries, `S` keys, `E` head width,
    `Ev` value width. Nothing here is None-or-default twice: a field that is None is not asked for.
    """

    query: Tensor
    """`(B, H, L, E)`, any strides."""
    key: Tensor
    """`(B, G, S, E)`, same dtype and device."""
    value: Tensor
    """`(B, G, S, Ev)`, same dtype and device."""
    scale: float
    """Factor on `query · key`."""
    start: Tensor | None = None
    """int32 `(1 or B, 1 or H, L)`: first visible key of each row; given together with `stop`."""
    stop: Tensor | None = None
    """int32, same shape: one past the last visible key, `0 <= start <= stop <= S`."""
    dense_mask: Tensor | None = None
    """bool, 4-D, each size 1 or full, True = may look; holds together with the span."""
    position_bias: Tensor | None = None
    """Floating `(1 or H, L + S - 1)`: entry `j - i + L - 1` is added for query `i`, key `j`."""
    bias: Tensor | None = None
    """Floating, 4-D, each size 1 or full: added to the scores after the softcap. -inf hides the key."""
    softcap: float | None = None
    """`c` in `c · tanh(score / c)`, before any bias."""
    dropout: float = 0.0
    """Probability in [0, 1) that a weight is dropped in the product with `value`."""
    seed: Tensor | None = None
    """int64 scalar tensor: the Philox key of the dropout; present exactly when `dropout > 0`."""
    need_weights: NeedWeights = False
    """The caller will look at the weights: return `lse`, and a map where it is nearly free. "summary": a summary, too,
    where it costs less now than later."""
    causal: bool = False
    """The spans say exactly "row `i` sees the keys `0 … i`", with `L == S`. Whoever replaces the spans clears this."""

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """The shape of the attention matrix, `(B, H, L, S)`."""
        return self.query.shape[0], self.query.shape[1], self.query.shape[2], self.key.shape[2]

    def tensors(self) -> tuple[Tensor, ...]:
        """Return the tensors that gradients may flow into."""
        every = (self.query, self.key, self.value, self.position_bias, self.bias)
        return tuple(tensor for tensor in every if tensor is not None)


class CallSummary(NamedTuple):
    """What one look at every weight gives, all `(B, H, …)`."""

    map: Tensor
    """float32 `(B, H, ⌈L/cell⌉, ⌈S/cell⌉)`: mean over queries of the sum over keys."""
    entropy: Tensor
    """float32 `(B, H, L)`, nats."""
    distance: Tensor
    """float32 `(B, H, L)`: sum of weight times distance in tokens, the last query on the last key."""
    links: Tensor
    """float32 `(B, H, L, LINKS)`: the largest weights of each row, the largest first; 0 where it sees fewer keys."""
    link_keys: Tensor
    """int32, same shape: their keys; -1 where the row sees fewer."""
    received: Tensor
    """float32 `(B, H, S)`: sum over queries."""
    near: Tensor
    """float32 `(B, H, 3)`: sums over queries of the weight on the key before, at and after their own place."""


class AttentionResult(NamedTuple):
    """What a backend returns."""

    output: Tensor
    """`(B, H, L, Ev)`, dtype of the query."""
    lse: Tensor | None = None
    """Natural log-sum-exp of each row's scores, `(B, H, L)`, float32 (float64 for float64); -inf where a row sees
    nothing. None where the backend cannot tell: the weights then compute it when they need it."""
    lse_has_gradient: bool = False
    """True if gradients flow through `lse`; otherwise the weights compute their own where a gradient is needed."""
    map: Tensor | None = None
    """`(B, H, ceil(L / cell), ceil(S / cell))` float32: mean over queries of the sum over keys, no gradient."""
    map_cell: int = 0
    """Tokens per side of a cell of `map`."""
    summary: CallSummary | None = None
    """All that a recording keeps, no gradient; its map is `map`."""
