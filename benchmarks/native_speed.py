"""Time of the native kernel against torch, through the public call, and its share of the machine's own peak.

The kernel runs as it would be chosen; a column each says what the other instruction sets of the machine give and, where
there are tiles, products by parts.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

import regard
from regard.backends.native import library_info
from regard.layers import from_torch

from .measure import Table, Timing, compare

NAME = "native-speed"
_CODES = {torch.float32: 0, torch.bfloat16: 1, torch.float16: 2}  # of csrc/regard_native.h
_PARTS = "by parts"


@dataclass(frozen=True)
class Setting:
    """One call to measure."""

    what: str = "forward"
    batch: int = 1
    queries: int = 2048
    keys: int = 2048
    width: int = 64
    causal: bool = False
    backward: bool = False
    dropout: float = 0.0
    window: int | None = None
    heads: int = 8

    def work(self) -> float:
        """Floating-point operations of the visible part."""
        pairs = self.queries * (self.keys if self.window is None else min(self.keys, self.window))
        pairs *= 0.5 if self.causal and self.queries > 1 and self.window is None else 1.0
        return self.batch * self.heads * pairs * self.width * (14.0 if self.backward else 4.0)


def _settings(quick: bool) -> Iterator[Setting]:
    for length in (2048,) if quick else (2048, 4096, 16384):
        plain = Setting(queries=length, keys=length)
        yield from (plain, replace(plain, causal=True))
    if quick:
        return
    for length in (128, 197, 256, 512):
        for causal in (False, True):
            yield Setting("short batch", 8, length, length, causal=causal)
    for width in (32, 80, 96, 128):
        yield Setting("width", width=width)
    for keys in (2048, 32768):
        yield Setting("decode", queries=1, keys=keys)
    for causal in (False, True):
        yield Setting("training", causal=causal, backward=True)
    yield Setting("training", 8, 512, 512, causal=True, backward=True)
    yield Setting("training, dropout 0.1", backward=True, dropout=0.1)
    yield Setting("window 256", queries=16384, keys=16384, causal=True, window=256)


def run(quick: bool) -> Table:
    """Return CPU time of torch as a multiple of ours, and our share of the multiply-add peak of the threads used."""
    columns = ["dtype", "call", "B x L x S x E", "causal", "ours ms", "torch / ours", "with map", "GF/s", "of peak"]
    columns += _others()
    table = Table(f"The native kernel ({library_info().isa}) beside torch; more than 1 is faster than torch", columns)
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        for setting in _settings(quick):
            found = compare(_peers(setting, dtype), 0.05 if quick else 0.4)
            _add(table, setting, str(dtype).removeprefix("torch."), found, _peak(dtype))
    _module(table, quick)
    return table


def _others() -> list[str]:
    info = library_info()
    return [*([_PARTS] if info.parts else []), *(isa for isa in info.isas if isa != info.isa)]


def _select(isa: str | None) -> None:
    name = None if isa is None else isa.encode()
    if ctypes.CDLL(str(library_info().path)).regard_select_isa(ctypes.c_char_p(name)):
        raise RuntimeError(f"this machine does not run {isa}")


def _peak(dtype: torch.dtype) -> float:
    # The peak is measured beside each timing, since one core's speed depends on the other's load.
    loop = ctypes.CDLL(str(library_info().path)).regard_multiply_add_loop
    loop.argtypes, loop.restype = (ctypes.c_int64, ctypes.c_int64), ctypes.c_double
    best = 0.0
    for _ in range(3):
        began = time.process_time()
        done = loop(_CODES[dtype], 300_000)
        best = max(best, done / (time.process_time() - began))
    return best


def _add(table: Table, setting: Setting, dtype: str, found: dict[str, Timing], peak: float) -> None:
    ours = found["ours"].cpu
    speed = setting.work() / ours
    size = f"{setting.batch} x {setting.queries} x {setting.keys} x {setting.width}"
    torch_ratio, mapped = f"{found['torch'].cpu / ours:.2f}", f"{(found['map'].cpu / ours - 1) * 100:+.1f} %"
    table.rows.append([
        dtype, setting.what, size, str(setting.causal), f"{ours * 1e3:.3f}", torch_ratio, mapped, f"{speed / 1e9:.0f}",
        f"{speed / peak:.0%}", *(f"{found['torch'].cpu / found[name].cpu:.2f}" if name in found else "-"
                                 for name in _others()),
    ])  # fmt: skip
    table.records.append({"dtype": dtype, **vars(setting), "gflops": speed / 1e9, "peak_gflops": peak / 1e9,
                          "seconds": {name: timing.cpu for name, timing in found.items()}})  # fmt: skip


def _peers(setting: Setting, dtype: torch.dtype) -> dict[str, Callable[[], object]]:
    shapes = ((setting.queries,), (setting.keys,), (setting.keys,))
    q, k, v = (torch.randn(setting.batch, setting.heads, *n, setting.width).to(dtype) for n in shapes)
    for tensor in (q, k, v):
        tensor.requires_grad_(setting.backward)
    window = None if setting.window is None else (setting.window - 1, 0)
    options: dict[str, Any] = {"causal": setting.causal, "window": window, "dropout": setting.dropout}
    upstream = torch.randn_like(q)

    def whole(output: Tensor) -> object:
        return torch.autograd.grad(output, (q, k, v), upstream) if setting.backward else output

    def ours() -> object:
        return whole(regard.attention(q, k, v, backend="native", **options))

    def mapped() -> object:
        return whole(regard.attention(q, k, v, backend="native", need_weights=True, **options)[0])

    def theirs() -> object:
        causal = setting.causal and setting.queries > 1
        return whole(scaled_dot_product_attention(q, k, v, is_causal=causal, dropout_p=setting.dropout))

    def on(isa: str) -> Callable[[], object]:
        def run() -> object:
            _select(isa)
            try:
                return ours()
            finally:
                _select(library_info().isa)

        return run

    def parts() -> object:
        with regard.use_backend("native", fp32="parts"):
            return ours()

    # SDPA has no window: there the peer is FlexAttention, compiled, with a mask of blocks.
    peers = {"ours": ours, "map": mapped, "torch": _flex(setting, q, k, v) if setting.window else theirs}
    others = {isa: on(isa) for isa in _others() if isa != _PARTS}
    if str(dtype).removeprefix("torch.") in library_info().parts and setting.queries > 1:
        others[_PARTS] = parts
    return peers | others


def _flex(setting: Setting, q: Tensor, k: Tensor, v: Tensor) -> Callable[[], object]:
    from torch.nn.attention.flex_attention import create_block_mask, flex_attention

    window = setting.window or setting.keys

    def near(b: Tensor, h: Tensor, i: Tensor, j: Tensor) -> Tensor:
        return (j <= i) & (i - j < window)

    blocks = create_block_mask(near, None, None, setting.queries, setting.keys, device="cpu")
    compiled = torch.compile(flex_attention)

    def call() -> object:
        with torch.no_grad():
            return compiled(q, k, v, block_mask=blocks)

    return call


def _module(table: Table, quick: bool) -> None:
    """Add `nn.MultiheadAttention` in evaluation, weights asked for, beside ours with lazy weights."""
    theirs = torch.nn.MultiheadAttention(512, 8, batch_first=True).eval()
    ours, x = from_torch(theirs), torch.randn(1, 2048, 512)
    with torch.no_grad():
        peers = {"ours": lambda: ours(x, need_weights=True), "torch": lambda: theirs(x, x, x, need_weights=True)}
        found = compare(peers, 0.05 if quick else 0.4)
    seconds = {name: timing.cpu for name, timing in found.items()}
    ratio = f"{seconds['torch'] / seconds['ours']:.2f}"
    what = "MultiHeadAttention(512, 8) + weights"
    unknown = ["-"] * (len(table.columns) - 6)
    table.rows.append(["float32", what, "2048 tokens", "False", f"{seconds['ours'] * 1e3:.3f}", ratio, *unknown])
    table.records.append({"dtype": "float32", "what": what, "queries": 2048, "causal": False, "seconds": seconds})
