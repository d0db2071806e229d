"""Which of PyTorch's kernels `fused` takes on a GPU, and what it makes of their results; none needs a GPU."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

import regard
from regard._attention import _prepare
from regard.backends import _gpu_kernels, fused, math
from regard.backends._gpu_kernels import Choice, Device, GpuCall, choose_kernel
from regard.errors import KernelError

HOPPER, AMPERE, ADA, TURING, BLACKWELL = ((9, 0), (8, 0), (8, 9), (7, 5), (10, 0))
CUDNN = 91600


def _chosen(capability: tuple[int, int] = HOPPER, device: dict[str, Any] | None = None, **call: Any) -> Choice:
    given: dict[str, Any] = {
        "dtype": torch.bfloat16, "width": 64, "queries": 1024, "keys": 1024, "masking": "none", "grouped": False,
        "trains": False,
    }  # fmt: skip
    return choose_kernel(Device(capability, **({"cudnn": CUDNN} | (device or {}))), GpuCall(**(given | call)))


@pytest.mark.parametrize(
    ("kernel", "capability", "call"),
    [
        ("cudnn", HOPPER, {}),
        ("cudnn", BLACKWELL, {"masking": "causal", "trains": True, "grouped": True, "width": 128}),
        ("flash", AMPERE, {"masking": "causal", "trains": True}),
        ("flash", HOPPER, {"width": 192}),
        ("flash", HOPPER, {"width": 60}),
        ("flash", HOPPER, {"keys": 1}),
        ("flash", (12, 0), {}),
        ("efficient", HOPPER, {"dtype": torch.float32}),
        ("efficient", AMPERE, {"masking": "added"}),
        ("efficient", TURING, {"dtype": torch.float16}),
        ("efficient", ADA, {"width": 200, "trains": True}),
        ("flash", ADA, {"width": 200}),
        ("flash", HOPPER, {"width": 200, "trains": True}),
        (None, TURING, {}),
        (None, HOPPER, {"dtype": torch.float64}),
        (None, HOPPER, {"width": 300}),
        (None, HOPPER, {"masking": "added", "grouped": True}),
        (None, (13, 0), {}),
    ],
    ids=str,
)
def test_table(kernel: str | None, capability: tuple[int, int], call: dict[str, Any]) -> None:
    """The first row that takes a call; where none does, the reason names each kernel."""
    found = _chosen(capability, **call)
    assert found.kernel == kernel
    names = [*_gpu_kernels.NAMES.values()] if kernel is None else [_gpu_kernels.NAMES[kernel]]  # type: ignore[index]
    assert all(name in found.why for name in names)


def test_what_is_switched_off_is_not_taken() -> None:
    """`torch.nn.attention.sdpa_kernel` and deterministic algorithms are obeyed."""
    assert _chosen(device={"allowed": frozenset({"flash", "efficient"})}).kernel == "flash"
    assert "switched off" in _chosen(device={"allowed": frozenset()}).why
    assert _chosen(device={"deterministic": True}, trains=True).kernel == "flash"
    assert _chosen(device={"deterministic": True}).kernel == "cudnn"
    assert _chosen(device={"deterministic": True}, trains=True, dtype=torch.float32).kernel is None


def test_cudnn_that_was_wrong_is_not_taken() -> None:
    """Before 9.15.1 only lengths that are a multiple of 128; without it, the next one."""
    assert _chosen(device={"cudnn": 91400}, keys=1000).kernel == "flash"
    assert _chosen(device={"cudnn": 91400}).kernel == "cudnn"
    assert _chosen(device={"cudnn": 0}).kernel == "flash"
    assert _chosen(keys=1000).kernel == "cudnn"


@pytest.fixture
def _on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Take this CPU for a GPU of Hopper, with kernels that have the signatures and the shapes of those there."""
    library = torch.library.Library("aten", "IMPL")

    def attend(x: tuple[Tensor, Tensor, Tensor], mask: Tensor | None, causal: bool, scale: float) -> tuple[Any, Any]:
        query, key, value = x
        assert all(place % 8 == 0 for tensor in x for place in (tensor.shape[3], tensor.storage_offset()))
        found = math.Math().run(_prepare(query, key, value, False, {"causal": causal, "bias": mask, "scale": scale})[0])
        return found.output, found.lse

    def cudnn(q: Any, k: Any, v: Any, mask: Any, lse: bool, p: float = 0, causal: bool = False,
              debug: bool = False, *, scale: float | None = None) -> tuple[Any, ...]:  # fmt: skip
        output, sums = attend((q, k, v), mask, causal, scale or 1.0)
        nothing = torch.zeros(0)
        return output, sums[..., None], nothing, nothing, 0, 0, nothing, nothing, nothing

    def flash(q: Any, k: Any, v: Any, p: float = 0, causal: bool = False, debug: bool = False,
              *, scale: float | None = None) -> tuple[Any, ...]:  # fmt: skip
        output, sums = attend((q, k, v), None, causal, scale or 1.0)
        nothing = torch.zeros(0)
        return output, sums, nothing, nothing, 0, 0, nothing, nothing, nothing

    def efficient(q: Any, k: Any, v: Any, mask: Any, lse: bool, p: float = 0, causal: bool = False,
                  *, scale: float | None = None) -> tuple[Any, ...]:  # fmt: skip
        assert mask is None or (mask.stride(2) * mask.element_size() % 16 == 0 and mask.shape[:2] == q.shape[:2])
        output, sums = attend((q, k, v), mask, causal, scale or 1.0)
        padded = torch.nn.functional.pad(sums, (0, -sums.shape[2] % 32), value=torch.nan)
        return output, padded, torch.zeros(()), torch.zeros(())

    for name, function in (("cudnn", cudnn), ("flash", flash), ("efficient", efficient)):
        library.impl(f"_scaled_dot_product_{name}_attention", function, "CPU")
    monkeypatch.setattr(fused, "device_of", lambda device: Device(HOPPER, CUDNN))
    yield
    library._destroy()


@pytest.mark.usefixtures("_on_a_gpu")
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize("width", [64, 20])
@pytest.mark.parametrize(
    "arguments",
    [{}, {"causal": True}, {"window": (3, 1)}, {"bias": torch.randn(37, 37)}, {"mask": torch.rand(37, 37) > 0.6}],
    ids=lambda arguments: "-".join(arguments) or "plain",
)
@pytest.mark.parametrize("poison", [False, True])
def test_results_of_each_kernel(arguments: dict[str, Any], width: int, dtype: torch.dtype, poison: bool) -> None:
    """Output and lse are those of `math`, whatever form the kernel gives them in, for odd sizes and a hidden NaN."""
    q, k, v = (torch.randn(2, 2, 37, width + 3, dtype=dtype)[..., 3:] for _ in range(3))
    given = {name: value.to(dtype) if name == "bias" else value for name, value in arguments.items()}
    inputs = _prepare(q, k, v, False, given)[0]
    if poison:
        inputs.value[0, 0, 30] = torch.nan
    found, expected = fused._unseen(inputs), math.Math().run(inputs)
    assert found.output.shape == expected.output.shape
    torch.testing.assert_close(found.output, expected.output, equal_nan=True)
    assert found.lse is not None
    assert expected.lse is not None
    known = ~found.lse.isnan()  # a NaN among the values makes its rows NaN, in lse too
    torch.testing.assert_close(found.lse[known], expected.lse[known])
    assert bool(known.all()) or poison


@pytest.mark.usefixtures("_on_a_gpu")
def test_explain_names_the_kernel_and_why() -> None:
    """`explain` says which kernel of a GPU it is, why, and why none takes a call."""
    q = torch.randn(1, 2, 40, 64, dtype=torch.bfloat16)
    with regard.use_backend("fused"):
        assert "runs this call by cuDNN, about twice as fast" in repr(regard.explain(q, q, q))
        assert "by memory-efficient attention, the one" in repr(regard.explain(q, q, q, window=(3, 0)))
    wide = torch.randn(1, 2, 40, 300, dtype=torch.bfloat16)
    reason = dict(regard.explain(wide, wide, wide).rows)["fused"]
    assert reason is not None
    assert "cuDNN takes heads up to 128 wide, not 300; FlashAttention-2 takes" in reason


def test_a_failure_of_the_kernel_reaches_the_caller() -> None:
    """The chosen kernel's own words, and no second kernel behind it."""
    q = torch.randn(1, 2, 40, 64, dtype=torch.bfloat16)  # which no kernel of a GPU takes on the CPU
    with pytest.raises(KernelError, match=r"cuDNN failed in a call of .*_scaled_dot_product_cudnn_attention"):
        _gpu_kernels.run_kernel("cudnn", q, q, q, None, False, 1.0)
