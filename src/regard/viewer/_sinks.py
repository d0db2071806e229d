"""Keys that take much of all attention, whatever they stand for: the first, a separator, punctuation, padding."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..weights import AttentionWeights, has_summary

LEAST_SHARE = 0.02
"""Least share of all attention of a key that is a sink."""
# A sink has so many times the odds of a key to which all queries give an even share of what they see; keys of one token
# have them together, each with half of them; ...
_ODDS = 3.0
# ... and all sinks of a head together take this share of its attention, or it has none.
_TOGETHER = 0.3
# What fewer queries than these look at says nothing about the key.
_FEWEST_QUERIES = 4


def sinks(
    weights: AttentionWeights, most_pairs: int, tokens: Sequence[bytes] | None = None, *, mask_known: bool = True
) -> list[tuple[int, float]] | None:
    """Return the sinks of one head, key and share of all attention, largest first; None if that is not known.

    A key is a sink if it takes `LEAST_SHARE` of all attention or more, with three times the odds of an even share, and
    if all such keys together take 0.3. Keys of one token, such as those of padding, count as one. Odds, because an even
    share of a short text can be large: under a causal mask the first of five keys gets 0.46 of even attention. The
    share is the mean over the queries that see something.

    Of a matrix whose mask is not known (`mask_known`), a query may see the keys that it gives more than 0.

    Up to `most_pairs` pairs every key is looked at: O(L·S·E), and O(L + S) where a summary is at hand, of any size.
    Beyond, only the keys in columns of the map that came with the output, which hold `LEAST_SHARE`: at most 50 columns.

    Source: attention sinks: Xiao et al. 2023, arXiv:2309.17453; a share of 0.3: Gu et al. 2024, arXiv:2410.10781,
    section 3.
    """
    sees = weights.visible_keys() > 0
    seeing = int(sees.sum())
    if seeing < _FEWEST_QUERIES:
        return []
    found = _shares(weights, seeing, most_pairs, mask_known)
    if found is None:
        return None
    keys, share, even = found
    if not bool(torch.isfinite(share).all()):
        return None
    chosen = (share >= LEAST_SHARE) & (_odds(share, even) >= _ODDS)
    for group in _alike(keys.tolist(), tokens):
        group = group[_odds(share[group], even[group]) >= _ODDS / 2]
        together, evenly = share[group].sum(), even[group].sum()
        chosen[group] |= (together >= LEAST_SHARE) & (_odds(together, evenly) >= _ODDS)
    place = torch.nonzero(chosen)[:, 0]
    if float(share[place].sum()) < _TOGETHER:
        return []
    place = place[share[place].argsort(descending=True, stable=True)]
    return list(zip(keys[place].tolist(), share[place].tolist(), strict=True))


def _odds(share: Tensor, even: Tensor) -> Tensor:
    return share * (1 - even) / (even * (1 - share)).clamp(min=torch.finfo(share.dtype).tiny)


def _alike(keys: list[int], tokens: Sequence[bytes] | None) -> list[Tensor]:
    """Return the places of keys that have one token, for each token of several."""
    places: dict[bytes, list[int]] = {}
    for place, key in enumerate(keys if tokens is not None else []):
        places.setdefault(tokens[key] if tokens is not None else b"", []).append(place)
    return [torch.tensor(group) for group in places.values() if len(group) > 1]


def _shares(
    weights: AttentionWeights, seeing: int, most_pairs: int, mask_known: bool
) -> tuple[Tensor, Tensor, Tensor] | None:
    """Return keys, their shares, and those that even attention would give them, in float64."""
    queries, keys = weights.shape
    if has_summary(weights) or queries * keys <= most_pairs:
        received = weights.received().double().cpu()
        whole = seeing if weights.sums_to_one else received.sum()
        if not mask_known:
            even = _even_of_numbers(weights)
        elif weights.kept_cell:
            even = _even_of_summary(weights, received)
        else:
            even = _even(weights, slice(0, keys)) / seeing
        return torch.arange(keys), received / whole, even
    cell = weights.map_cell
    if not cell or not weights.sums_to_one:
        return None
    heights = torch.arange(0, queries + cell, cell).clamp(max=queries).diff()[: -(-queries // cell)].double()
    columns = (weights.pooled(cell).double().cpu() * heights[:, None]).sum(0) / seeing
    if not bool(torch.isfinite(columns).all()):
        return None
    parts = [
        slice(at * cell, min(keys, (at + 1) * cell)) for at in torch.nonzero(columns >= LEAST_SHARE)[:, 0].tolist()
    ]
    if not parts:
        return torch.arange(0), torch.zeros(0).double(), torch.zeros(0).double()
    shares = [weights.pooled((queries, 1), columns=part)[0].double().cpu() * queries / seeing for part in parts]
    places = [torch.arange(part.start, part.stop) for part in parts]
    return torch.cat(places), torch.cat(shares), torch.cat([_even(weights, part) / seeing for part in parts])


def _even(weights: AttentionWeights, columns: slice) -> Tensor:
    queries = weights.shape[0]
    return weights.uniform((queries, 1), columns=columns)[0].double().cpu() * queries


def _even_of_numbers(weights: AttentionWeights) -> Tensor:
    seen = weights[:, :].cpu() > 0
    visible = seen.sum(-1, keepdim=True)
    return (seen / visible.clamp(min=1)).double().sum(0) / max(1, int((visible > 0).sum()))


def _even_of_summary(weights: AttentionWeights, received: Tensor) -> Tensor:
    """Return the largest even shares that fit the numbers a summary keeps: of keys each query sees, and the reverse.

    Exact where all queries see equally many keys, and for keys that all queries see.
    """
    visible = weights.visible_keys().double().cpu()
    most = (1 / visible[visible > 0]).sort(descending=True).values
    sums = torch.cat([most.new_zeros(1), most.cumsum(0)])
    # `received(corrected=True)` is the same number divided by the queries that see the key.
    queries = (received / weights.received(corrected=True).double().cpu()).nan_to_num(0.0).round().long()
    return sums[queries.clamp(0, len(most))] / len(most)
