"""Second derivatives, forward mode and batched gradients: for every dtype, whichever backend was chosen."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.autograd import forward_ad, gradcheck, gradgradcheck
from torch.func import hessian, jacfwd, jacrev, jvp, vmap

import regard
from regard import biases, masks

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")

HALF = torch.rand(4, 4, generator=torch.Generator().manual_seed(2)) < 0.6
HALF[1] = False
CASES: dict[str, tuple[dict[str, Any], int]] = {
    "plain": ({}, 2),
    "causal, grouped": ({"causal": True}, 1),
    "padding": ({"mask": masks.padding([2, 0])}, 2),
    "dense": ({"mask": HALF}, 2),
    "softcap": ({"softcap": 1.5, "scale": 0.7}, 2),
    "dropout": ({"dropout": 0.4}, 2),
    "bias": ({"bias": torch.randn(1, 2, 4, 4, dtype=torch.float64)}, 2),
    "position bias": ({"bias": torch.randn(2, 7, dtype=torch.float64), "causal": True}, 2),
}


def call(case: str, q: Tensor, k: Tensor, v: Tensor, *bias: Tensor, **more: Any) -> Any:
    """Run a case with its bias as an argument of its own, and the same dropout each time."""
    settings = dict(CASES[case][0])
    if bias:
        settings["bias"] = biases.RelativeBias(bias[0]) if bias[0].ndim == 2 else bias[0]
    if "dropout" in settings:
        settings["generator"] = torch.Generator().manual_seed(3)
    return regard.attention(q, k, v, **settings, **more)


def tensors(case: str, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    """What a case is differentiated by."""
    settings, groups = CASES[case]
    made = [torch.randn(2, n, 4, 3, dtype=dtype) for n in (2, groups, groups)]
    if isinstance(settings.get("bias"), Tensor):
        made.append(settings["bias"].to(dtype).clone())
    return [t.requires_grad_() for t in made]


@pytest.mark.parametrize("case", CASES)
def test_gradients_of_gradients(case: str) -> None:
    """The backend chosen for float64 has first and second derivatives, forward and reverse, of output and lse."""
    given = tensors(case)

    def both(*t: Tensor) -> tuple[Tensor, Tensor]:
        output, weights = call(case, *t, need_weights=True)
        return output, weights.lse.nan_to_num(0.0, 0.0, 0.0)

    assert gradcheck(both, given, check_forward_ad=True, check_batched_grad=True)
    assert gradgradcheck(both, given, check_fwd_over_rev=True)


@pytest.mark.parametrize("backend", ["native", "fused", "triton", "math"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("case", CASES)
def test_second_derivative_on_each_backend(case: str, dtype: torch.dtype, backend: str) -> None:
    """A kernel that was chosen before `create_graph` was known still gives the second derivative."""
    given = tensors(case, dtype)

    def second(given: list[Tensor], name: str) -> tuple[Tensor, ...]:
        output = call(case, *given, backend=name)
        slopes = torch.autograd.grad(output.double().square().sum(), given, create_graph=True)
        return torch.autograd.grad(sum(s.double().square().sum() for s in slopes), given)

    try:
        found = second(given, backend)
    except regard.errors.BackendError:
        return
    expected = second([t.detach().double().requires_grad_() for t in given], "math")
    limit = {torch.float32: 2e-4, torch.bfloat16: 0.2, torch.float16: 0.04}[dtype]
    for ours, theirs in zip(found, expected, strict=True):
        assert float((ours.double() - theirs).norm()) <= limit * float(theirs.norm()) + 1e-9


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_forward_mode_in_every_dtype(dtype: torch.dtype) -> None:
    """`jvp`, `jacfwd`, `hessian` and `vmap` over them run, and agree with reverse mode."""
    q, k, v = (torch.randn(1, 1, 3, 2).to(dtype) for _ in range(3))
    output, tangent = jvp(lambda t: regard.attention(t, k, v, causal=True), (q,), (q,))
    assert output.dtype == tangent.dtype == dtype
    limit = 1e-5 if dtype in (torch.float32, torch.float64) else 0.05
    by_row = jacrev(lambda t: regard.attention(t, k, v, causal=True))(q)
    torch.testing.assert_close(
        jacfwd(lambda t: regard.attention(t, k, v, causal=True))(q), by_row, atol=limit, rtol=limit
    )
    curved = hessian(lambda t: regard.attention(t, k, v).float().square().sum())
    torch.testing.assert_close(vmap(curved)(q[None])[0], curved(q), atol=limit, rtol=limit)


@pytest.mark.parametrize("backend", ["native", "fused", "triton", "math"])
def test_gradients_in_batches_and_with_tangents(backend: str) -> None:
    """What is asked of a backward pass later, after the kernel ran: a batch of gradients, a tangent of one."""
    q, k, v = (torch.randn(1, 2, 5, 8) for _ in range(3))

    def attend(t: Tensor) -> Tensor:
        return regard.attention(t, k, v, causal=True, backend=backend)

    rows = torch.autograd.functional.jacobian(attend, q)
    torch.testing.assert_close(
        torch.autograd.functional.jacobian(attend, q, vectorize=True), rows, atol=1e-6, rtol=1e-4
    )
    leaf = q.clone().requires_grad_()
    output = attend(leaf)
    slope, direction = torch.randn(2, *output.shape).unbind()
    (expected,) = torch.autograd.grad(output, leaf, direction, retain_graph=True)
    with forward_ad.dual_level():
        (found,) = torch.autograd.grad(output, leaf, forward_ad.make_dual(slope, direction))
        torch.testing.assert_close(forward_ad.unpack_dual(found).tangent, expected, atol=1e-6, rtol=1e-4)
