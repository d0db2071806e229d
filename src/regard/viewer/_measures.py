"""Numbers along the sides of a matrix (tracks), and one number for a whole head (measures)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..weights import AttentionWeights, has_summary
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
# The mean distance has no fast algorithm: it is offered up to this many pairs a head.
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


def track(weights: AttentionWeights, name: str, patches: Patches | None = None) -> NDArray[np.float32] | None:
    """Return one track of a head, float32 `(L,)` or `(S,)`; None if it is not known.

    Over the patches of an image distances are those of `Patches`, and need single weights.
    """
    if name == "distance" and patches is not None:
        found = None if weights.kept_cell > 1 else patches.distance(weights)
    else:
        found = _MAKE[name](weights)
    return None if found is None else np.asarray(found.float().cpu().numpy(), np.float32)


class Side(NamedTuple):
    """What is known of the keys of a map beside their weights."""

    same_axis: bool
    """Self-attention: queries and keys are the same tokens."""
    patches: Patches | None = None
    """Where they lie in an image."""
    tokens: Sequence[bytes] | None = None
    mask_known: bool = True


def measures(heads: list[AttentionWeights], side: Side) -> dict[str, Any]:
    """Return each measure, one number a head, None if unavailable and "NaN" if it is not a number."""
    every = [_of_head(weights, len(heads), side) for weights in heads]
    same_axis, patches = side.same_axis, side.patches
    places = _OF_PATCHES if patches is not None else _OF_TEXT
    found: dict[str, Any] = {name: [_number(one.get(name)) for one in every] for name in (*_MEASURES, *places)}
    found["sinks"] = [one.get("sinks", [] if not one else None) for one in every]
    found["kind"] = [
        _kind(one, same_axis and weights.sums_to_one, patches) for one, weights in zip(every, heads, strict=True)
    ]
    seeing = [one for one in every if one]
    sums = [one["row_sums"] for one in seeing if "row_sums" in one]
    extremes = [min(s[0] for s in sums), max(s[1] for s in sums)] if sums and len(sums) == len(seeing) else [math.nan]
    found["row_sums"] = extremes if all(map(math.isfinite, extremes)) else None
    return found


def _of_head(weights: AttentionWeights, heads: int, side: Side) -> dict[str, Any]:
    queries, keys = weights.shape
    patches = side.patches
    seeing = weights.visible_keys()
    sees = seeing > 0
    if not bool(sees.any()):
        return {}
    found: dict[str, Any] = {
        "self": weights.share(0).item(),
        "visible": seeing[sees].double().mean().item(),
    }
    if patches is None:
        found["previous"], found["next"] = weights.share(-1).item(), weights.share(1).item()
    found["sinks"] = sinks(weights, _MOST_MEASURED // heads, side.tokens, mask_known=side.mask_known)
    if found["sinks"] is not None:
        found["sink"] = sum(share for _, share in found["sinks"])
    pairs = queries * keys * heads
    known = has_summary(weights)
    if known or pairs <= _MOST_MEASURED:
        entropy = weights.entropy()[sees].double()
        found["entropy"], found["effective_keys"] = entropy.mean().item(), entropy.exp().mean().item()
        found["peak"] = weights.peak().values[sees].double().mean().item()
    if pairs <= _MOST_MEASURED and not weights.kept_cell:
        sums = weights.pooled((1, keys))[sees, 0]
        if weights.sums_to_one:
            found["row_sums"] = (sums.min().item(), sums.max().item())
    if patches is None and (known or pairs <= _MOST_STREAMED):
        found["distance"] = weights.mean_distance()[sees].double().mean().item()
    if patches is not None and pairs <= _MOST_STREAMED and weights.kept_cell <= 1:
        found.update(patches.measures(weights))
    return found


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
