"""Calls of every kind with their weights worked out in float64, matrix and all."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

import regard
from regard import AttentionWeights, biases, masks
from regard.weights import summarise


@dataclass
class Case:
    """One call: sizes and the arguments of `attention`, with what they mean written out."""

    name: str
    sizes: tuple[int, int, int, int, int] = (2, 4, 37, 53, 8)  # B, H, L, S, E
    groups: int = 4
    arguments: dict[str, Any] = field(default_factory=dict)
    visible: Tensor | None = None
    dtype: torch.dtype = torch.float32

    def tensors(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return query, key, value from one seed."""
        b, h, rows, keys, e = self.sizes
        make = torch.Generator().manual_seed(7)
        shapes = ((b, h, rows, e), (b, self.groups, keys, e), (b, self.groups, keys, 5))
        q, k, v = (torch.randn(s, generator=make, dtype=torch.float64) for s in shapes)
        return (2 * q).to(self.dtype), k.to(self.dtype), v.to(self.dtype)

    def call(self, backend: str | None = None) -> tuple[Tensor, AttentionWeights]:
        return regard.attention(*self.tensors(), **self.arguments, need_weights=True, backend=backend)

    def seen(self) -> Tensor:
        """Return the pairs that neither the mask nor the bias hides, `(B, H, L, S)`."""
        return self.scores() != -torch.inf

    def scores(self) -> Tensor:
        """Work the scores out in float64, -inf where nothing is seen: `(B, H, L, S)`."""
        q, k, _ = (t.double() for t in self.tensors())
        heads = self.sizes[1]
        score = q @ k.repeat_interleave(heads // self.groups, 1).mT * self.arguments.get("scale", self.sizes[4] ** -0.5)
        if cap := self.arguments.get("softcap"):
            score = cap * torch.tanh(score / cap)
        bias = self.arguments.get("bias")
        if isinstance(bias, biases.PositionBias):
            _, _, rows, keys, _ = self.sizes
            apart = torch.arange(keys) - torch.arange(rows)[:, None] + rows - 1
            bias = bias.vector(rows, keys, "cpu")[:, apart]
        if bias is not None:
            score = score + bias.double()
        if self.visible is not None:
            score = score.masked_fill(~self.visible, -torch.inf)
        return score

    def expected(self) -> Tensor:
        """Work the weights out in float64: `(B, H, L, S)`."""
        score = self.scores()
        sinks = self.arguments.get("sinks", torch.tensor(-torch.inf))
        column = (sinks[:, None] if sinks.ndim == 1 else sinks)[..., None].expand(*score.shape[:3], 1)
        return torch.nan_to_num(torch.softmax(torch.cat([score, column.double()], -1), -1))[..., :-1]


def _cases() -> list[Case]:
    make = torch.Generator().manual_seed(3)
    holes = torch.rand(2, 1, 37, 53, generator=make) > 0.4
    holes[1, 0, 5] = False
    causal = masks.causal().to_dense(37, 53)
    padded = masks.causal() & masks.padding([40, 53])
    left = masks.padding([40, 53], side="left")
    nothing = masks.causal(offset=-6)
    documents = masks.documents([20, 1, 32]) & masks.causal()
    hidden_bias = torch.randn(1, 4, 37, 53, generator=make).masked_fill(
        torch.rand(53, generator=make) > 0.8, -torch.inf
    )
    return [
        Case("plain"),
        Case("grouped", groups=2),
        Case("one key head", groups=1, arguments={"causal": True}, visible=causal),
        Case("float64", dtype=torch.float64),
        Case("bfloat16", dtype=torch.bfloat16),
        Case("float16", dtype=torch.float16, arguments={"scale": 0.5}),
        Case("causal and padding", arguments={"mask": padded}, visible=padded.to_dense(37, 53)),
        Case("rows that see nothing", arguments={"mask": nothing}, visible=nothing.to_dense(37, 53)),
        Case("window", arguments={"window": (9, 3)}, visible=masks.window(9, 3).to_dense(37, 53)),
        Case("documents", arguments={"mask": documents}, visible=documents.to_dense(37, 53)),
        Case("holes", arguments={"mask": holes}, visible=holes),
        Case("holes in padding", arguments={"mask": holes[:, :, :1]}, visible=holes[:, :, :1]),
        Case("holes, causal", arguments={"mask": holes, "causal": True}, visible=holes & causal),
        Case("softcap", arguments={"softcap": 2.0, "causal": True}, visible=causal),
        Case("alibi", arguments={"bias": biases.ALiBi(4)}),
        Case("bias that hides", arguments={"bias": hidden_bias}),
        Case("padding on the left", arguments={"mask": left}, visible=left.to_dense(37, 53)),
        Case("sinks", groups=2, arguments={"sinks": torch.tensor([-1.0, 0.5, 2.0, 3.0]), "causal": True},
             visible=causal),
        Case("sinks of each row", arguments={"sinks": torch.randn(2, 4, 37, generator=make)}),
        Case("more queries than keys", sizes=(1, 2, 9, 5, 3), groups=2),
        Case("long", sizes=(1, 1, 700, 2300, 4), groups=1, arguments={"causal": True},
             visible=masks.causal().to_dense(700, 2300)),
    ]  # fmt: skip


CASES = _cases()


def tolerance(case: Case) -> float:
    """Absolute bound for weights, which are at most 1: inputs are exact, so half precision computes in float32."""
    return 1e-12 if case.dtype == torch.float64 else 3e-6


def apart(rows: int, keys: int) -> Tensor:
    """Key minus query position, bottom-right aligned: `(L, S)`."""
    return torch.arange(keys) - torch.arange(rows)[:, None] - (keys - rows)


def pooled(matrix: Tensor, cell: int | tuple[int, int], kind: str = "mass") -> Tensor:
    """Return the mean over the queries of a cell of the sum over its keys, or its largest weight."""
    down, across = cell if isinstance(cell, tuple) else (cell, cell)
    of_keys, of_queries = (torch.sum, torch.mean) if kind == "mass" else (torch.amax, torch.amax)
    strips = torch.stack([of_keys(part, -1) for part in matrix.split(across, -1)], -1)
    strips = strips[..., : matrix.shape[-1]]  # no keys are split into one part
    return torch.stack([of_queries(part, -2) for part in strips.split(down, -2)], -2)


def _values(w: AttentionWeights) -> Tensor:
    batch, heads, _, keys = w.shape
    dtype = torch.float64 if w.dtype == torch.float64 else torch.float32
    return torch.linspace(-1, 1, 2 * heads * keys, dtype=dtype).view(1, heads, keys, 2).expand(batch, -1, -1, -1)


def answers(weights: AttentionWeights) -> Iterator[tuple[str, Tensor]]:
    """What can be asked of weights; names of stored numbers first, `rectangle` what is computed from query and key."""
    yield "entropy", weights.entropy()
    yield "received", weights.received()
    yield "corrected", weights.received(corrected=True)
    yield "peak", weights.peak().values
    yield "places", weights.peak().indices
    yield "distance", weights.mean_distance()
    for offset in (-1, 0, 1, "first"):
        yield f"share {offset}", weights.share(offset)  # type: ignore[arg-type]
    yield "visible", weights.visible_keys()
    yield "hidden", weights.masked(summarise(weights).cell)
    yield "lse", weights.lse
    yield "map", weights.pooled(summarise(weights).cell)
    if not weights.kept_cell:
        yield "rectangle", weights.dense()
        yield "rectangle of masks", weights.masked()
        yield "rectangle of a map", weights.pooled(5)
        yield "rectangle with norms", weights.value_weighted().dense()


def assert_same_answers(kept: AttentionWeights, whole: AttentionWeights) -> None:
    """Compare all that a summary answers with what the weights themselves do."""
    assert kept.shape == whole.shape
    for (name, found), (_, expected) in zip(answers(kept), answers(whole), strict=False):
        torch.testing.assert_close(found, expected, msg=name)
    torch.testing.assert_close(kept.top(4), whole.top(4))


# What can be asked of weights of at least four queries and keys.
QUESTIONS: dict[str, Callable[[AttentionWeights], Tensor]] = {
    "dense": lambda w: w.dense(),
    "row": lambda w: w[0, 0, 1],
    "rows": lambda w: w[:, 1, 2:4],
    "rectangle": lambda w: w[..., 1:, 1::2],
    "positions": lambda w: w[..., [3, 0], :],
    "pairs": lambda w: w[0, :, torch.arange(4), torch.arange(4)],
    "entropy": lambda w: w.entropy(),
    "effective_keys": lambda w: w.effective_keys(),
    "received": lambda w: w.received(),
    "corrected": lambda w: w.received(corrected=True),
    "pooled": lambda w: w.pooled((2, 3)),
    "one cell": lambda w: w.pooled(1000),
    "mean_distance": lambda w: w.mean_distance(),
    "profile": lambda w: w.distance_profile().mass,
    "share": lambda w: w.share(-1),
    "first": lambda w: w.share("first"),
    "product": lambda w: w @ _values(w),
}
# Those that have no gradient.
LARGEST: dict[str, Callable[[AttentionWeights], Tensor]] = {
    "peak of cells": lambda w: w.pooled((2, 3), "peak"),
    "peak": lambda w: w.peak().values,
    "top": lambda w: w.top(4).values,
}
# What a summary does not keep.
NOT_KEPT: tuple[Callable[[AttentionWeights], object], ...] = (
    AttentionWeights.dense, AttentionWeights.distance_profile, lambda w: w[0, 0, 1], lambda w: w.top(5),
    lambda w: w.share(2), lambda w: w.uniform(), lambda w: w.masked(1), lambda w: w.pooled(2, "peak"),
    lambda w: w.value_weighted(), lambda w: w @ _values(w), lambda w: w.mean(1),
)  # fmt: skip
