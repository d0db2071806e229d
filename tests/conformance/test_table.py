"""Every case by every backend: output, `lse` and all gradients against the oracle, or the expected refusal."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

import regard
from regard._inputs import AttentionResult
from regard.backends import BACKENDS
from regard.backends._contract import Backend, refusal
from tests.interpreted import sampled

from .calls import DEVICE, Call, gradient, make, numbers, solved, yardstick
from .cases import CASES, DTYPES, REFUSED_DTYPES, Case
from .tolerances import error, limit


def _every(of_half: int, of_all: int) -> Iterator[Any]:
    """Yield each backend, case and dtype; in the interpreter one in so many of those in half precision, and of all."""
    for case in CASES:
        for backend in BACKENDS:
            for dtype in DTYPES:
                name = f"{str(dtype).removeprefix('torch.')}-{case.question}-{case}-{backend.name}".replace(" ", "-")
                if sampled(backend.name, name, of_half if dtype.itemsize == 2 else of_all):
                    yield pytest.param(backend, case, dtype, id=name)


def _accepted(backend: Backend, call: Call) -> bool:
    """Compare the refusal with the table; False if the call is, rightly, refused."""
    expected = _expected(backend, call)
    reason = refusal(backend, call.inputs())
    if reason is not None and DEVICE != "cpu" and backend.name == "fused":  # the table of its kernels has its own tests
        return False
    if expected is None:
        assert reason is None, f"{backend.name} refuses a case that it should serve: it {reason}"
        return True
    assert reason is not None, f"{backend.name} serves a case that the table says it refuses ({expected})"
    assert expected in reason
    with pytest.raises(regard.errors.BackendError, match=expected):
        regard.attention(call.query, call.key, call.value, **call.arguments, backend=backend.name)
    return False


def _expected(backend: Backend, call: Call) -> str | None:
    if DEVICE not in backend.honours:
        return f"does not run on {DEVICE}"
    by_dtype = REFUSED_DTYPES.get((backend.name, call.query.dtype))
    return by_dtype or call.case.refused.get(backend.name)


def _gradients(call: Call, result: AttentionResult) -> list[torch.Tensor]:
    ends, upstream = [result.output], [call.grad_output]
    if result.lse is not None and result.lse_has_gradient:
        ends, upstream = [result.output, result.lse], [call.grad_output, call.grad_lse]
    return list(torch.autograd.grad(ends, list(call.leaves().values()), upstream, allow_unused=True))


@pytest.mark.parametrize(("backend", "case", "dtype"), list(_every(16, 1)))
def test_case(backend: Backend, case: Case, dtype: torch.dtype) -> None:
    """The result lies within the tolerance of its dtype, is finite where the oracle is, and keeps the dtype."""
    call = make(case, dtype)
    differentiable = "gradient" in backend.honours
    with torch.set_grad_enabled(differentiable):
        if not _accepted(backend, call):
            return
        result = backend.run(call.inputs())
    through_lse = result.lse is not None and result.lse_has_gradient
    answer, plain = solved(case, dtype, through_lse), yardstick(case, dtype, through_lse)
    assert result.output.dtype == dtype
    assert result.output.shape == answer.output.shape
    allowed = limit(dtype, error(numbers(plain["output"]), answer.output))
    assert error(numbers(result.output), answer.output) <= allowed
    if result.lse is not None:
        assert result.lse.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
        assert error(numbers(result.lse), answer.lse) <= limit(dtype, error(numbers(plain["lse"]), answer.lse))
    if not differentiable:
        return
    upstream = float(call.grad_output.double().norm())
    largest = float(np.max(np.abs(answer.lse), initial=0.0, where=np.isfinite(answer.lse)))
    for (name, leaf), found in zip(call.leaves().items(), _gradients(call, result), strict=True):
        assert found.dtype == leaf.dtype
        full = getattr(answer, name)
        allowed = limit(dtype, error(numbers(plain[name]), full), backward_lse=largest)
        assert error(numbers(found), gradient(answer, name, call), upstream) <= allowed, name


@pytest.mark.parametrize(("backend", "case", "dtype"), list(_every(30, 12)))
def test_weights_change_nothing(backend: Backend, case: Case, dtype: torch.dtype) -> None:
    """Asked for weights or not, the output is the same to the last bit."""
    call = make(case, dtype)
    with torch.set_grad_enabled("gradient" in backend.honours):
        if refusal(backend, call.inputs()) is not None:
            assert _expected(backend, call) is not None or (DEVICE != "cpu" and backend.name == "fused")
            return
        without = backend.run(call.inputs(need_weights=False)).output
        with_weights = backend.run(call.inputs(need_weights=True)).output
        with_summary = backend.run(call.inputs(need_weights="summary")).output
    assert torch.equal(without, with_weights)
    assert torch.equal(without, with_summary)


def test_refusals_name_backends_that_exist() -> None:
    """A backend that is renamed takes its column of the table along."""
    names = {backend.name for backend in BACKENDS}
    listed = {name for case in CASES for name in case.refused}
    assert listed <= names
    assert "math" not in listed


def test_names_are_unique() -> None:
    """Two cases of one name would hide each other in a report."""
    assert len({(case.question, case.name) for case in CASES}) == len(CASES)
