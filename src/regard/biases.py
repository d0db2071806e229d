"""Biases added to the scores: one number per head and relative position, or any dense tensor.

ALiBi and T5's relative bias depend only on the distance of key `j` from query `i`. So they are stored as one vector
per head of length `L + S - 1`, never as an `L × S` matrix: entry `j - i + L - 1` belongs to query `i`, key `j`.
Positions are aligned bottom-right, as everywhere: the last query has the position of the last key.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ._tracing import quiet, sizes
from ._values import described, device_of, flag, floating, integers, onto, size
from .errors import ArgumentError, DtypeError, ShapeError

__all__ = ["ALiBi", "PositionBias", "RelativeBias", "T5Bias", "alibi_slopes", "distances"]


def distances(num_queries: int, num_keys: int, device: torch.device | str = "cpu") -> Tensor:
    """Key position minus query position for each entry of the vector: int64 `(L + S - 1,)`, ending at `L - 1`.

    >>> distances(2, 3)
    tensor([-2, -1,  0,  1])
    """
    num_queries, num_keys = size("num_queries", num_queries, 0), size("num_keys", num_keys, 0)
    return torch.arange(1 - num_keys, max(num_queries, 1 - num_keys), device=device_of("device", device))


class PositionBias(ABC):
    """A bias that depends on the head and on key position minus query position only.

    Subclass it for your own bias, and pass it as `bias=`: memory stays O(L + S), and gradients reach the tensors from
    which the vector is computed.

    >>> class Past(PositionBias):
    ...     def vector(self, num_queries, num_keys, device):
    ...         return distances(num_queries, num_keys, device).float().clamp(max=0)[None]
    >>> Past().vector(1, 3, "cpu")
    tensor([[-2., -1.,  0.]])
    """

    @abstractmethod
    def vector(self, num_queries: int, num_keys: int, device: torch.device | str) -> Tensor:
        """Return the bias as a floating tensor `(1 or H, L + S - 1)`; gradients flow through it."""


@dataclass(frozen=True, eq=False)
class RelativeBias(PositionBias):
    """A given bias: `values` floating `(1 or H, L + S - 1)`, entry `j - i + L - 1` for query `i` and key `j`."""

    values: Tensor

    def __post_init__(self) -> None:
        floating("values", self.values)

    def vector(self, num_queries: int, num_keys: int, device: torch.device | str) -> Tensor:
        """Return `values`, checked against the sizes of the call."""
        expected = max(size("num_queries", num_queries, 0) + size("num_keys", num_keys, 0) - 1, 0)
        if self.values.ndim != 2 or self.values.shape[1] != expected:
            raise ShapeError(
                f"RelativeBias holds values of shape {tuple(self.values.shape)}; num_queries={num_queries} and "
                f"num_keys={num_keys} need (1 or H, L + S - 1) = (H, {expected})."
            )
        return onto(self.values, device_of("device", device))


def alibi_slopes(num_heads: int) -> Tensor:
    """Return ALiBi's slopes, float32 `(num_heads,)`: a geometric series from `2^(-8/n)`.

    For a head count that is not a power of two, the series of the next lower power is completed with every second
    slope of the next higher one. Source: Press et al. 2022, arXiv:2108.12409, section 3 and its released code.

    >>> alibi_slopes(2).tolist()
    [0.0625, 0.00390625]
    """
    num_heads = size("num_heads", num_heads)
    power = 2 ** int(math.log2(num_heads))
    slopes = [2.0 ** (-8 * (h + 1) / power) for h in range(power)]
    slopes += [2.0 ** (-4 * (2 * h + 1) / power) for h in range(num_heads - power)]
    with quiet():
        return torch.tensor(slopes, dtype=torch.float32, device="cpu")


@dataclass(frozen=True, eq=False)
class ALiBi(PositionBias):
    """`-slope · |i - j|` per head (Press et al. 2022): nearer keys weigh more, with nothing to learn.

    `slopes` is a head count, or a sequence or tensor `(H,)` of slopes; it is kept as a tensor.

    >>> ALiBi([1.0]).vector(1, 3, "cpu")
    tensor([[-2., -1., -0.]])
    """

    slopes: Tensor | Sequence[float] | int

    def __post_init__(self) -> None:
        """Check the slopes, or compute them from a head count."""
        with quiet():
            slopes = _slopes(self.slopes)
        if slopes.ndim != 1:
            raise ShapeError(f"slopes has shape {tuple(slopes.shape)}; ALiBi takes one per head, (H,).")
        object.__setattr__(self, "slopes", slopes)

    def vector(self, num_queries: int, num_keys: int, device: torch.device | str) -> Tensor:
        """Return `-slope · distance`, `(H, L + S - 1)`, in the slopes' dtype."""
        slopes = onto(torch.as_tensor(self.slopes), device_of("device", device))
        return -slopes[:, None] * distances(num_queries, num_keys, device).abs().to(slopes.dtype)


def _slopes(given: Tensor | Sequence[float] | int) -> Tensor:
    if getattr(given, "ndim", 0) == 0 and hasattr(given, "__index__"):
        return alibi_slopes(size("slopes", given))
    try:
        slopes = torch.as_tensor(given)
    except (TypeError, ValueError, RuntimeError):
        slopes = None
    if slopes is None or not slopes.is_floating_point():
        raise DtypeError(f"slopes is {described(given)}; give floating numbers, one per head, or a head count.")
    return slopes


@dataclass(frozen=True, eq=False)
class T5Bias(PositionBias):
    """T5's learned relative bias: distances are grouped into buckets, exact when small and logarithmic when large.

    `weight` is `(num_buckets, H)`, as in a T5 checkpoint. `bidirectional` gives the past and the future their own
    halves; without it the future shares bucket 0. Source: Raffel et al. 2020, arXiv:1910.10683, section 2.1.
    """

    weight: Tensor
    bidirectional: bool = True
    max_distance: int = 128

    def __post_init__(self) -> None:
        """Check that there are buckets for near and for far distances."""
        floating("weight", self.weight)
        object.__setattr__(self, "bidirectional", flag("bidirectional", self.bidirectional))
        object.__setattr__(self, "max_distance", size("max_distance", self.max_distance))
        if self.weight.ndim != 2:
            raise ShapeError(f"weight has shape {tuple(self.weight.shape)}; the rule of T5Bias is (num_buckets, H).")
        least, buckets = 4 if self.bidirectional else 2, sizes(self.weight)[0]
        if buckets < least:
            raise ArgumentError(
                f"weight has {buckets} buckets; with bidirectional={self.bidirectional} it needs at least {least}."
            )
        exact = buckets // least
        if self.max_distance <= exact:
            raise ArgumentError(
                f"max_distance is {self.max_distance}; nearer distances than {exact} have buckets of their own, so it "
                f"must be more than {exact}."
            )

    def vector(self, num_queries: int, num_keys: int, device: torch.device | str) -> Tensor:
        """Return the bias of each relative position, `(H, L + S - 1)`, in the weight's dtype."""
        bucket = self.bucket(distances(num_queries, num_keys, device))
        return onto(self.weight, device_of("device", device))[bucket].t()

    def bucket(self, distance: Tensor) -> Tensor:
        """Return the bucket of each key-minus-query distance: int64, same shape."""
        distance = integers("distance", distance, range(8), "integers, such as distances(L, S)")
        buckets = sizes(self.weight)[0]
        first = torch.zeros_like(distance)
        if self.bidirectional:
            buckets //= 2
            first = (distance > 0).long() * buckets
            apart = distance.abs()
        else:
            apart = (-distance).clamp(min=0)
        exact = buckets // 2
        ratio = torch.log(apart.clamp(min=1).float() / exact) / math.log(self.max_distance / exact)
        far = (exact + (ratio * (buckets - exact)).long()).clamp(max=buckets - 1)
        return first + torch.where(apart < exact, apart, far)
