"""Our call gives what the ONNX standard's own Attention cases expect."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

import regard
from regard.backends import backend_names
from tests.oracles.onnx_cases import OnnxCase, onnx_cases

# The package's own tolerance for float32; its expected values for half precision are themselves computed in it.
TOLERANCES = {
    torch.float32: {"rtol": 1e-3, "atol": 1e-6},
    torch.float16: {"rtol": 2e-3, "atol": 2e-3},
    torch.bfloat16: {"rtol": 1e-2, "atol": 1e-2},
}
CASES = 93
WITH_SCORES = 18


def weights_from(case: OnnxCase, heads: int) -> torch.Tensor:
    """Finish the scores that ONNX shows at some stage into weights, by plain torch operations."""
    scores = case.scores
    if scores is None or case.stage == 3:
        return torch.empty(0) if scores is None else scores
    scores = scores.float()
    cap, bias = case.arguments["softcap"], case.arguments.get("bias")
    if case.stage == 0 and cap:
        scores = cap * torch.tanh(scores / cap)
    if case.stage < 2 and bias is not None:
        scores = scores + bias.float()
    visible = case.arguments["mask"].to_dense(*scores.shape[-2:])
    weights = torch.softmax(scores.masked_fill(~visible, -torch.inf), -1)
    return torch.nan_to_num(weights, 0.0).expand(-1, heads, -1, -1)


def run(case: OnnxCase, backend: str | None) -> None:
    """Compare one case on one backend."""
    arguments: dict[str, Any] = {**case.arguments, "backend": backend}
    tolerance = TOLERANCES[case.query.dtype]
    output, weights = regard.attention(case.query, case.key, case.value, **arguments, need_weights=True)
    if case.side_by_side:
        output = output.transpose(1, 2).flatten(2)
    torch.testing.assert_close(output, case.expected, **tolerance)
    if case.scores is not None:
        dense = weights.dense()
        torch.testing.assert_close(dense, weights_from(case, dense.shape[1]).to(dense.dtype), **tolerance)


def test_every_onnx_case_maps(record_property: Callable[[str, object], None]) -> None:
    """All cases of the package become calls of ours and agree, on the backend that regard would choose."""
    wrong: dict[str, str] = {}
    for case in onnx_cases():
        try:
            run(case, None)
        except (AssertionError, regard.errors.RegardError) as error:
            wrong[case.name] = str(error)
    total, shown = len(onnx_cases()), sum(case.scores is not None for case in onnx_cases())
    record_property("ONNX Attention", f"{total - len(wrong)} of {total} cases agree, {shown} of them with their scores")
    assert not wrong
    assert total >= CASES
    assert shown >= WITH_SCORES


@pytest.mark.parametrize("backend", backend_names())
def test_onnx_cases_on_each_backend(backend: str) -> None:
    """A backend gives what ONNX expects, or refuses with a reason; `math` and `reference` refuse none."""
    refused = 0
    for case in onnx_cases():
        try:
            run(case, backend)
        except regard.errors.BackendError:
            refused += 1
    assert refused == 0 or backend not in ("math", "reference")
    assert refused < len(onnx_cases())
