"""Our call gives what torch's own attention gives, on the samples that torch tests itself with."""

import os
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch.testing._internal.common_methods_invocations import op_db

import regard
from regard import masks
from regard.backends import backend_names
from tests.interpreted import sampled

DTYPES = [torch.float64, torch.float32, torch.bfloat16, torch.float16]
SAMPLES = 25
# Against float64, our error may be twice that of torch's own computation in the same precision, or of the naive one,
# and this much more.
MARGIN = {torch.float64: 1e-12, torch.float32: 5e-6, torch.bfloat16: 0.0, torch.float16: 0.0}

# Triton's interpreter cuts what its compiler rounds to bfloat16: the weights and the output.
CUT = 0.0 if os.environ.get("TRITON_INTERPRET") != "1" else 2.0**-8


def error(found: torch.Tensor, exact: torch.Tensor) -> float:
    """Return the relative error, NaN if there is one."""
    return float((found.double() - exact).norm() / exact.norm())


def naive(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, weights: dict[str, Any]) -> torch.Tensor:
    """Attention with weights rounded to the dtype: torch rounds them on some processors and not on others."""
    exact = torch.eye(key.shape[-2]).expand(*key.shape[:-1], key.shape[-2])
    given = F.scaled_dot_product_attention(query.float(), key.float(), exact, **weights)
    return (given.to(query.dtype).float() @ value.float()).to(query.dtype)


def samples(dtype: torch.dtype, requires_grad: bool = False) -> list[tuple[tuple[torch.Tensor, ...], dict[str, Any]]]:
    """Return torch's samples as tensors of one rank and the keywords of `scaled_dot_product_attention`."""
    (info,) = (op for op in op_db if op.name == "nn.functional.scaled_dot_product_attention")
    found = []
    for sample in info.sample_inputs("cpu", dtype, requires_grad=requires_grad):
        rank = max(x.ndim for x in (sample.input, *sample.args))
        lead = torch.broadcast_shapes(*(x.shape[:-2] for x in (sample.input, *sample.args)))
        tensors = tuple(x.expand(*lead[: rank - 2], *x.shape[-2:]) for x in (sample.input, *sample.args))
        found.append((tensors, dict(sample.kwargs)))
    return found


def ours(keywords: dict[str, Any]) -> dict[str, Any]:
    """Say in our words what the keywords of `scaled_dot_product_attention` say."""
    said: dict[str, Any] = {"scale": keywords.get("scale")}
    mask = keywords.get("attn_mask")
    if keywords.get("is_causal"):
        said["mask"] = masks.causal(offset=0)  # torch aligns top-left
    elif mask is not None:
        said["mask" if mask.dtype == torch.bool else "bias"] = mask
    return said


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_samples_of_torch(dtype: torch.dtype, record_property: Callable[[str, object], None]) -> None:
    """Every sample, dropout left out (its random numbers differ), on every backend that accepts it."""
    found = samples(dtype)
    ran = dict.fromkeys(backend_names(), 0)
    for tensors, keywords in found:
        keywords.pop("dropout_p", None)
        exact_keywords = {
            n: x.double() if isinstance(x, torch.Tensor) and x.is_floating_point() else x for n, x in keywords.items()
        }
        exact = F.scaled_dot_product_attention(*(x.double() for x in tensors), **exact_keywords)
        bars = [F.scaled_dot_product_attention(*tensors, **keywords)]
        if dtype.itemsize == 2:
            floats = {
                n: x.float() if isinstance(x, torch.Tensor) and x.dtype == dtype else x for n, x in keywords.items()
            }
            bars.append(naive(*tensors, floats))
        allowed = 2 * max(error(bar, exact) for bar in bars) + MARGIN[dtype]
        assert error(regard.attention(*tensors, **ours(keywords)), exact) <= allowed
        for backend in backend_names():
            if not sampled(backend, f"{dtype} {len(ran)} {ran['math']}", 4):
                continue
            try:
                output = regard.attention(*tensors, **ours(keywords), backend=backend)
            except regard.errors.BackendError:
                continue
            ran[backend] += 1
            assert error(output, exact) <= allowed + (CUT if backend == "triton" and dtype == torch.bfloat16 else 0)
    record_property(f"torch OpInfo {dtype}", f"{len(found)} samples agree; per backend {ran}")
    assert len(found) >= SAMPLES
    assert ran["math"] == ran["reference"] == len(found)


def test_gradients_of_samples_of_torch() -> None:
    """The gradients of query, key and value agree with torch's in float64."""
    for tensors, keywords in samples(torch.float64, requires_grad=True):
        keywords.pop("dropout_p", None)
        leaves = [x.detach().clone().requires_grad_() for x in tensors]
        expected = torch.autograd.grad(F.scaled_dot_product_attention(*leaves, **keywords).square().sum(), leaves)
        found = torch.autograd.grad(regard.attention(*leaves, **ours(keywords)).square().sum(), leaves)
        torch.testing.assert_close(found, expected)


def test_dropout_samples_of_torch() -> None:
    """The samples with dropout: our output is torch's softmax, with the weights dropped that the seed says."""
    dropped = 0
    for tensors, keywords in samples(torch.float64):
        dropout = keywords.pop("dropout_p", 0.0)
        if not dropout:
            continue
        generator, twin = (torch.Generator().manual_seed(3) for _ in range(2))
        output = regard.attention(*tensors, **ours(keywords), dropout=dropout, generator=generator)
        seed = int(torch.randint(2**63 - 1, (), generator=twin))
        query, key, value = tensors
        # With the unit matrix as values, torch's output is its weights.
        eye = torch.eye(key.shape[-2], dtype=query.dtype).expand(*key.shape[:-1], -1)
        weights = F.scaled_dot_product_attention(query, key, eye, **keywords)
        kept = torch.from_numpy(regard.reference.keep(seed, tuple(weights.shape), dropout))
        torch.testing.assert_close(output, torch.where(kept, weights / (1 - dropout), 0.0) @ value)
        dropped += int((~kept).sum())
    assert dropped > 100
