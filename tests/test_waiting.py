"""No call makes the host wait for the device, on a device that refuses to be waited for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

import regard
from regard import biases, layers, masks
from regard.backends import _gpu_kernels, fused
from regard.backends._gpu_kernels import Device
from regard.backends.triton import Triton, _backend
from regard.linear import LinearState, linear_attention
from regard.positions import rotary, rotate
from regard.weights import summarise
from tests.interpreted import MISSING

from .waiting import DEVICE, WaitsError, no_waiting


@pytest.fixture(autouse=True)
def _a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the device for a GPU of Hopper; its kernels are not run."""
    for module in (fused, _gpu_kernels):
        monkeypatch.setattr(module, "device_of", lambda device: Device((9, 0), 91600))
    monkeypatch.setattr(fused.Fused, "honours", fused.Fused.honours | {DEVICE})


def _random(*shape: int, dtype: torch.dtype = torch.bfloat16) -> Tensor:
    return torch.randn(*shape, device=DEVICE, dtype=dtype, requires_grad=True)


CALLS: dict[str, Callable[[], dict[str, Any]]] = {
    "plain": dict,
    "causal": lambda: {"causal": True},
    "window": lambda: {"causal": True, "window": (3, 0)},
    "padding": lambda: {"mask": masks.padding([5, 12])},
    "padding on the device": lambda: {"mask": masks.padding(torch.ones(2, device=DEVICE, dtype=torch.long))},
    "documents": lambda: {"mask": masks.documents([10, 30]), "causal": True},
    "prefix": lambda: {"mask": masks.prefix([3, 5])},
    "dense mask": lambda: {"mask": torch.ones(40, 40, dtype=torch.bool, device=DEVICE)},
    "dense bias": lambda: {"bias": torch.ones(40, 40, dtype=torch.bfloat16, device=DEVICE)},
    "sinks": lambda: {"sinks": torch.ones(4, device=DEVICE), "causal": True},
    "position bias": lambda: {"bias": biases.ALiBi(4)},
    "softcap": lambda: {"softcap": 2.0},
    "dropout": lambda: {"dropout": 0.2},
}
BEYOND_FUSED = {"position bias", "softcap", "dropout"}


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("backend", ["fused", "math"])
def test_attention(backend: str, name: str) -> None:
    """Forward, backward, and the weights of the call, which compute nothing yet."""
    arguments, q = CALLS[name](), _random(2, 4, 40, 64)
    if backend == "fused" and name in BEYOND_FUSED:
        return
    with no_waiting():
        regard.attention(q, q, q, backend=backend, **arguments).sum().backward()
        output, weights = regard.attention(q, q, q, backend=backend, need_weights=True, **arguments)
        (output.float().sum() + weights.lse.sum()).backward()
    assert weights.shape == (2, 4, 40, 40)


def test_the_mode_refuses() -> None:
    """What reads a number, or copies and waits, is an error there."""
    x = torch.ones(3, device=DEVICE)
    for act in (lambda: bool(x.sum()), lambda: x.cpu(), lambda: torch.ones(3).to(DEVICE), lambda: x.nonzero()):
        with no_waiting(), pytest.raises((WaitsError, NotImplementedError)):
            act()


@pytest.mark.parametrize("feature_map", ["elu", "relu", "softmax", nn.ReLU()], ids=str)
@pytest.mark.parametrize("name", ["plain", "causal", "padding"])
def test_linear_attention(name: str, feature_map: Any) -> None:
    """With a mask made of numbers that the host holds, and a map of one's own."""
    q = _random(2, 4, 40, 16, dtype=torch.float32)
    with no_waiting():
        given: dict[str, Any] = {"feature_map": feature_map, **CALLS[name]()}
        output, weights = linear_attention(q, q, q, need_weights=True, chunk_size=16, **given)
        output.sum().backward()
        LinearState(feature_map).update(q, q).read(q)
    assert weights.shape == (2, 4, 40, 40)


def _layer(module: nn.Module, *inputs: int, **arguments: Any) -> Callable[[], Tensor]:
    module, given = module.to(DEVICE), [_random(2, length, 32, dtype=torch.float32) for length in inputs]
    return lambda: module(*given, **arguments)


LAYERS: dict[str, Callable[[], Callable[[], Tensor]]] = {
    "attention": lambda: _layer(layers.MultiHeadAttention(32, 4, dropout=0.1), 40, causal=True),
    "rotary": lambda: _layer(layers.MultiHeadAttention(32, 4, position=layers.Rotary(8)), 40, causal=True),
    "encoder": lambda: _layer(layers.Encoder(layers.EncoderLayer(32, 4), 2), 40, mask=masks.padding([30, 40])),
    "decoder": lambda: _layer(layers.Decoder(layers.DecoderLayer(32, 4), 2), 40, 30),
    "sinusoidal": lambda: _layer(layers.SinusoidalEncoding(32), 40),
}


@pytest.mark.parametrize("name", LAYERS)
def test_layers(name: str) -> None:
    """Layers forward and backward, positions turned by angles that are made on the device."""
    run = LAYERS[name]()
    with no_waiting():
        run().sum().backward()
        places = torch.arange(40, device=DEVICE)
        rotate(_random(2, 4, 40, 16), *rotary(places, 16), interleaved=True)


class _Model(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return scaled_dot_product_attention(x, x, x, is_causal=True) + regard.attention(x, x, x)


def test_watch_and_each_look(monkeypatch: pytest.MonkeyPatch) -> None:
    """A watched pass takes its summaries, and lazy weights answer, by kernels that are started and not waited for.

    That what lazy weights read was not changed is checked before, and waited for; this device has no numbers to check.
    """
    if MISSING:
        pytest.skip("Triton has no wheels for this system")
    from regard.backends.triton import _inspection

    started: list[str] = []
    monkeypatch.setattr(_inspection, "launch", lambda kernel, *given, **sizes: started.append(kernel.fn.__name__))
    monkeypatch.setattr(Triton, "honours", Triton.honours | {DEVICE})
    monkeypatch.setattr(_backend, "problem", lambda device: None)
    monkeypatch.setattr(_backend, "interpreted", lambda: False)
    for room in ("_ours", "_scaled_dot_product", "_doors", "_returned"):
        monkeypatch.setattr(f"regard.doors.{room}.untouched", lambda tensors: None)
    x, model = _random(1, 4, 40, 64).detach(), _Model()
    with regard.watch(model) as recording, no_waiting():
        model(x)
    assert len(recording.calls) == 2
    assert started == ["norms", "summary"] * 2
    weights = regard.attention(x, x, x, causal=True, need_weights=True)[1]
    started.clear()
    with no_waiting():
        weights.entropy(), weights.received(), weights.peak(), weights.top(3), weights.pooled(8), weights[0, 1, 3:5]
        weights.pooled(8, "peak"), weights.max_scores()
        summarise(weights)
    looks = ["entropy", "received", "top", "top", "cells", "tile", "cells", "top", "summary"]
    assert started == [kernel for look in looks for kernel in ("norms", look)]
