"""Keys that take much of all attention, whatever they stand for: the first, a separator, punctuation, padding."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..weights import AttentionWeights, has_summary

Sinks = list[tuple[int, float]] | None
"""Of one head: keys and their shares of all attention, largest first; None where that is not known."""
LEAST_SHARE = 0.02
"""Least share of all attention of a key that is a sink."""
# A sink has so many times the odds of a key to which all queries give an even share of what they see; keys of one token
# have them together, each with half of them; ...
_ODDS = 3.0
# ... and all sinks of a head together take this share of its attention, or it has none.
_TOGETHER = 0.3
# What fewer queries than these look at says nothing about the key.
_FEWEST_QUERIES = 4


def sinks(heads: AttentionWeights, tokens: Sequence[bytes] | None = None, *, mask_known: bool = True) -> list[Sinks]:
    """Return the sinks of each head of `(H, L, S)`.

    A key is a sink if it takes `LEAST_SHARE` of all attention or more, with three times the odds of an even share, and
    if all such keys together take 0.3. Keys of one token, such as those of padding, count as one. Odds, because an even
    share of a short text can be large: under a causal mask the first of five keys gets 0.46 of even attention. The
    share is the mean over the queries that see something.

    Of a matrix whose mask is not known (`mask_known`), a query may see the keys that it gives more than 0.

    Where a summary is at hand every key is looked at: O(H·(L + S)). Else only the keys in columns of the map that came
    with the output, which hold `LEAST_SHARE`: at most 50 columns.

    Source: attention sinks: Xiao et al. 2023, arXiv:2309.17453; a share of 0.3: Gu et al. 2024, arXiv:2410.10781,
    section 3.
    """
    seeing = (heads.visible_keys() > 0).sum(-1, keepdim=True).cpu()
    found: list[Sinks]
    if has_summary(heads):
        received = heads.received().double().cpu()
        whole = seeing if heads.sums_to_one else received.sum(-1, keepdim=True)
        even = _even_of(heads, received, seeing, mask_known=mask_known)
        found = _chosen(torch.arange(heads.shape[-1]), received / whole, even, tokens)
    else:
        found = [_in_columns(heads.head(head), int(seeing[head]), tokens) for head in range(heads.shape[0])]
    enough = (seeing[:, 0] >= _FEWEST_QUERIES).tolist()
    return [one if several else [] for one, several in zip(found, enough, strict=True)]


def _chosen(keys: Tensor, share: Tensor, even: Tensor, tokens: Sequence[bytes] | None) -> list[Sinks]:
    """Return the sinks of each head among some keys `(K,)`, by their shares and even shares `(H, K)`."""
    chosen = (share >= LEAST_SHARE) & (_odds(share, even) >= _ODDS)
    if tokens is not None:
        numbers: dict[bytes, int] = {}
        group = torch.tensor([numbers.setdefault(tokens[key], len(numbers)) for key in keys.tolist()]).long()
        counted = _odds(share, even) >= _ODDS / 2
        nothing = share.new_zeros(len(share), len(numbers))
        together, evenly = (nothing.index_add(1, group, torch.where(counted, part, 0.0)) for part in (share, even))
        several = group.bincount(minlength=len(numbers)) > 1
        chosen |= counted & (several & (together >= LEAST_SHARE) & (_odds(together, evenly) >= _ODDS))[:, group]
    found = list[Sinks]()
    for shares, known, places in zip(share, share.isfinite().all(-1).tolist(), chosen, strict=True):
        place = torch.nonzero(places)[:, 0]
        place = place[shares[place].argsort(descending=True, stable=True)]
        if not known:
            found.append(None)
        elif float(shares[place].sum()) < _TOGETHER:
            found.append([])
        else:
            found.append(list(zip(keys[place].tolist(), shares[place].tolist(), strict=True)))
    return found


def _odds(share: Tensor, even: Tensor) -> Tensor:
    return share * (1 - even) / (even * (1 - share)).clamp(min=torch.finfo(share.dtype).tiny)


def _in_columns(weights: AttentionWeights, seeing: int, tokens: Sequence[bytes] | None) -> Sinks:
    """Return the sinks of one head, of which only columns of the map with `LEAST_SHARE` or more are looked at."""
    queries, keys = weights.shape
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
        return []
    places = torch.cat([torch.arange(part.start, part.stop) for part in parts])
    share = torch.cat([weights.pooled((queries, 1), columns=part)[0].double().cpu() * queries for part in parts])
    even = torch.cat([_even(weights, part) for part in parts])
    return _chosen(places, share[None] / seeing, even[None] / seeing, tokens)[0]


def _even_of(heads: AttentionWeights, received: Tensor, seeing: Tensor, *, mask_known: bool) -> Tensor:
    """Return the share that each key would get of even attention, float64 `(H, S)`."""
    if not mask_known:
        return torch.stack([_even_of_numbers(heads.head(head)) for head in range(heads.shape[0])])
    if heads.kept_cell:
        return _even_of_summary(heads, received, seeing)
    return _even(heads, slice(0, heads.shape[-1])) / seeing


def _even(weights: AttentionWeights, columns: slice) -> Tensor:
    queries = weights.shape[-2]
    return weights.uniform((queries, 1), columns=columns)[..., 0, :].double().cpu() * queries


def _even_of_numbers(weights: AttentionWeights) -> Tensor:
    seen = weights[:, :].cpu() > 0
    visible = seen.sum(-1, keepdim=True)
    return (seen / visible.clamp(min=1)).double().sum(0) / max(1, int((visible > 0).sum()))


def _even_of_summary(heads: AttentionWeights, received: Tensor, seeing: Tensor) -> Tensor:
    """Return the largest even shares that fit the numbers a summary keeps: of keys each query sees, and the reverse.

    Exact where all queries see equally many keys, and for keys that all queries see.
    """
    visible = heads.visible_keys().double().cpu()
    most = torch.where(visible > 0, 1 / visible, 0.0).sort(descending=True).values
    sums = torch.nn.functional.pad(most.cumsum(-1), (1, 0))
    # `received(corrected=True)` is the same number divided by the queries that see the key.
    queries = (received / heads.received(corrected=True).double().cpu()).nan_to_num(0.0).round().long()
    return sums.gather(-1, queries.clamp(0, visible.shape[-1])) / seeing
