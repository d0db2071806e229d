"""Linear attention: the keys are summed once for all queries, so time and memory are linear in the length.

The weight of key `j` for query `i` is `φ(q_i)·φ(k_j)` divided by the sum of these over the visible keys. It equals
the attention of `regard.attention` with the score `log(φ(q)·φ(k))`; so its weights can be returned as the same kind
of lazy matrix.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, get_args, overload

import torch
from torch import Tensor
from torch.nn import functional

from . import masks
from ._checks import checked_tensors, joined_mask
from ._inputs import AttentionInputs
from ._mask_parts import ResolvedMask
from ._tracing import full_precision, plain, quiet, recorded, traced, transformed
from ._values import described, flag, onto, size, tensor
from .backends import accumulate_dtype, all_finite, asked_for, native, readable, scores
from .errors import ArgumentError, ShapeError, nearest, unknown_argument
from .masks import Mask
from .weights import AttentionWeights, WeightSource, keeping, pair_products

__all__ = ["LinearState", "linear_attention"]

Named = Literal["elu", "relu", "softmax"]
FeatureMap = Named | Callable[[Tensor], Tensor]
_ARGUMENTS = "query key value feature_map causal mask need_weights chunk_size".split()


def _elu(x: Tensor) -> Tensor:
    # Not `elu(x) + 1`, which is 0 below -17: exp is right as far as it goes.
    return torch.where(x > 0, x + 1.0, x.clamp(max=0.0).exp())


def _relu(x: Tensor) -> Tensor:
    # The constant avoids a division by zero in a row whose features are all zero.
    return functional.relu(x) + 1e-3


def _softmax(x: Tensor) -> Tensor:
    return torch.cat([x.softmax(-1), (-x).softmax(-1)], -1)


_MAPS: dict[str, Callable[[Tensor], Tensor]] = {"elu": _elu, "relu": _relu, "softmax": _softmax}


@overload
def linear_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    feature_map: FeatureMap = "elu",
    causal: bool = False,
    mask: Mask | Tensor | None = None,
    need_weights: Literal[False] = False,
    chunk_size: int = 128,
) -> Tensor: ...


@overload
def linear_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    feature_map: FeatureMap = "elu",
    causal: bool = False,
    mask: Mask | Tensor | None = None,
    need_weights: Literal[True],
    chunk_size: int = 128,
) -> tuple[Tensor, AttentionWeights]: ...


def linear_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    feature_map: FeatureMap = "elu",
    causal: bool = False,
    mask: Mask | Tensor | None = None,
    need_weights: bool = False,
    chunk_size: int = 128,
    **unknown: Any,
) -> Tensor | tuple[Tensor, AttentionWeights]:
    """Linear attention, `φ(q) (Σ φ(k) vᵀ) / (φ(q) · Σ φ(k))`, sums over the keys that are seen.

    Shapes: as `regard.attention`: `query` `(B, H, L, E)`, `key` `(B, G, S, E)`, `value` `(B, G, S, Ev)`, `H % G == 0`;
    leading dimensions may be left out.

    Args:
        query, key, value: float32, bfloat16, float16 or float64, all of one dtype and device.
        feature_map: "elu" is `elu(x) + 1`; "relu" is `relu(x) + 0.001`; "softmax" is `[softmax(x), softmax(-x)]` over
            the features, which is spiky like softmax attention; or a function from `(..., E)` to features
            `(..., F)` that are nowhere negative (checked on the CPU), for example a layer of your own.
        causal: each query sees its past; the last query is aligned with the last key (bottom-right).
        mask: a `regard.masks` mask, or a bool tensor broadcastable to `(B, H, L, S)`, True = may look. Every query
            must see all keys that any query sees, up to a last key that does not go back: padding, causal with any
            offset, prefix, and these together. Its numbers are read, to see whether that holds: one made of tensors on
            a GPU makes the host wait there, one made of lists or CPU tensors does not.
        need_weights: also return the weights, as a lazy matrix; the output does not change by a bit.
        chunk_size: queries that are processed at once if `causal`, where no kernel does it; affects speed and memory
            only.

    Returns:
        The output `(B, H, L, Ev)` in the query's dtype; with `need_weights=True` also an `AttentionWeights` of shape
        `(B, H, L, S)`: not negative, rows sum to 1.

    Raises:
        ShapeError, DtypeError, DeviceError, UnknownArgumentError: see each message.
        ArgumentError: for a mask that sums cannot honour (a window, packed documents), with the reason.

    A query that sees nothing, or only features of zero, gives zeros. Keys and values that nobody sees have no effect,
    even if they are NaN. Sums are in float32 (float64 for float64).

    Cost: time O(B·H·(L + S)·F·Ev), causal O(B·H·L·(F·Ev + chunk_size·(F + Ev))); memory O(B·H·(L + S)) for the
    gradient too. On the CPU a kernel computes float32 and half precision, with up to 512 features and 256 values; it
    keeps nothing for the gradient but its inputs. `use_backend("math")` leaves it out.

    Source: Katharopoulos et al. 2020, arXiv:2006.16236, equations 5, 7 and 9. "relu": Choromanski et al. 2021,
    arXiv:2009.14794. "softmax": the map of Zhang et al. 2024, arXiv:2402.04347, without its learned layer.

    >>> q, k, v = torch.randn(3, 2, 6, 4).unbind()
    >>> out, weights = linear_attention(q, k, v, causal=True, need_weights=True)
    >>> bool(torch.allclose(weights.dense() @ v, out, atol=1e-5)), bool(torch.allclose(out[:, 0], v[:, 0]))
    (True, True)
    """
    if unknown:
        raise unknown_argument("linear_attention", unknown, _ARGUMENTS)
    chunk_size, need_weights = size("chunk_size", chunk_size), flag("need_weights", need_weights)
    features = _named(feature_map)
    with quiet():
        query, key, value, rank = checked_tensors(query, key, value)
        queries, keys = query.shape[2], key.shape[2]
        if isinstance(mask, Tensor) and mask.dtype == torch.bool and mask.device.type == "cpu":
            mask = masks.recognise(mask)  # sums need spans, so even small masks are examined
        visible = joined_mask(mask, causal, None, queries, keys)
        resolved = ResolvedMask(None, None, None) if visible is None else visible.resolve(queries, keys, query.device)
        dtype = accumulate_dtype(query.dtype)
        with full_precision(query.device.type):
            found = None
            if recorded() or (mask is not None and traced() and not transformed()):
                phi_q, phi_k, v = _apply(features, query.to(dtype)), _apply(features, key.to(dtype)), value.to(dtype)
                dense = None if visible is None else visible.to_dense(queries, keys, query.device)
                found = _divided(_whole(phi_q, phi_k, v, dense))
            else:
                where = queries, keys, query.device
                seen = _past(*where) if mask is None and causal else _seen_by(visible, *where)
                if isinstance(feature_map, str):
                    found = _by_kernel(query, key, value, feature_map, seen, chunk_size)
                if found is None or need_weights:
                    phi_q = _apply(features, query.to(dtype))
                    phi_k, v = _sources(features, key.to(dtype), value.to(dtype), seen.keys, query.shape[1])
                if found is None:  # the features of keys that nobody sees are 0
                    found = _by_kernel(phi_q, phi_k, v, "given", seen._replace(keys=None), chunk_size)
                if found is None:
                    found = _divided(_attend(phi_q, phi_k, v, seen, chunk_size))
        output, total = found[0].to(query.dtype), found[1]
        if rank != 4:
            output = output.reshape(output.shape[4 - rank :])
    if not need_weights:
        return output
    start, stop, hidden = resolved
    inputs = AttentionInputs.from_flat(phi_q, phi_k, v, start=start, stop=stop, dense_mask=hidden, need_weights=True)
    lse = torch.where(total == 0, -torch.inf, torch.where(total == 0, 1.0, total).log())
    return output, AttentionWeights(keeping(_LinearSource(inputs, lse, lse_has_gradient=True)), rank)


def _divided(both: Tensor) -> tuple[Tensor, Tensor]:
    """Return the output and the sum of the weights of each row, from the sums of weighted values and of weights."""
    total = both[..., -1]
    return both[..., :-1] / torch.where(total == 0, 1.0, total)[..., None], total


def _by_kernel(
    query: Tensor, key: Tensor, value: Tensor, features: str, seen: _Seen, chunk: int
) -> tuple[Tensor, Tensor] | None:
    """Return output and sums of weights by the native kernel; None where it does not serve or a NaN is seen."""
    if not plain() or asked_for() not in (None, "native") or not native.available():
        return None
    if native.why_not_linear(query, key, value, features) is not None:
        return None
    if seen.keys is not None and seen.keys.shape[1] not in (1, key.shape[1]):
        return None  # heads that share a key head see different keys
    stops = None if seen.limit is None else seen.limit.to(torch.int32)

    def again(*tensors: Tensor) -> tuple[Tensor, Tensor]:
        mapped = _MAPS.get(features, lambda phi: phi)
        q, k, v = (tensor.to(accumulate_dtype(tensor.dtype)) for tensor in tensors)
        phi_k, v = _sources(mapped, k, v, seen.keys, q.shape[1])
        output, total = _divided(_attend(_apply(mapped, q), phi_k, v, seen._replace(rows=None), chunk))
        return output.to(query.dtype), total

    found = native.linear(query, key, value, features, native.LinearVisible(stops, seen.keys), again)
    if found is None or seen.rows is None:
        return found
    return torch.where(seen.rows[..., None], found[0], 0.0), torch.where(seen.rows, found[1], 0.0)


class _Seen(NamedTuple):
    """A mask in the form that sums can honour."""

    keys: Tensor | None
    """bool `(b, h, S)`: keys that some query sees; None = all."""
    stops: Sequence[int] | None
    """For each query one past the last key that it sees, never going back; None = all see the same keys."""
    limit: Tensor | None
    """The same as a tensor `(L,)`."""
    rows: Tensor | None
    """bool `(b, h, L)`: queries that see something; None = all that their stop lets see."""


def _seen_by(mask: Mask | None, queries: int, keys: int, device: torch.device) -> _Seen:
    if mask is None:
        return _Seen(None, None, None, None)
    # Whether sums can honour a mask, its numbers tell: they are read where it was made.
    found = _seen(mask.resolve(queries, keys, "cpu" if mask.on_host() else device), keys)
    limit = None if found.stops is None else onto(torch.tensor(found.stops, dtype=torch.int64, device="cpu"), device)
    held = (None if part is None else onto(part, device) for part in (found.keys, found.rows))
    return _Seen(next(held), found.stops, limit, next(held))


def _past(queries: int, keys: int, device: torch.device) -> _Seen:
    limit = torch.arange(keys - queries + 1, keys + 1, device=device).clamp(0, keys)
    stops = range(keys - queries + 1, keys + 1) if keys >= queries else [0] * (queries - keys) + [*range(1, keys + 1)]
    return _Seen(None, stops, limit, None)


def _seen(mask: ResolvedMask, keys: int) -> _Seen:
    if mask.dense is not None and not bool((mask.dense == mask.dense[:, :, :1]).all()):
        raise _not_honoured()
    holes = None if mask.dense is None else mask.dense[:, :, 0].expand(*mask.dense.shape[:2], keys)
    if mask.start is None or mask.stop is None:
        return _Seen(holes, None, None, None)
    start, stop = mask.start.long(), mask.stop.long()
    if stop.numel() == 0:
        return _Seen(None, [0] * stop.shape[2], None, None)
    change = torch.zeros(*start.shape[:2], keys + 1, dtype=torch.long, device=start.device)
    ones = torch.ones_like(start)
    open_ = change.scatter_add(2, start, ones).scatter_add(2, stop, -ones).cumsum(-1)[..., :keys] > 0
    if holes is not None:
        open_ = open_ & holes
        start, stop = (t.expand(*open_.shape[:2], -1) for t in (start, stop))
    before = functional.pad(open_.long().cumsum(-1), (1, 0))
    common = torch.where(start < stop, stop, 0).amax((0, 1)).cummax(0).values
    visible = before.gather(2, stop) - before.gather(2, start)
    if not bool(((visible == before[..., common]) | (visible == 0)).all()):
        raise _not_honoured()
    stops = None if bool((common == common[0]).all()) else common.tolist()
    return _Seen(open_, stops, None, visible > 0)


def _not_honoured() -> ArgumentError:
    return ArgumentError(
        "linear_attention was given a mask that hides keys from some queries only. It sums the keys once for all "
        "queries, so each must see every key that any query sees, up to its last one: padding, causal and prefix masks "
        "do; a window, packed documents and arbitrary masks do not. Use regard.attention, or one call per document."
    )


def _named(feature_map: FeatureMap) -> Callable[[Tensor], Tensor]:
    if callable(feature_map):
        return feature_map
    if not isinstance(feature_map, str) or feature_map not in _MAPS:
        hint = nearest(str(feature_map), get_args(Named))
        raise ArgumentError(
            f"feature_map is {described(feature_map)}.{hint} It is 'elu', 'relu', 'softmax', or a function from "
            "(..., E) to features (..., F) that are nowhere negative."
        )
    return _MAPS[feature_map]


def _apply(features: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    phi = features(x)
    if not isinstance(phi, Tensor):
        raise ArgumentError(f"feature_map made {described(phi)}; it is a function from (..., E) to features (..., F).")
    if phi.shape[:-1] != x.shape[:-1] or not phi.is_floating_point():
        raise ShapeError(
            f"feature_map made {phi.dtype} of shape {tuple(phi.shape)} from {tuple(x.shape)}; it may change the last "
            "size only and must stay floating."
        )
    if features not in _MAPS.values() and readable(phi) and bool((phi < 0).any()):
        raise ArgumentError(
            "feature_map made negative features. Weights are φ(q)·φ(k) divided by their sum, so features must be >= 0: "
            "end the map with elu + 1, relu, exp or softmax."
        )
    return phi.to(x.dtype)


def _whole(query: Tensor, key: Tensor, value: Tensor, seen: Tensor | None) -> Tensor:
    """Return what `_attend` does, through the whole matrix: no number is read, and sizes may change. O(L·S)."""
    batch, heads, queries, width = query.shape
    groups, keys = key.shape[1:3]
    lost = None
    if seen is not None:
        bad = ~(key.isfinite().all(-1) & value.isfinite().all(-1))
        bad = bad[:, :, None].expand(batch, groups, heads // groups, keys).reshape(batch, heads, 1, keys)
        lost = (seen & bad).any(-1, keepdim=True)
        key, value = (torch.where(t.isfinite(), t, 0.0) for t in (key, value))
    stacked = query.reshape(batch, groups, heads // groups, queries, width)
    weights = (stacked @ key[:, :, None].transpose(-2, -1)).reshape(batch, heads, queries, keys)
    if seen is not None:
        weights = torch.where(seen, weights, 0.0)
    found = (
        weights.reshape(batch, groups, heads // groups, queries, keys)
        @ functional.pad(value, (0, 1), value=1.0)[:, :, None]
    )
    found = found.reshape(batch, heads, queries, value.shape[3] + 1)
    return found if lost is None else found.masked_fill(lost, torch.nan)


def _sources(
    features: Callable[[Tensor], Tensor], key: Tensor, value: Tensor, seen: Tensor | None, heads: int
) -> tuple[Tensor, Tensor]:
    """Return the keys' features and the values, with zeros for keys that nobody sees."""
    if seen is None:
        return _apply(features, key), value
    if seen.shape[1] != 1 and key.shape[1] != heads:  # heads that share key heads have different visible keys
        key, value = (t.repeat_interleave(heads // key.shape[1], 1) for t in (key, value))
    kept = seen[..., None]
    phi = _apply(features, torch.where(kept, key, 0.0))
    return torch.where(kept, phi, 0.0), torch.where(kept, value, 0.0)


def _attend(query: Tensor, key: Tensor, value: Tensor, seen: _Seen, chunk: int) -> Tensor:
    """Return `φ(q) Σ φ(k) [v, 1]`, `(B, H, L, Ev + 1)`: the last column is the sum of the weights."""
    batch, heads, queries, width = query.shape
    groups = key.shape[1]
    careful = not traced() and not (readable(key) and all_finite(key, value))
    carried = None
    if careful:
        # 0 · NaN is NaN, so a zero weight cannot exclude it. So the sums run over finite numbers, and others are
        # tracked beside them as NaN, row by row.
        carried = ((value - value) + (key - key).sum(-1, keepdim=True)).cumsum(2)
        key, value = (torch.where(t.isfinite(), t, 0.0) for t in (key, value))
    value = functional.pad(value, (0, 1), value=1.0)
    stacked = query.reshape(batch, groups, heads // max(groups, 1), queries, width)
    if seen.stops is None:
        found = stacked @ (key.transpose(-2, -1) @ value)[:, :, None]
    else:
        found = torch.cat([*_chunks(stacked, key, value, seen, chunk)], 3)
    found = found.reshape(batch, heads, queries, value.shape[3])
    if carried is not None:
        found = found + _carried(carried, seen.limit, heads)
    return found if seen.rows is None else torch.where(seen.rows[..., None], found, 0.0)


def _chunks(query: Tensor, key: Tensor, value: Tensor, seen: _Seen, chunk: int) -> Iterable[Tensor]:
    """Yield the sums chunk by chunk: keys that all its queries see come as one state, the rest one by one."""
    stops, limit = seen.stops, seen.limit
    if stops is None or limit is None:
        raise ValueError("all queries see the same keys")
    queries = len(stops)
    state = key.new_zeros(*key.shape[:2], key.shape[3], value.shape[3])
    done = 0
    for top in range(0, max(queries, 1), chunk):
        rows = slice(top, min(top + chunk, queries))
        first, last = (stops[rows.start], stops[rows.stop - 1]) if queries else (0, 0)
        if first > done:
            state = state + key[:, :, done:first].transpose(-2, -1) @ value[:, :, done:first]
            done = first
        part = query[:, :, :, rows]
        total = part @ state[:, :, None]
        if last > first:
            weight = part @ key[:, :, None, first:last].transpose(-2, -1)
            ahead = torch.arange(first, last, device=query.device) >= limit[rows, None]
            total = total + weight.masked_fill(ahead, 0.0) @ value[:, :, None, first:last]
        yield total


def _carried(carried: Tensor, limit: Tensor | None, heads: int) -> Tensor:
    carried = functional.pad(carried, (0, 0, 1, 0))
    rows = carried[:, :, -1:] if limit is None else carried[:, :, limit]
    # The sum of the weights is lost only with everything else: by a key that is not finite.
    return functional.pad(rows, (0, 1)).repeat_interleave(heads // max(carried.shape[1], 1), 1)


@dataclass(eq=False)
class _LinearSource(WeightSource):
    """The matrix of a call of linear attention; `inputs` hold features in place of query and key."""

    def scores(self, rows: slice | Tensor, columns: slice | Tensor) -> Tensor:
        """Return `log(φ(q)·φ(k))`, hidden keys at -inf."""
        return _log(scores(*self.rectangle(rows, columns)))

    def fresh_scores(self, rows: slice | Tensor, columns: slice | Tensor) -> Tensor:
        """Return the same in base 2, without a graph."""
        return scores(*self.rectangle(rows, columns)).clamp_(min=0.0).log2_()

    def pair_scores(self, rows: Tensor, columns: Tensor) -> Tensor:
        """Return `log(φ(q)·φ(k))` of single entries."""
        return _log(pair_products(self.inputs.query[:, :, rows], self.inputs.key[:, :, columns]))


def _log(product: Tensor) -> Tensor:
    nothing = product <= 0  # NaN is not nothing
    return torch.where(nothing, 1.0, product).log().masked_fill(nothing, -torch.inf)


class LinearState:
    """Linear attention one step after the other: the sums over all keys so far, of fixed size.

    `update` adds keys and values, `read` asks with queries that see all of them. One token at a time,
    `state.update(k, v).read(q)` gives the rows of `linear_attention(q, k, v, causal=True)`.

    Shapes: key `(..., G, n, E)`, value `(..., G, n, Ev)`, query `(..., H, n, E)`, `H % G == 0`. Sums are kept in
    float32 (float64 for float64) and are differentiable. Cost of a step: O(B·H·F·Ev), whatever came before.

    Source: Katharopoulos et al. 2020, arXiv:2006.16236, section 3.4.

    >>> q, k, v = torch.randn(3, 1, 2, 5, 4).unbind()
    >>> state = LinearState()
    >>> steps = [state.update(k[:, :, i : i + 1], v[:, :, i : i + 1]).read(q[:, :, i : i + 1]) for i in range(5)]
    >>> bool(torch.allclose(torch.cat(steps, 2), linear_attention(q, k, v, causal=True), atol=1e-5))
    True
    """

    def __init__(self, feature_map: FeatureMap = "elu") -> None:
        self._features = _named(feature_map)
        self._kernel_map = feature_map if isinstance(feature_map, str) else ""
        self.sums: Tensor | None = None
        """`(B, G, F, Ev + 1)`: `Σ φ(k) [v, 1]ᵀ`; None before the first update."""
        self.length = 0
        """Number of keys so far."""

    def _by_kernel(self, *tensors: Tensor) -> bool:
        """Whether the native kernel serves a step: a map of its own, and nothing that gradients flow through."""
        of_state = () if self.sums is None else (self.sums,)
        if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in (*tensors, *of_state)):
            return False
        if not self._kernel_map or not plain() or asked_for() not in (None, "native") or not native.available():
            return False
        return native.why_not_linear(tensors[0], tensors[0], tensors[1], self._kernel_map) is None

    def _shape(self, key: Tensor, value: Tensor) -> tuple[int, ...]:
        width = key.shape[3] * (2 if self._kernel_map == "softmax" else 1)
        return (*key.shape[:2], width, value.shape[3] + 1)

    def update(self, key: Tensor, value: Tensor) -> LinearState:
        """Add keys and values, and return the state itself. Raises `ShapeError`, `DtypeError`, `DeviceError`."""
        tensor("key", key)
        _, key, value, _ = checked_tensors(key, key, value)
        if self._by_kernel(key, value) and (self.sums is None or self.sums.shape == self._shape(key, value)):
            self.sums = native.linear_update(key, value, self.sums, self._kernel_map)
        else:
            dtype = accumulate_dtype(key.dtype)
            phi = _apply(self._features, key.to(dtype))
            added = phi.transpose(-2, -1) @ functional.pad(value.to(dtype), (0, 1), value=1.0)
            if self.sums is not None and self.sums.shape != added.shape:
                raise ShapeError(
                    f"The state holds sums of shape {tuple(self.sums.shape)} (B, G, F, Ev + 1); these keys and values "
                    f"make {tuple(added.shape)}. One state serves one batch of sequences; begin another one."
                )
            self.sums = added if self.sums is None else self.sums + added
        self.length += key.shape[2]
        return self

    def read(self, query: Tensor) -> Tensor:
        """Return the output of queries that see every key so far, in the query's dtype and form."""
        if self.sums is None:
            raise ArgumentError("The state is empty: call update(key, value) before read(query).")
        checked, _, _, rank = checked_tensors(query, query, query)
        groups = self.sums.shape[1]
        batch, heads, length, _ = checked.shape
        if batch != self.sums.shape[0] or (heads % groups if groups else heads):
            raise ShapeError(
                f"query has shape {tuple(query.shape)}; the state is of {self.sums.shape[0]} sequences and {groups} "
                "key heads: give the same batch, and a multiple of these heads."
            )
        fits = self.sums.shape[2] == self._shape(checked, checked)[2] and self.sums.dtype == torch.float32
        if fits and self._by_kernel(checked, checked):
            return native.linear_read(checked, self.sums, self._kernel_map).reshape(*query.shape[:-1], -1)
        phi = _apply(self._features, checked.to(self.sums.dtype))
        grouped = phi.reshape(batch, groups, heads // max(groups, 1), length, phi.shape[3])
        both = (grouped @ self.sums[:, :, None]).reshape(batch, heads, length, self.sums.shape[3])
        total = both[..., -1:]
        output = (both[..., :-1] / torch.where(total == 0, 1.0, total)).to(query.dtype)
        return output.reshape(output.shape[4 - rank :])
