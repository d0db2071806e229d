"""Random calls of `regard.attention` as cases of the conformance table: every mask, bias, stride and size, and numbers
far from zero. What a row may see is said twice, as everywhere in that table: for the call and for the oracle.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from regard import biases, masks

from ..conformance.cases import Case, Sees, Sizes

_FAR = (-1e3, 1e3, -1e4, -65504.0, 1e6, -1e9, -1e30)


def random_case(seed: int) -> Case:
    """Return the case of a seed, always the same one."""
    draw = np.random.default_rng(seed)
    sizes = _sizes(draw)
    arguments, sees = _mask(draw, sizes)
    bias, shift = _bias(draw, sizes), _shift(draw, sizes)
    extra: dict[str, Any] = {}
    if draw.random() < 0.3:
        extra["scale"] = float(draw.choice([0.0, -0.7, -1e-3, 1e-30, 3.0]))
    if draw.random() < 0.15:
        extra["softcap"] = float(draw.choice([0.5, 20.0]))
    if draw.random() < 0.15:
        extra["dropout"] = 0.3
    spread = float(draw.choice([1.0, 1.0, 0.0, 4.0, 30.0]))
    layout, sinks = _layout(draw), _sinks(draw, sizes)

    def every(s: Sizes, generator: torch.Generator, dtype: torch.dtype) -> dict[str, Any]:
        given = arguments | extra | bias(s, generator, dtype) | sinks(generator, dtype)
        return given if "bias" in given else given | shift(dtype)

    return Case("random", str(seed), sizes, every, sees, layout, spread)


def _sizes(draw: np.random.Generator) -> Sizes:
    groups = int(draw.integers(1, 4))
    queries, keys = (int(draw.choice([1, 2, 3, 5, 16, 17, 33, 64, 65, 130])) for _ in range(2))
    if draw.random() < 0.4:
        keys = queries
    width = int(draw.choice([1, 3, 8, 16, 33, 64]))
    value_width = width if draw.random() < 0.8 else int(draw.choice([1, 7, 32]))
    return Sizes(int(draw.integers(1, 3)), groups * int(draw.integers(1, 3)), groups, queries, keys, width, value_width)


def _mask(draw: np.random.Generator, s: Sizes) -> tuple[dict[str, Any], Sees]:
    """Return arguments of the call, and what every one of them lets a row see."""
    given: dict[str, Any] = {}
    rules: list[Sees] = []
    if draw.random() < 0.4:
        given["causal"] = True
        rules.append(lambda s, b, h, i, j: j <= i + s.S - s.L)
    if draw.random() < 0.2:
        left, right = (int(n) for n in draw.integers(0, 20, 2))
        given["window"] = (left, right)
        rules.append(lambda s, b, h, i, j: (j >= i + s.S - s.L - left) & (j <= i + s.S - s.L + right))
    kind = draw.choice(["none", "padding", "dense", "documents"], p=[0.5, 0.2, 0.2, 0.1])
    if kind == "padding":
        lengths = draw.integers(0, s.S + 1, s.B)
        given["mask"] = masks.padding(lengths.tolist())
        rules.append(lambda s, b, h, i, j: j < lengths[b])
    elif kind == "dense":
        shape = [size if draw.random() < 0.6 else 1 for size in (s.B, s.H, s.L)] + [s.S]
        seen = draw.random(shape) < draw.choice([0.1, 0.5, 0.95])
        given["mask"] = torch.from_numpy(seen)
        rules.append(lambda s, b, h, i, j: np.broadcast_to(seen, (s.B, s.H, s.L, s.S)))
    elif kind == "documents" and s.L == s.S:
        cut = int(draw.integers(0, s.S + 1))
        given["mask"] = masks.documents([cut, s.S - cut])
        rules.append(lambda s, b, h, i, j: (i < cut) == (j < cut))

    def sees(s: Sizes, *places: Any) -> Any:
        seen = np.ones((s.B, s.H, s.L, s.S), bool)
        for rule in rules:
            seen = seen & rule(s, *places)
        return seen

    return given, sees


def _bias(draw: np.random.Generator, s: Sizes) -> Callable[[Sizes, torch.Generator, torch.dtype], dict[str, Any]]:
    kind = draw.choice(["none", "dense", "relative", "alibi"], p=[0.5, 0.25, 0.15, 0.1])
    hidden = float(draw.choice([0.0, 0.0, 0.3]))
    shape = [size if draw.random() < 0.6 else 1 for size in (s.B, s.H, s.L, s.S)]
    heads = s.H if draw.random() < 0.5 else 1
    full = bool(draw.random() < 0.5)
    wanted = bool(draw.random() < 0.5)

    def make(s: Sizes, generator: torch.Generator, dtype: torch.dtype) -> dict[str, Any]:
        kept = torch.float32 if full and dtype.itemsize < 4 else dtype
        if kind == "alibi":
            return {"bias": biases.ALiBi(s.H)}
        if kind == "none":
            return {}
        size = shape if kind == "dense" else [heads, s.L + s.S - 1]
        values = torch.randn(size, generator=generator, dtype=torch.float64)
        values[torch.rand(size, generator=generator) < hidden] = -torch.inf
        values = values.to(kept).requires_grad_(wanted)
        return {"bias": values if kind == "dense" else biases.RelativeBias(values)}

    return make


def _sinks(draw: np.random.Generator, s: Sizes) -> Callable[[torch.Generator, torch.dtype], dict[str, Any]]:
    none, wanted = bool(draw.random() < 0.8), bool(draw.random() < 0.5)
    shape = [s.H] if draw.random() < 0.5 else [size if draw.random() < 0.6 else 1 for size in (s.B, s.H, s.L)]
    far = float(draw.choice([0.0, 0.0, -40.0, 40.0, -1e4]))

    def make(generator: torch.Generator, dtype: torch.dtype) -> dict[str, Any]:
        if none:
            return {}
        scores = torch.randn(shape, generator=generator, dtype=torch.float64) + far
        return {"sinks": scores.to(dtype).requires_grad_(wanted)}

    return make


def _shift(draw: np.random.Generator, s: Sizes) -> Callable[[torch.dtype], dict[str, Any]]:
    """Return a dense bias that moves some rows far from zero, or their last key alone."""
    rows = draw.random((s.L, 1)) < 0.5
    far = float(draw.choice(_FAR))
    lowest, none = bool(draw.random() < 0.2), bool(draw.random() < 0.4)

    def make(dtype: torch.dtype) -> dict[str, Any]:
        limits = torch.finfo(torch.float32 if dtype == torch.float64 else dtype)
        by = limits.min if lowest else min(max(far, limits.min), limits.max)
        return {} if none else {"bias": torch.from_numpy(rows).double().mul(by).to(dtype).expand(s.L, s.S).clone()}

    return make


def _layout(draw: np.random.Generator) -> Callable[[Tensor], Tensor]:
    def sliced(tensor: Tensor) -> Tensor:
        wide = tensor.new_full((*tensor.shape[:-1], 2 * tensor.shape[-1]), torch.nan)
        wide[..., ::2] = tensor
        return wide[..., ::2]

    layouts: list[Callable[[Tensor], Tensor]] = [
        lambda t: t,
        lambda t: t.transpose(1, 2).contiguous().transpose(1, 2),
        lambda t: t[:, :1].expand_as(t),
        lambda t: torch.cat([t, t], -1)[..., : t.shape[-1]],
        sliced,
    ]
    return layouts[int(draw.integers(len(layouts)))]


def bare_case(seed: int) -> Case:
    """Return a causal call with a scale and nothing else: kernels of others have paths of their own for it."""
    draw = np.random.default_rng([seed, 5])
    length, width = int(draw.choice([2, 16, 17, 32, 64, 65])), int(draw.choice([8, 16, 64]))
    scale = float(draw.choice([-3.0, -0.7, -1e-3, 0.0, 0.2]))

    def arguments(s: Sizes, generator: torch.Generator, dtype: torch.dtype) -> dict[str, Any]:
        return {"causal": True, "scale": scale}

    sizes = Sizes(2, 2, 2, length, length, width, width)
    return Case("bare", str(seed), sizes, arguments, lambda s, b, h, i, j: j <= i, lambda tensor: tensor, 1.0)
