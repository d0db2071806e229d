"""The table: each row of `docs/semantics.md` as calls of `regard.attention`, with what each row may see said anew.

`arguments` gives the call; `sees` says the same mask as a formula over index arrays, for the oracle. `refused` lists
the backends that do not serve a case, with a part of the reason they give: a refusal that is not listed fails.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from regard import biases, masks

# Dtypes that a backend leaves to others, in every case.
REFUSED_DTYPES = {("native", torch.float64): "float64", ("triton", torch.float64): "float64"}
DTYPES = (torch.float64, torch.float32, torch.bfloat16, torch.float16)


class Sizes(NamedTuple):
    """`B` batch, `H` heads, `G` key heads, `L` queries, `S` keys, `E` and `Ev` widths."""

    B: int = 2
    H: int = 2
    G: int = 2
    L: int = 9
    S: int = 9
    E: int = 8
    Ev: int = 8


_PLAIN = Sizes()
Places = NDArray[np.int64]
Sees = Callable[[Sizes, Places, Places, Places, Places], NDArray[np.bool_]]
Arguments = Callable[[Sizes, torch.Generator, torch.dtype], dict[str, Any]]


@dataclass(frozen=True, eq=False)
class Case:
    """One call. `sees` and `arguments` describe the same mask twice, independently."""

    question: str
    """The row of the page that it stands for."""
    name: str
    sizes: Sizes = _PLAIN
    arguments: Arguments = lambda sizes, generator, dtype: {}
    sees: Sees = lambda sizes, b, h, i, j: np.ones(np.broadcast_shapes(i.shape, j.shape), bool)
    layout: Callable[[Tensor], Tensor] = lambda tensor: tensor
    """Turns a contiguous tensor into one of the same shape with other strides; the oracle reads what comes out."""
    spread: float = 1.0
    """Standard deviation of query and key: 200 for products that overflow float16."""
    refused: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        """Return the name, for the test's id."""
        return self.name


def _aligned(s: Sizes, i: Places) -> Places:
    return i + s.S - s.L


def _causal(s: Sizes, b: Places, h: Places, i: Places, j: Places) -> NDArray[np.bool_]:
    return j <= _aligned(s, i)


def _window(left: int, right: int) -> Sees:
    return lambda s, b, h, i, j: (j >= _aligned(s, i) - left) & (j <= _aligned(s, i) + right)


def _both(one: Sees, other: Sees) -> Sees:
    return lambda s, b, h, i, j: one(s, b, h, i, j) & other(s, b, h, i, j)


def _first(lengths: list[int]) -> Sees:
    return lambda s, b, h, i, j: j < np.array(lengths)[b]


def _last(lengths: list[int]) -> Sees:
    return lambda s, b, h, i, j: j >= s.S - np.array(lengths)[b]


def _pattern(s: Sizes, b: Places, h: Places, i: Places, j: Places) -> NDArray[np.bool_]:
    return (3 * i + 5 * j + 2 * h + b) % 4 != 0


def _pattern_tensor(s: Sizes) -> Tensor:
    b, h, i, j = np.ogrid[: s.B, : s.H, : s.L, : s.S]
    return torch.from_numpy(_pattern(s, b, h, i, j))


def _normal(generator: torch.Generator, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def _bias(*shape_letters: str) -> Arguments:
    """A dense bias with gradient, of the sizes named by letters ("1" for 1)."""
    return lambda s, g, dtype: {
        "bias": _normal(g, *(1 if c == "1" else getattr(s, c) for c in shape_letters)).to(dtype).requires_grad_()
    }


def _relative(heads: int | None = None) -> Arguments:
    return lambda s, g, dtype: {
        "bias": biases.RelativeBias(
            _normal(g, heads or s.H, s.L + s.S - 1).to(torch.float32 if dtype.itemsize < 4 else dtype).requires_grad_()
        )
    }


def _sinks(*shape_letters: str, **arguments: Any) -> Arguments:
    """Sinks with gradient, of the sizes named by letters ("1" for 1), beside other arguments."""
    return lambda s, g, dtype: {
        "sinks": _normal(g, *(1 if c == "1" else getattr(s, c) for c in shape_letters)).to(dtype).requires_grad_(),
        **arguments,
    }


def _with(**arguments: Any) -> Arguments:
    return lambda s, g, dtype: dict(arguments)


def _hiding_bias(s: Sizes, generator: torch.Generator, dtype: torch.dtype) -> dict[str, Any]:
    bias = _normal(generator, 1, 1, s.L, s.S).to(dtype)
    bias[..., 1::3] = -torch.inf
    bias[:, :, 2] = -torch.inf
    return {"bias": bias}


def _transposed(tensor: Tensor) -> Tensor:
    return tensor.transpose(1, 2).contiguous().transpose(1, 2)


def _sliced(tensor: Tensor) -> Tensor:
    wide = tensor.new_full((*tensor.shape[:-1], 2 * tensor.shape[-1] + 1), torch.nan)
    wide[..., 1::2] = tensor
    return wide[..., 1::2]


def _expanded(tensor: Tensor) -> Tensor:
    return tensor[:, :1].expand_as(tensor)


def _mirrored(tensor: Tensor) -> Tensor:
    """Torch has no negative strides; the nearest is a view whose axes run in the opposite order."""
    return tensor.permute(3, 2, 1, 0).contiguous().permute(3, 2, 1, 0)


_CAP = {"fused": "softcap"}
_DROP = {"fused": "dropout"}
_CROSS = Sizes(L=5, S=9)
_TALL = Sizes(L=9, S=5)
_LONG = Sizes(B=1, H=2, G=2, L=70, S=70, E=16, Ev=16)
_BIAS = {"fused": "gradient through a bias"}
_EMPTY = {"native": "empty", "fused": "empty", "triton": "empty"}
_WIDE = {"native": "head widths", "triton": "head widths"}
_WIDTH = {"fused": "value width"}
_GROUPED = Sizes(H=6, G=2)

CASES: tuple[Case, ...] = (
    Case("formula", "plain"),
    Case("formula", "cross", _CROSS),
    Case("formula", "long", _LONG),
    Case("formula", "one-query", Sizes(L=1, S=33)),
    Case("formula", "one-key", Sizes(L=4, S=1)),
    Case("formula", "one-of-each", Sizes(1, 1, 1, 1, 1, 1, 1)),
    Case("formula", "wide-head", Sizes(B=1, H=1, G=1, L=3, S=4, E=700, Ev=700), refused=_WIDE),
    Case("formula", "odd-width", Sizes(E=5, Ev=5)),
    Case("scale", "given", arguments=_with(scale=0.3)),
    Case("scale", "zero", arguments=_with(scale=0.0)),
    Case("scale", "negative", arguments=_with(scale=-1.5)),
    Case(
        "boolean mask",
        "single-runs",
        arguments=lambda s, g, t: {"mask": torch.ones(s.L, s.S).tril().bool()},
        sees=_causal,
    ),
    Case("boolean mask", "pattern", arguments=lambda s, g, t: {"mask": _pattern_tensor(s)}, sees=_pattern),
    Case("boolean mask", "per-head", _GROUPED, lambda s, g, t: {"mask": _pattern_tensor(s)}, _pattern),
    Case(
        "boolean mask",
        "one-row",
        arguments=lambda s, g, t: {"mask": torch.arange(s.S) % 2 == 0},
        sees=lambda s, b, h, i, j: (j % 2 == 0) | (i < 0),
    ),
    Case("causal", "square", arguments=_with(causal=True), sees=_causal),
    Case("causal", "square-long", _LONG, _with(causal=True), _causal),
    Case("causal", "more-keys", _CROSS, _with(causal=True), _causal),
    Case("causal", "one-query", Sizes(L=1, S=20), _with(causal=True), _causal),
    Case("causal", "top-left", _CROSS, _with(mask=masks.causal(offset=0)), lambda s, b, h, i, j: j <= i),
    Case("causal", "top-left-tall", _TALL, _with(mask=masks.causal(offset=0)), lambda s, b, h, i, j: j <= i),
    Case("window", "both-sides", _LONG, _with(window=(3, 2)), _window(3, 2)),
    Case("window", "left-open", arguments=_with(window=(None, 1)), sees=_window(99, 1)),
    Case("window", "right-open", _CROSS, _with(window=(1, None)), _window(1, 99)),
    Case("window", "itself", arguments=_with(window=(0, 0)), sees=_window(0, 0)),
    Case("mask and causal", "causal-window", _LONG, _with(causal=True, window=(5, 4)), _both(_causal, _window(5, 4))),
    Case(
        "mask and causal",
        "causal-padding",
        arguments=_with(causal=True, mask=masks.padding([4, 9])),
        sees=_both(_causal, _first([4, 9])),
    ),
    Case(
        "mask and causal",
        "causal-pattern",
        arguments=lambda s, g, t: {"mask": _pattern_tensor(s), "causal": True},
        sees=_both(_causal, _pattern),
    ),
    Case(
        "mask and causal",
        "documents",
        arguments=_with(causal=True, mask=masks.documents([4, 2, 3])),
        sees=_both(_causal, lambda s, b, h, i, j: np.digitize(i, [4, 6]) == np.digitize(j, [4, 6])),
    ),
    Case(
        "mask and causal",
        "prefix",
        arguments=_with(mask=masks.prefix([3, 5])),
        sees=lambda s, b, h, i, j: (j <= i) | (j < np.array([3, 5])[b]),
    ),
    Case("row that sees nothing", "causal-tall", _TALL, _with(causal=True), _causal),
    Case("row that sees nothing", "empty-sequence", arguments=_with(mask=masks.padding([0, 6])), sees=_first([0, 6])),
    Case(
        "row that sees nothing",
        "left-padding",
        arguments=_with(causal=True, mask=masks.padding([4, 7], side="left")),
        sees=_both(_causal, _last([4, 7])),
    ),
    Case(
        "row that sees nothing",
        "empty-rows",
        arguments=lambda s, g, t: {"mask": _pattern_tensor(s) & (torch.arange(s.L) % 3 > 0)[:, None]},
        sees=_both(_pattern, lambda s, b, h, i, j: i % 3 > 0),
    ),
    Case(
        "row that sees nothing",
        "nobody-sees",
        arguments=lambda s, g, t: {"mask": torch.zeros(s.L, s.S, dtype=torch.bool)},
        sees=lambda s, b, h, i, j: (j < 0) & (i < 0),
    ),
    Case("row that sees nothing", "by-bias", arguments=_hiding_bias),
    Case("overflow in half", "product-beyond-half", arguments=_with(scale=2e-5), spread=200.0),
    Case(
        "overflow in half", "product-beyond-half-causal", _LONG, _with(causal=True, scale=2e-5), _causal, spread=200.0
    ),
    Case("overflow in half", "peaked", spread=4.0),
    Case("grouped heads", "plain", _GROUPED),
    Case("grouped heads", "one-key-head", Sizes(H=4, G=1), _with(causal=True), _causal),
    Case("grouped heads", "decode", Sizes(H=8, G=2, L=1, S=40)),
    Case("value width", "narrow", Sizes(Ev=3), refused=_WIDTH),
    Case("value width", "wide", Sizes(E=3, Ev=11), _with(causal=True), _causal, refused=_WIDTH),
    Case("value width", "zero", Sizes(Ev=0), refused=_EMPTY | _WIDTH),
    Case("bias", "dense", arguments=_bias("B", "H", "L", "S"), refused=_BIAS),
    Case(
        "bias",
        "dense-per-head-causal",
        _GROUPED,
        lambda s, g, t: _bias("1", "H", "L", "S")(s, g, t) | {"causal": True},
        _causal,
        refused=_BIAS,
    ),
    Case("bias", "dense-per-key", arguments=_bias("B", "1", "1", "S"), refused=_BIAS),
    Case("bias", "dense-per-row", arguments=_bias("1", "H", "L", "1"), refused=_BIAS),
    Case("bias", "dense-constant", arguments=lambda s, g, t: {"bias": _normal(g, s.H, s.L, s.S).to(t)}),
    Case("bias", "relative", _CROSS, _relative(), refused=_BIAS),
    Case("bias", "relative-shared", _TALL, _relative(1), refused=_BIAS),
    Case(
        "bias",
        "relative-causal",
        arguments=lambda s, g, t: _relative()(s, g, t) | {"causal": True},
        sees=_causal,
        refused=_BIAS,
    ),
    Case("bias", "alibi", arguments=lambda s, g, t: {"bias": biases.ALiBi(s.H), "causal": True}, sees=_causal),
    Case("softcap", "plain", arguments=_with(softcap=0.7), refused=_CAP),
    Case(
        "softcap",
        "causal-bias",
        arguments=lambda s, g, t: _bias("B", "H", "L", "S")(s, g, t) | {"causal": True, "softcap": 2.0},
        sees=_causal,
        refused=_CAP,
    ),
    Case("sinks", "per-head", arguments=_sinks("H")),
    Case("sinks", "per-row-causal", _CROSS, _sinks("B", "H", "L", causal=True), _causal),
    Case("sinks", "grouped-long", Sizes(B=1, H=4, G=2, L=70, S=70, E=16, Ev=16), _sinks("H", causal=True), _causal),
    Case("sinks", "one-query", Sizes(H=4, G=1, L=1, S=33), _sinks("H", "1")),
    Case("sinks", "one-for-all", arguments=_sinks("1", "1", "1")),
    Case("sinks", "of-empty-rows", _TALL, _sinks("H", causal=True), _causal),
    Case("sinks", "of-an-empty-sequence", arguments=_sinks("H", mask=masks.padding([0, 6])), sees=_first([0, 6])),
    Case(
        "sinks",
        "pattern-bias",
        arguments=lambda s, g, t: (
            _sinks("B", "H", "L")(s, g, t) | _bias("1", "H", "L", "S")(s, g, t) | {"mask": _pattern_tensor(s)}
        ),
        sees=_pattern,
        refused=_BIAS,
    ),
    Case("sinks", "softcap", arguments=_sinks("H", softcap=0.7), refused=_CAP),
    Case(
        "sinks", "dropout", Sizes(H=4, G=2, L=20, S=20), _sinks("H", dropout=0.4, causal=True), _causal, refused=_DROP
    ),
    Case("sinks", "peaked", arguments=_sinks("H"), spread=4.0),
    Case("sinks", "no-keys", Sizes(S=0), _sinks("H"), refused=_EMPTY),
    Case("dropout", "plain", Sizes(L=7, S=70), _with(dropout=0.3), refused=_DROP),
    Case(
        "dropout",
        "causal-grouped",
        Sizes(H=4, G=2, L=20, S=20),
        _with(dropout=0.5, causal=True),
        _causal,
        refused=_DROP,
    ),
    Case(
        "dropout",
        "softcap-bias",
        arguments=lambda s, g, t: _relative()(s, g, t) | {"dropout": 0.2, "softcap": 1.5},
        refused=_CAP,
    ),
    Case("bad input", "no-queries", Sizes(L=0), refused=_EMPTY),
    Case("bad input", "no-keys", Sizes(S=0), refused=_EMPTY),
    Case("bad input", "no-keys-causal", Sizes(L=3, S=0), _with(causal=True), _causal, refused=_EMPTY),
    Case("bad input", "no-batch", Sizes(B=0), refused=_EMPTY),
    Case("bad input", "no-width", Sizes(E=0, Ev=0), refused=_EMPTY),
    Case("bad input", "width-one", Sizes(E=1, Ev=1)),
    Case("bad input", "width-5000", Sizes(B=1, H=1, G=1, L=3, S=3, E=5000, Ev=5000), refused=_WIDE),
    Case("bad input", "transposed", _GROUPED, _with(causal=True), _causal, layout=_transposed),
    Case("bad input", "sliced", layout=_sliced),
    Case("bad input", "expanded", arguments=_with(causal=True), sees=_causal, layout=_expanded),
    Case("bad input", "mirrored", arguments=_with(causal=True), sees=_causal, layout=_mirrored),
)
