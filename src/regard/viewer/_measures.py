"""Numbers along the sides of a matrix (tracks), and one number for a whole head (measures)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..weights import AttentionWeights, has_summary, with_summary
from ._patches import Patches
from ._sinks import sinks

# The side of each track.
TRACKS = {
    "entropy": "queries",
    "peak": "queries",
    "distance": "queries",
    "seeing": "queries",
    "received": "keys",
    "received_mean": "keys",
}
# The mean distance of each query, and those over patches, have no fast algorithm: offered up to this many pairs.
_MOST_STREAMED = 1 << 26
# Measures that need every pair, and are not at hand, are computed only for maps with at most this many, over all heads.
_MOST_MEASURED = 1 << 30
_MEASURES = ("entropy", "effective_keys", "peak", "distance", "sink", "self")
_OF_TEXT = ("previous", "next")
_OF_PATCHES = ("neighbours",)

_MAKE: dict[str, Callable[[AttentionWeights], Tensor]] = {
    "entropy": lambda weights: weights.entropy(),
    "peak": lambda weights: weights.peak().values,
    "distance": lambda weights: weights.mean_distance(),
    "seeing": lambda weights: weights.visible_keys(),
    "received": lambda weights: weights.received(),
    "received_mean": lambda weights: weights.received(corrected=True),
}


def tracks_of(sizes: tuple[int, int]) -> dict[str, str]:
    """Return the tracks offered for a matrix of this size, and the side of each."""
    slow = sizes[0] * sizes[1] > _MOST_STREAMED
    return {name: side for name, side in TRACKS.items() if not (slow and name == "distance")}


def track(weights: AttentionWeights, name: str, patches: Patches | None = None) -> NDArray[np.float32]:
    """Return one track, float32 `(L,)` or `(S,)`, behind the heads that the weights have.

    Over the patches of an image distances are those of `Patches`, and need single weights.
    """
    found = patches.distance(weights) if name == "distance" and patches is not None else _MAKE[name](weights)
    return np.asarray(found.float().cpu().numpy(), np.float32)


class Side(NamedTuple):
    """What is known of the keys of a map beside their weights."""

    same_axis: bool
    """Self-attention: queries and keys are the same tokens."""
    patches: Patches | None = None
    """Where they lie in an image."""
    tokens: Sequence[bytes] | None = None
    mask_known: bool = True


def measures(heads: AttentionWeights, side: Side) -> dict[str, Any]:
    """Return each measure of heads `(H, L, S)`: a number of each, None if unavailable and "NaN" if it is none.

    Every question is asked once, of all heads: one pass over the weights for all measures, and one for sums of rows.
    """
    if math.prod(heads.shape) <= _MOST_MEASURED:
        heads = with_summary(heads)
    visible = heads.visible_keys()
    seeing = (visible > 0).any(-1).tolist()
    known = _known(heads, visible, side) if any(seeing) else {}
    every = [
        {name: of[head] for name, of in known.items() if of[head] is not None} if sees else {}
        for head, sees in enumerate(seeing)
    ]
    same_axis, patches = side.same_axis, side.patches
    places = _OF_PATCHES if patches is not None else _OF_TEXT
    found: dict[str, Any] = {name: [_number(one.get(name)) for one in every] for name in (*_MEASURES, *places)}
    found["sinks"] = [one.get("sinks", None if one else []) for one in every]
    found["kind"] = [_kind(one, same_axis and heads.sums_to_one, patches) for one in every]
    found["row_sums"] = _row_sums(heads, visible > 0)
    return found


def _known(heads: AttentionWeights, visible: Tensor, side: Side) -> dict[str, list[Any]]:
    """Return what is known of heads, a number of each; NaN, or anything else, where a head sees nothing."""
    sees = visible > 0

    def mean(of_queries: Tensor) -> list[float]:
        total = torch.where(sees, of_queries.double(), 0.0).sum(-1)
        means: list[float] = (total / sees.sum(-1)).tolist()
        return means

    patches = side.patches
    found: dict[str, list[Any]] = {"self": heads.share(0).tolist(), "visible": mean(visible)}
    if patches is None:
        found["previous"], found["next"] = heads.share(-1).tolist(), heads.share(1).tolist()
    found["sinks"] = sinks(heads, side.tokens, mask_known=side.mask_known)
    found["sink"] = [None if one is None else sum(share for _, share in one) for one in found["sinks"]]
    if has_summary(heads):
        entropy = heads.entropy()
        found["entropy"], found["effective_keys"] = mean(entropy), mean(entropy.double().exp())
        found["peak"] = mean(heads.peak().values)
        if patches is None:
            found["distance"] = mean(heads.mean_distance())
    if patches is not None and math.prod(heads.shape) <= _MOST_STREAMED and heads.kept_cell <= 1:
        found.update(patches.measures(heads))
    return found


def _row_sums(heads: AttentionWeights, sees: Tensor) -> list[float] | None:
    """Return the lowest and highest sum of a row that sees something; None where it is unknown or no number."""
    if math.prod(heads.shape) > _MOST_MEASURED or heads.kept_cell or not (heads.sums_to_one and bool(sees.any())):
        return None
    ends: list[float] = torch.stack(heads.pooled((1, heads.shape[-1]))[..., 0][sees].aminmax()).tolist()
    return ends if all(map(math.isfinite, ends)) else None


_PLACES = {"itself": "self", "previous token": "previous", "next token": "next", "neighbours": "neighbours"}


def _kind(one: dict[str, Any], same_axis: bool, patches: Patches | None) -> str | None:
    """Return the first word that is true of a head, None as soon as it is not known whether one is."""
    if not one:
        return "sees nothing"
    shares = _PLACES if same_axis else {}
    absent = _OF_TEXT if patches is not None else _OF_PATCHES
    for word, name in {**shares, "sink": "sink"}.items():
        if name in absent:
            continue
        value = one.get(name, math.nan)
        if math.isnan(value):
            return None
        if value > 0.5:
            return word
    effective, distance = one.get("effective_keys", math.nan), one.get("distance", math.nan)
    if math.isnan(effective):
        return None
    if effective > 0.5 * one["visible"] and one["visible"] > 4:
        return "broad"
    if not same_axis:
        return "mixed"
    if math.isnan(distance):
        return None
    near = min(8.0, one["visible"] / 6) if patches is None else one["even_distance"] / 2
    return "local" if distance < near else "mixed"


def _number(value: float | None) -> float | str | None:
    # JSON has no word for what is not a number; infinity is none of a measure's either.
    return value if value is None or math.isfinite(value) else "NaN"


def row(weights: AttentionWeights, query: int, masked: float) -> NDArray[np.float32]:
    """Return the exact weights of one query, `(S,)`; masked keys have the code."""
    return _line(weights, slice(query, query + 1), slice(None), masked)


def column(weights: AttentionWeights, key: int, masked: float) -> NDArray[np.float32]:
    """Return the exact weights on one key, `(L,)`; queries that may not see it have the code."""
    return _line(weights, slice(None), slice(key, key + 1), masked)


def _line(weights: AttentionWeights, rows: slice, columns: slice, masked: float) -> NDArray[np.float32]:
    found = torch.where(weights.masked(rows=rows, columns=columns), masked, weights[rows, columns].float())
    return np.asarray(found.flatten().cpu().numpy(), np.float32)
