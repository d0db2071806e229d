"""The fused backend: torch's own bits, and what is put right around them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

import regard
from regard import biases, masks
from regard._attention import _prepare
from regard._inputs import AttentionInputs
from regard.backends import fused, math
from tests.interpreted import MISSING


def _inputs(length: int = 20, **arguments: Any) -> AttentionInputs:
    q, k, v = (torch.randn(2, 2, length, 8) for _ in range(3))
    return _prepare(q, k, v, False, arguments)[0]


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_same_bits_as_torch(causal: bool, dtype: torch.dtype) -> None:
    """A call that torch serves as we mean it gives torch's bits."""
    q, k, v = (torch.randn(1, 2, 40, 16, dtype=dtype) for _ in range(3))
    ours = regard.attention(q, k, v, causal=causal, backend="fused")
    assert torch.equal(ours, scaled_dot_product_attention(q, k, v, is_causal=causal))


def test_causal_needs_no_mask() -> None:
    """Square causal calls are known as such; a window or fewer queries are not."""
    assert _inputs(causal=True).causal
    assert _inputs(mask=masks.causal(offset=0)).causal
    assert not _inputs(causal=True, window=(3, 0)).causal
    assert not masks.causal().is_causal(3, 4)
    assert not masks.causal(offset=1).is_causal(4, 4)


def test_large_mask_is_refused() -> None:
    """A mask of more than 64 MiB is left to the backends that work from spans; plain causal needs none."""
    query = torch.randn(1, 1, 5000, 2)
    rows = dict(regard.explain(query, query, query, window=(64, 0)).rows)
    assert rows["fused"] is not None
    assert "mask of 95 MiB" in rows["fused"]
    assert dict(regard.explain(query, query, query, causal=True).rows)["fused"] is None


@pytest.mark.parametrize(
    "arguments",
    [
        {"causal": True},
        {"window": (3, 1)},
        {"mask": masks.padding([0, 13])},
        {"mask": torch.arange(20) % 3 > 0},
        {"bias": biases.ALiBi(2)},
        {"causal": True, "bias": torch.randn(20, 20).masked_fill(torch.rand(20, 20) < 0.3, -torch.inf)},
        {},
    ],
    ids=lambda arguments: "-".join(arguments) or "plain",
)
@pytest.mark.parametrize("poison", [None, "key", "value", "query"])
def test_without_looking(arguments: dict[str, Any], poison: str | None) -> None:
    """The form for graphs and accelerators, which reads no number, agrees with `math`: NaN in the same rows."""
    inputs = _inputs(length=20 if arguments else 12, **arguments)
    if poison is not None:
        getattr(inputs, poison)[1, 0, 7] = torch.nan
    found, expected = fused._unseen(inputs), math.Math().run(inputs)
    torch.testing.assert_close(found.output, expected.output, equal_nan=True)
    rows = expected.lse.isfinite() | expected.lse.isinf()
    torch.testing.assert_close(found.lse[rows & ~found.lse.isnan()], expected.lse[rows & ~found.lse.isnan()])
    assert not (found.lse.isnan() & ~expected.output.isnan().any(-1)).any()


def test_nan_is_computed_by_math() -> None:
    """A call whose result is not finite has the bits of `math`."""
    inputs = _inputs(causal=True)
    inputs.value[0, 0, 19] = torch.nan
    output, expected = fused.Fused().run(inputs).output, math.Math().run(inputs).output
    assert torch.equal(output.nan_to_num(9.0), expected.nan_to_num(9.0))
    assert not output[0, 0, :19].isnan().any()


def test_float32_bias_in_half_precision() -> None:
    """A float32 bias is added in float32, not rounded to the query's dtype."""
    q, k, v = (torch.randn(1, 1, 20, 8, dtype=torch.bfloat16) for _ in range(3))
    bias = torch.full((20, 20), 1000.0)
    bias[:, 0] = 1001.0
    output = regard.attention(q, k, v, bias=bias, backend="fused").float()
    expected = regard.attention(q.float(), k.float(), v.float(), bias=bias, backend="math")
    torch.testing.assert_close(output, expected, rtol=2e-2, atol=2e-2)


@pytest.mark.parametrize("scale", [-1.0, -0.05, 0.0])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("length", [5, 16, 64])
def test_causal_with_a_scale_that_is_not_positive(length: int, dtype: torch.dtype, scale: float) -> None:
    """Hidden keys stay hidden where the kernel would scale -inf to +inf or NaN, seen and unseen."""
    q, k, v = (torch.randn(1, 2, length, 16, dtype=dtype) for _ in range(3))
    wide = [t.double() for t in (q, k, v)]
    expected = regard.attention(*wide, causal=True, scale=scale, backend="math")
    found = regard.attention(q, k, v, causal=True, scale=scale, backend="fused")
    inputs = _prepare(q, k, v, False, {"causal": True, "scale": scale})[0]
    limit = 1e-2 if dtype in (torch.bfloat16, torch.float16) else 1e-5
    for output in (found, fused._unseen(fused._as_the_kernel_hides(inputs)).output):
        assert float((output.double() - expected).norm() / expected.norm()) < limit


@pytest.mark.parametrize("cause", ["a hidden NaN", "rows far from zero", "nothing"])
def test_the_weights_say_that_math_ran_in_its_place(cause: str) -> None:
    """What only the numbers show is told by the weights and a recording; `explain` says that it may be so."""
    q = torch.randn(1, 2, 40, 8, requires_grad=cause == "rows far from zero")
    key, value = torch.randn(2, 1, 2, 40, 8)
    if cause == "a hidden NaN":
        value[:, :, -1] = torch.nan
    elif cause == "rows far from zero":
        key = key * 1000
    expected = "fused" if cause == "nothing" else "math"
    mask = masks.window(None, 0) & masks.padding([39])
    assert regard.attention(q, key, value, mask=mask, need_weights=True, backend="fused")[1].backend == expected

    class Model(torch.nn.Module):
        def forward(self) -> torch.Tensor:
            return regard.attention(q, key, value, mask=mask, backend="fused")

    model = Model()
    with regard.watch(model) as recording:
        model()
    assert recording.calls[0].backend == expected
    with regard.use_backend("fused"):
        assert "-> fused" in repr(regard.explain(q, key, value, mask=mask))
        assert "runs this call, or math if something is not finite" in repr(regard.explain(q, key, value, mask=mask))


def test_weights_name_their_backend() -> None:
    """That which ran, also after a copy and a part of them; none for weights that regard did not compute."""
    q = torch.randn(1, 2, 5, 8)
    for name in ("native", "fused", "math", "reference", *(() if MISSING else ("triton",))):
        weights = regard.attention(q, q, q, need_weights=True, backend=name)[1]
        assert weights.backend == weights.clone().backend == weights.head(0, 1).backend == name
    assert regard.weights.from_dense(weights.dense()).backend is None
