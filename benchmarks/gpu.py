"""A GPU, whole: conformance first, then memory and speed beside PyTorch's kernels by name. Ends within eight minutes.

`python -m benchmarks gpu` writes gpu.json and gpu.png. Each peer is one call, timed by the device's own clock, in turns
with the others. What there was no time for, and what failed, stands in the JSON file. `--dry-run` goes the same way on
a CPU, in Triton's interpreter, with calls so small that each line runs within seconds: its figures mean nothing.
"""

from __future__ import annotations

import functools
import importlib.util
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention

import regard
from regard.weights import summarise

from .measure import Table

NAME = "gpu"
_BUDGET, _CONFORMANCE = 460.0, 150.0
"""Seconds of the whole, and of the tests at most."""
_TESTS = ("tests/conformance/test_table.py", "tests/triton/test_inspection.py")
_TORCH = {"cuDNN": SDPBackend.CUDNN_ATTENTION, "FA2": SDPBackend.FLASH_ATTENTION}
# "default" is what a call takes that names no backend.
_OURS = ("default", "triton", "map")
_LOOKS: dict[str, Callable[[regard.AttentionWeights], object]] = {
    "entropy": lambda w: w.entropy(), "received": lambda w: w.received(), "peak": lambda w: w.peak(),
    "top 8": lambda w: w.top(8), "pooled 64": lambda w: w.pooled(64), "peak of cells": lambda w: w.pooled(64, "peak"),
    "tile": lambda w: w[..., :64, :], "max_scores": lambda w: w.max_scores(), "summary": summarise,
}  # fmt: skip


@dataclass(frozen=True)
class Call:
    """One call: 16,384 tokens in all, 2,048 features."""

    what: str
    width: int = 128
    queries: int = 4096
    keys: int = 4096
    causal: bool = False
    window: int | None = None
    tokens: int = 16384
    features: int = 2048

    def tensors(self, device: str) -> tuple[Tensor, Tensor, Tensor]:
        """Return query, key and value in bfloat16."""
        batch, heads = max(1, self.tokens // self.keys), max(1, self.features // self.width)
        kind: dict[str, Any] = {"device": device, "dtype": torch.bfloat16}
        return tuple(torch.randn(batch, heads, n, self.width, **kind) for n in (self.queries, self.keys, self.keys))  # type: ignore[return-value]

    def work(self) -> float:
        """Floating-point operations of the forward pass, of what is seen."""
        pairs = self.queries * (min(self.window, self.keys) if self.window else self.keys)
        seen = 0.5 if self.causal and self.window is None else 1.0
        return 4.0 * max(1, self.tokens // self.keys) * self.features * pairs * seen


@dataclass
class Session:
    """One run: where, until when, and what was found."""

    device: str
    dry: bool
    until: float
    records: list[dict[str, Any]] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)

    def has_time(self, what: str, seconds: float = 4.0) -> bool:
        """Return whether a part may begin; note it if not."""
        if time.perf_counter() + seconds < self.until:
            return True
        self.left_out.append(what)
        return False

    def time(self, peers: dict[str, Callable[[], object]]) -> dict[str, float | str]:
        """Return milliseconds of each peer, the median of turns taken by all; or why it does not run."""
        found: dict[str, float | str] = {}
        able = {}
        for name, call in peers.items():
            try:
                call()
                able[name] = call
            except _failures() as error:  # not for this machine or PyTorch
                found[name] = f"{type(error).__name__}: {error}".splitlines()[0][:200]
        turns: dict[str, list[float]] = {name: [] for name in able}
        for _ in range(2 if self.dry else 7):
            for name, call in able.items():
                turns[name].append(self._once(call, 1 if self.dry else 5))
        return found | {name: statistics.median(times) for name, times in turns.items()}

    def _once(self, call: Callable[[], object], times: int) -> float:
        if self.device == "cpu":
            began = time.perf_counter()
            for _ in range(times):
                call()
            return (time.perf_counter() - began) * 1e3 / times
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        for _ in range(times):
            call()
        end.record()
        end.synchronize()
        return begin.elapsed_time(end) / times

    def memory(self, call: Callable[[], object]) -> float:
        """Return the most memory that a call takes beside what is there, in MiB."""
        if self.device == "cpu":
            call()
            return 0.0
        call()
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        kept = call()
        peak = torch.cuda.max_memory_allocated() - before
        del kept
        return peak / 2**20


def _failures() -> tuple[type[Exception], ...]:
    own = (RuntimeError, regard.errors.RegardError)
    if importlib.util.find_spec("triton") is None:
        return own
    from triton.errors import TritonError

    return (*own, TritonError)


def run(quick: bool, dry: bool = False) -> Table:
    """Return milliseconds of each peer. Raises `SystemExit`, in one sentence, where there is no GPU."""
    if not dry and not torch.cuda.is_available():
        raise SystemExit(
            "python -m benchmarks gpu measures a GPU, and PyTorch finds none here; --dry-run tries its every step on "
            "the CPU."
        )
    if dry:
        os.environ["TRITON_INTERPRET"] = "1"
    began = time.perf_counter()
    session = Session("cpu" if dry else "cuda", dry, began + _BUDGET * (0.5 if quick else 1.0))
    table = Table(
        f"Attention on {_name(session)}, bfloat16, milliseconds", ["call", "D", "L", "causal", "pass", "times"]
    )
    session.records.append({"what": "machine", **_machine(session)})
    session.records.append({"what": "conformance", **_conformance(session)})
    parts = (_forward_and_backward, _looks, _decode, _window, _memory, _watched)
    for part in parts:
        for record in part(session):
            session.records.append(record)
            times = ", ".join(f"{k} {v:.3g}" if isinstance(v, float) else f"{k} -" for k, v in record["times"].items())
            place = (str(record.get(name, "")) for name in ("width", "keys", "causal", "pass"))
            table.rows.append([record["what"], *place, times])
            print(record["what"], *record.values(), flush=True)
    session.records.append({"what": "left out", "parts": session.left_out, "seconds": time.perf_counter() - began})
    table.records = session.records
    return table


def _name(session: Session) -> str:
    return "the CPU, interpreted" if session.dry else torch.cuda.get_device_name()


def _machine(session: Session) -> dict[str, Any]:
    from regard.backends.triton import version

    found: dict[str, Any] = {"gpu": _name(session), "torch": torch.__version__, "triton": version()}
    if not session.dry:
        found |= {"capability": torch.cuda.get_device_capability(), "cudnn": torch.backends.cudnn.version()}
    return found


def _conformance(session: Session) -> dict[str, Any]:
    """Run the table of cases and inspection on the device, before anything is timed."""
    few = ("-k", "square-fused or widths") if session.dry else ("-k", "fused or triton or inspection")
    words = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *_TESTS, *few]
    if not session.dry and importlib.util.find_spec("xdist"):  # kernels compile on the host's cores
        words += ["-n", "8"]
    environment = {name: value for name, value in os.environ.items() if session.dry or name != "TRITON_INTERPRET"}
    try:
        done = subprocess.run(
            [*words, "--device", session.device], capture_output=True, text=True, timeout=_CONFORMANCE, check=False,
            env=environment,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        said = error.stdout or b""
        return {"passed": None, "said": (said.decode() if isinstance(said, bytes) else said)[-500:]}
    if done.returncode:
        print(f"CONFORMANCE FAILED; the times below are of kernels that are wrong.\n{done.stdout[-3000:]}", flush=True)
    return {"passed": done.returncode == 0, "said": done.stdout[-500:]}


def _calls(session: Session) -> Iterator[Call]:
    if session.dry:
        yield Call("attention", 16, 32, 32, causal=True, tokens=32, features=16)
        return
    for width in (128, 64):
        for length in (16384, 4096, 1024, 512, 2048, 8192):
            for causal in (False, True):
                yield Call("attention", width, length, length, causal)


def _forward_and_backward(session: Session) -> Iterator[dict[str, Any]]:
    for call in _calls(session):
        for backward in (False, True):
            if not session.has_time(f"{call} backward={backward}", 120.0):  # what is left is for the other parts
                continue
            peers = _peers(session, call, backward)
            times = session.time(peers)
            work = call.work() * (3.5 if backward else 1.0)
            speeds = {name: work / (ms * 1e9) for name, ms in times.items() if isinstance(ms, float) and ms}
            yield {
                **vars(call),
                "pass": "forward+backward" if backward else "forward",
                "times": times,
                "tflops": speeds,
            }


def _peers(session: Session, call: Call, backward: bool) -> dict[str, Callable[[], object]]:
    tensors = tuple(tensor.requires_grad_(backward) for tensor in call.tensors(session.device))
    upstream = torch.randn_like(tensors[0])

    def whole(output: Tensor) -> object:
        return torch.autograd.grad(output, tensors, upstream) if backward else output

    def theirs(backend: SDPBackend) -> Callable[[], object]:
        def run_it() -> object:
            with sdpa_kernel(backend):
                return whole(scaled_dot_product_attention(*tensors, is_causal=call.causal))

        return run_it

    def ours(name: str) -> Callable[[], object]:
        options: dict[str, Any] = {
            "causal": call.causal,
            "window": None if call.window is None else (call.window - 1, 0),
        }
        if name != "default":
            options["backend"] = "triton"
        if name == "map":
            return lambda: whole(regard.attention(*tensors, need_weights=True, **options)[0])
        return lambda: whole(regard.attention(*tensors, **options))

    peers = {name: theirs(backend) for name, backend in _TORCH.items()}
    if session.dry or call.keys in _FLEX_LENGTHS:
        peers["Flex"] = lambda: whole(_flex(session, call)(*tensors))
    return peers | {name: ours(name) for name in _OURS}


# It is compiled for each length anew, which takes a quarter of a minute.
_FLEX_LENGTHS = (4096, 16384)
_FLEX: dict[Any, Callable[..., Tensor]] = {}


def _flex(session: Session, call: Call) -> Callable[..., Tensor]:
    """Return FlexAttention, compiled, with blocks for a causal or a windowed mask."""
    from torch.nn.attention.flex_attention import create_block_mask, flex_attention

    window = call.window or call.keys

    def near(b: Tensor, h: Tensor, i: Tensor, j: Tensor) -> Tensor:
        return (j <= i) & (i - j < window)

    key = call.queries, call.keys, call.causal, call.window
    if key not in _FLEX:
        mask = (
            create_block_mask(near, None, None, call.queries, call.keys, device=session.device) if call.causal else None
        )
        compiled = flex_attention if session.dry else torch.compile(flex_attention, dynamic=False)

        def attend(*tensors: Tensor) -> Tensor:
            found: Tensor = compiled(*tensors, block_mask=mask)
            return found

        _FLEX[key] = attend
    return _FLEX[key]


def _looks(session: Session) -> Iterator[dict[str, Any]]:
    """Each look beside the forward pass: at most half of it is the aim."""
    lengths = (32,) if session.dry else (4096, 16384)
    for length in lengths:
        call = Call("looks", 16 if session.dry else 128, length, length, True, tokens=length)
        if session.dry:
            call = replace(call, features=16)
        if not session.has_time(str(call)):
            continue
        tensors = call.tensors(session.device)
        backend = "triton" if session.dry else None
        forward = functools.partial(regard.attention, *tensors, causal=True, backend=backend)
        weights = forward(need_weights=True)[1]
        peers = {"forward": forward} | {name: functools.partial(look, weights) for name, look in _LOOKS.items()}
        yield {**vars(call), "pass": "inspection", "times": session.time(peers)}


def _decode(session: Session) -> Iterator[dict[str, Any]]:
    for keys in (64,) if session.dry else (4096, 32768, 131072):
        call = Call("decode", 16 if session.dry else 128, 1, keys, tokens=keys * (1 if session.dry else 4))
        call = replace(call, features=16) if session.dry else call
        if session.has_time(str(call)):
            peers = _peers(session, call, backward=False)
            yield {
                **vars(call),
                "pass": "forward",
                "times": session.time({k: v for k, v in peers.items() if k != "Flex"}),
            }


def _window(session: Session) -> Iterator[dict[str, Any]]:
    length = 64 if session.dry else 16384
    call = Call("window", 16 if session.dry else 128, length, length, True, 16 if session.dry else 256, tokens=length)
    call = replace(call, features=16) if session.dry else call
    if session.has_time(str(call), 15.0):
        peers = _peers(session, call, backward=False)
        dense = _peers(session, replace(call, window=None), backward=False)
        chosen = {name: peers[name] for name in ("Flex", *_OURS)} | {"dense causal, cuDNN": dense["cuDNN"]}
        yield {**vars(call), "pass": "forward", "times": session.time(chosen)}


def _memory(session: Session) -> Iterator[dict[str, Any]]:
    """Memory beyond the inputs in MiB: O(n), with weights and with a look."""
    length = 32 if session.dry else 16384
    call = Call("memory", 16 if session.dry else 128, length, length, True, tokens=length)
    call = replace(call, features=16) if session.dry else call
    if not session.has_time(str(call)):
        return
    tensors, backend = call.tensors(session.device), "triton" if session.dry else None

    def ask(look: Callable[[regard.AttentionWeights], object] | None) -> Callable[[], object]:
        def run_it() -> object:
            output, weights = regard.attention(*tensors, causal=True, need_weights=True, backend=backend)
            return output, None if look is None else look(weights)

        return run_it

    calls = {"weights": ask(None), "summary": ask(summarise), "entropy": ask(lambda w: w.entropy())}
    yield {**vars(call), "pass": "MiB", "times": {name: session.memory(one) for name, one in calls.items()}}


class _Encoder(nn.Module):
    """The attention and the layers of an encoder as large as BERT-base."""

    def __init__(self, width: int, heads: int, depth: int) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(width, heads, 4 * width, batch_first=True, dropout=0.0)
        self.layers = nn.TransformerEncoder(layer, depth, enable_nested_tensor=False)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.layers(x)
        return found


def _watched(session: Session) -> Iterator[dict[str, Any]]:
    """A model of BERT-base's size, watched and not."""
    width, heads, depth, length = (32, 2, 1, 16) if session.dry else (768, 12, 12, 512)
    if not session.has_time("watched", 10.0):
        return
    model = _Encoder(width, heads, depth).to(session.device, torch.bfloat16).eval()
    x = torch.randn(1 if session.dry else 16, length, width, device=session.device, dtype=torch.bfloat16)

    def plain() -> None:
        with torch.no_grad():
            model(x)

    def watched() -> None:
        with torch.no_grad(), regard.watch(model):
            model(x)

    times = session.time({"unwatched": plain, "watched": watched})
    yield {"what": "watched encoder", "width": width, "keys": length, "pass": "forward", "times": times}
