"""Settings of the process that other code makes: a core of calls gives the same bits under each of them.

Buffers that compiled code writes to have their own dtype and device; a default of torch's that reached them would end
the process, or turn numbers into others.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import regard
from regard.backends import native
from regard.weights import consumed_at_once

pytestmark = pytest.mark.skipif(not native.available(), reason="the answers of torch's own backends may change bits")


@contextmanager
def _dtype(dtype: torch.dtype) -> Iterator[None]:
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


@contextmanager
def _deterministic() -> Iterator[None]:
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


SETTINGS = {
    "float64": lambda: _dtype(torch.float64),
    "bfloat16": lambda: _dtype(torch.bfloat16),
    "float16": lambda: _dtype(torch.float16),
    "meta": lambda: torch.device("meta"),
    "deterministic": _deterministic,
    "inference": torch.inference_mode,
    "no_grad": torch.no_grad,
    "anomaly": lambda: torch.autograd.detect_anomaly(check_nan=True),
    "one thread": lambda: _threads(1),
    "three threads": lambda: _threads(3),
}


class _Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = regard.layers.EncoderLayer(16, 2, position=regard.layers.Rotary())

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.layer(x)
        return out


def _inputs() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    return {
        "query": normal(2, 4, 70, 16), "key": normal(2, 2, 90, 16), "value": normal(2, 2, 90, 16),
        "bias": normal(1, 4, 70, 90), "relative": normal(4, 159), "tokens": normal(2, 30, 16),
        "half": normal(1, 2, 33, 8).to(torch.bfloat16), "double": normal(1, 2, 33, 8).double(),
    }  # fmt: skip


def _core(given: dict[str, Tensor], model: nn.Module, folder: Path) -> dict[str, Tensor]:
    """Make the calls whose answers must not depend on a setting."""
    found: dict[str, Tensor] = {}
    query, key, value = (given[name] for name in ("query", "key", "value"))
    calls = {
        "plain": {}, "causal": {"causal": True}, "dense": {"bias": given["bias"]},
        "relative": {"bias": regard.biases.RelativeBias(given["relative"])},
        "alibi": {"bias": regard.biases.ALiBi(4), "causal": True},
        "padding": {"mask": regard.masks.padding([90, 40])},
    }  # fmt: skip
    for name, arguments in calls.items():
        for kind in ("weights", "summary"):
            with consumed_at_once(summary=kind == "summary"):
                output, weights = regard.attention(query, key, value, **arguments, need_weights=True)
            answers = {
                "output": output, "lse": weights.lse, "dense": weights.dense(), "entropy": weights.entropy(),
                "received": weights.received(), "pooled": weights.pooled(7), "peaks": weights.pooled(7, "peak"),
                "peak": weights.peak().values, "top": weights.top(3).indices, "share": weights.share(-1),
                "distance": weights.mean_distance(), "profile": weights.distance_profile().mass,
                "seen": weights.visible_keys(), "masked": weights.masked(8), "row": weights[0, 1, 3:5, ::2],
                "valued": weights.value_weighted(normalise=True).entropy(),
            }  # fmt: skip
            found |= {f"{name} {kind} {what}": answer for what, answer in answers.items()}
    for name in ("half", "double"):
        with consumed_at_once(summary=True):
            output, weights = regard.attention(*[given[name]] * 3, causal=True, need_weights=True)
        found |= {f"{name} output": output, f"{name} entropy": weights.entropy()}
    found["linear"] = regard.linear_attention(given["half"].float(), given["half"].float(), given["half"].float())
    found["layer"] = model(given["tokens"])
    with regard.watch(model) as recording:
        model(given["tokens"])
    recording.save(folder / "core.regard")
    loaded = regard.load(folder / "core.regard")
    found |= {
        "watched": recording[0].entropy(),
        "loaded": loaded[0].entropy(),
        "map": loaded[0].pooled(loaded[0].map_cell),
    }
    return found


def _gradients(given: dict[str, Tensor]) -> dict[str, Tensor]:
    found = {}
    for name, bias in (("dense", given["bias"]), ("relative", given["relative"]), ("half", None)):
        names = ("half", "half", "half") if name == "half" else ("query", "key", "value")
        leaves = [given[one].clone().requires_grad_() for one in names]
        arguments = {}
        if bias is not None:
            leaves.append(bias.clone().requires_grad_())
            arguments["bias"] = regard.biases.RelativeBias(leaves[3]) if name == "relative" else leaves[3]
        output, weights = regard.attention(*leaves[:3], **arguments, need_weights=True)
        loss = output.float().square().sum() + weights.entropy().sum()
        found |= {f"{name} {i}": grad for i, grad in enumerate(torch.autograd.grad(loss, leaves))}
    return found


@pytest.mark.filterwarnings("ignore:Anomaly Detection")
@pytest.mark.parametrize("setting", SETTINGS)
def test_a_setting_of_the_process_changes_no_bit(setting: str, tmp_path: Path) -> None:
    """Forward, backward, every question of the weights, summaries, files, layers: the same under each setting."""
    given = _inputs()
    torch.manual_seed(1)
    model = _Model().eval()
    with torch.no_grad():
        expected = _core(given, model, tmp_path)
    gradients = _gradients(given)
    enter: AbstractContextManager[object] = SETTINGS[setting]()
    with enter, torch.no_grad() if setting != "inference" else nullcontext():
        found = _core(given, model, tmp_path)
    assert found.keys() == expected.keys()
    for name, tensor in found.items():
        assert tensor.dtype == expected[name].dtype, name
        assert tensor.device == expected[name].device, name
        assert torch.equal(tensor, expected[name]), name
    if setting in ("inference", "no_grad"):
        return
    enter = SETTINGS[setting]()
    with enter:
        again = _gradients(given)
    for name, tensor in again.items():
        assert torch.equal(tensor, gradients[name]), name
